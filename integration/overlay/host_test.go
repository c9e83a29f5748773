package overlay

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// nft runs a script in a namespace.
func (n *namespace) nft(script string) string {
	n.t.Helper()
	cmd := exec.Command("nft", "--file", "-")
	cmd.Stdin = strings.NewReader(script + "\n")
	var out []byte
	n.in(func() (err error) {
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("nft: %w: %s", err, out)
		}
		return err
	})
	return string(out)
}

// says waits until a node takes no pods for a reason, or with "" until it does.
func (n *node) says(reason string) {
	n.t.Helper()
	eventually(n.t, fmt.Sprintf("%s says %q", n.name, reason), 30*time.Second, func() error {
		s, err := n.status()
		if err == nil && (reason == "" && s.Ready != "" || !strings.Contains(s.Ready, reason)) {
			err = fmt.Errorf("it says %q", s.Ready)
		}
		return err
	})
}

// A firewall of the host's that drops what it does not accept: pods get past iptables' chain, by rules of ours that go
// when they are not needed; of a chain that is another's the node says that it takes no pods. What somebody flushes is
// back at once, whatever --resync is.
func TestHostFirewall(t *testing.T) {
	l := newHarness(t, 0)
	n := l.addNode("n0", 0, "--resync", "10m")
	if _, err := exec.LookPath("nft"); err != nil {
		t.Fatal("there is no nft: make packages installs it")
	}
	n.says("")
	eye, a := n.addPod("eye"), n.addPod("a")
	a.echo()
	eye.reach(a.addresses[0])
	const iptables = "add table %[1]s filter\nadd chain %[1]s filter FORWARD { type filter hook forward priority 0; " +
		"policy %[2]s; }\n"
	n.nft(fmt.Sprintf(iptables, "ip", "drop") + fmt.Sprintf(iptables, "ip6", "drop") +
		"add rule ip filter FORWARD ip saddr 192.0.2.1 accept comment \"another's\"\n")
	for _, addr := range a.addresses {
		eye.reach(addr)
	}
	if rules := n.nft("list chain ip filter FORWARD"); strings.Count(rules, `comment "galaxy: pods"`) != 2 ||
		!strings.Contains(rules, "another's") {
		t.Errorf("the rules are\n%s", rules)
	}
	n.nft(fmt.Sprintf(iptables, "ip", "accept"))
	eventually(t, "our rules go", 30*time.Second, func() error {
		if rules := n.nft("list chain ip filter FORWARD"); strings.Contains(rules, "galaxy") ||
			!strings.Contains(rules, "another's") {
			return fmt.Errorf("the rules are\n%s", rules)
		}
		return nil
	})
	n.nft("add table inet fw\nadd chain inet fw forward { type filter hook forward priority 0; policy drop; }\n")
	n.says("inet fw forward")
	if _, err := n.tryPod("late"); err == nil || !strings.Contains(err.Error(), "inet fw forward") {
		t.Errorf("a pod that would have no network: %v", err)
	}
	n.nft("delete table inet fw")
	n.says("")
	n.nft("flush ruleset")
	eventually(t, "masquerading is back", 30*time.Second, func() error {
		if tables := n.nft("list tables"); !strings.Contains(tables, "inet galaxy") {
			return fmt.Errorf("tables: %s", tables)
		}
		return nil
	})
}

func (n *namespace) setting(path string) string {
	n.t.Helper()
	var out []byte
	n.in(func() (err error) {
		out, err = exec.Command("cat", "/proc/sys/"+path).Output()
		return err
	})
	return strings.TrimSpace(string(out))
}

// Nothing of IPv6 is set for an overlay without it; with it, a host goes on hearing the routers that it has its routes
// from.
func TestHostsIPv6(t *testing.T) {
	l := newLabOf(t, 0, `{"overlay":{"networks":[{"cidr":"10.244.0.0/16","nodePrefix":24}]}}`)
	n := l.addNode("n0", 0)
	n.says("")
	if got := n.setting("net/ipv6/conf/all/forwarding"); got != "0" {
		t.Errorf("an overlay of IPv4 alone has the host forward IPv6: %s", got)
	}
	l = newHarness(t, 0)
	n = l.bareNode(near, "n1", 1)
	n.sysctl("net/ipv6/conf/eth0/accept_ra", "1")
	n.ip("-6", "route", "add", "2001:db8:7::/64", "via", bare(near.address6(1, 64)), "proto", "ra")
	n.agent.start()
	n.says("")
	eventually(t, "the host forwards", 30*time.Second, func() error {
		if forwards, hears := n.setting("net/ipv6/conf/all/forwarding"),
			n.setting("net/ipv6/conf/eth0/accept_ra"); forwards != "1" || hears != "2" {
			return fmt.Errorf("forwarding is %s, accept_ra %s", forwards, hears)
		}
		return nil
	})
}

// An overlay that has the addresses of the nodes' own network is not put to use, and the node says so.
func TestOverlayOverNodes(t *testing.T) {
	l := newLabOf(t, 0, `{"overlay":{"networks":[{"cidr":"10.99.0.0/24","nodePrefix":28}]}}`)
	n := l.addNode("n0", 0)
	n.says("overlaps 10.99.0.0/24")
	if _, err := n.tryPod("p"); err == nil || !strings.Contains(err.Error(), "overlaps") {
		t.Errorf("a pod gets an address of the nodes' network: %v", err)
	}
	if out, err := l.galaxyctl("node", "list"); err != nil || !strings.Contains(out, "overlaps") {
		t.Errorf("node list: %v\n%s", err, out)
	}
}

// A link that is just large enough for IPv6 leaves nothing for a tunnel: pods get what IPv6 needs, and the node says
// what that means.
func TestTightLink(t *testing.T) {
	l := newHarness(t, 0)
	n := l.bareNode(near, "n0", 0)
	n.ip("link", "set", "eth0", "mtu", "1280")
	n.agent.start()
	n.says("")
	if p := n.addPod("p"); len(p.addresses) != 2 {
		t.Errorf("the pod has %v", p.addresses)
	}
	eventually(t, "the node says what that means", 20*time.Second, func() error {
		s, err := n.status()
		if err == nil && !strings.Contains(strings.Join(s.Announced.Problems, " "), "MTU of 1280") {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
}

// What the host has of a pod's interface is kept as routes to nodes are: what somebody flushes or sets down is there
// again, and where another has taken the place, the node says so and leaves it alone.
func TestPodsInterfacesAreRepaired(t *testing.T) {
	l := newHarness(t, 0)
	n := l.addNode("n0", 0, "--resync", "10m")
	n.says("")
	eye, f := n.addPod("eye"), n.addPod("f")
	f.echo()
	reached := func(what string) {
		t.Helper()
		for _, addr := range f.addresses {
			eventually(t, what, 10*time.Second, func() error { _, err := eye.ping(addr); return err })
		}
	}
	reached("at first")
	four, six := f.addresses[0].String(), f.addresses[1].String()
	way := strings.Fields(n.ip("route", "get", four))
	link := way[slices.Index(way, "dev")+1]
	n.ip("route", "del", four)
	n.ip("-6", "route", "del", six)
	reached("after its routes were deleted")
	n.ip("link", "set", link, "down")
	n.ip("link", "set", link, "up")
	reached("after its link was down")
	n.ip("link", "set", link, "down")
	reached("after its link was left down")
	n.ip("-6", "address", "flush", "dev", link)
	reached("after its gateway's address was flushed")

	n.ip("route", "replace", "blackhole", four)
	eventually(t, "the node says what is in the way", 10*time.Second, func() error {
		out, err := l.galaxyctl("node", "diff", "--socket", n.socket)
		if err == nil || !strings.Contains(out, four) {
			return fmt.Errorf("node diff: %w\n%s", err, out)
		}
		return nil
	})
	if routes := n.ip("route", "show", "type", "blackhole"); !strings.Contains(routes, four) {
		t.Errorf("another's route was taken:\n%s", routes)
	}
	n.ip("route", "del", "blackhole", four)
	reached("after the other route was deleted")
	eventually(t, "nothing differs", 10*time.Second, func() error {
		out, err := l.galaxyctl("node", "diff", "--socket", n.socket)
		if err != nil {
			err = fmt.Errorf("node diff: %w\n%s", err, out)
		}
		return err
	})
	f.remove()
	l.verified()
}

// A machine that was made from the image of another one, with its name and its machine id, gives its pods nothing and
// writes nothing: the other goes on as if it were not there.
func TestClone(t *testing.T) {
	l := newHarness(t, 0)
	a := l.addNode("n0", 0)
	l.converged(0, a)
	first := a.addPod("first")
	clone := l.addNode("n1", 1, "--hostname-override", "n0", "--machine-id", "machine-n0")
	eventually(t, "the clone says whose the name is", 20*time.Second, func() error {
		s, err := clone.status()
		if err == nil && !strings.Contains(s.Ready, "made from one image") {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	if _, err := clone.tryPod("of-the-clone"); err == nil || !strings.Contains(err.Error(), "made from one image") {
		t.Errorf("the clone takes a pod: %v", err)
	}
	second := a.addPod("second")
	if first.addresses[0] == second.addresses[0] {
		t.Errorf("two pods have %s", first.addresses[0])
	}
	first.echo()
	second.reach(first.addresses[0])
	if out, err := l.galaxyctl("node", "list"); err != nil || !strings.Contains(out, "10.99.0.10") ||
		strings.Contains(out, "10.99.0.11") {
		t.Errorf("node list: %v\n%s", err, out)
	}
	// The name comes free with the machine that had it.
	a.agent.kill()
	l.converged(0, clone)
}
