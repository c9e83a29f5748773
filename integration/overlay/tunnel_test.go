package overlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"galaxy/plugins"
)

// needTunnels skips aloud where the kernel has no tunnels; integration/vm runs these tests on one that has.
func needTunnels(t *testing.T) {
	t.Helper()
	needRoot(t)
	n := newNamespace(t, "probe")
	for _, link := range []netlink.Link{
		&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "i4"}, Local: net.IPv4(10, 0, 0, 1)},
		&netlink.Ip6tnl{LinkAttrs: netlink.LinkAttrs{Name: "i6"}, Local: net.ParseIP("fd00::1")},
	} {
		if err := n.links.LinkAdd(link); errors.Is(err, unix.EOPNOTSUPP) {
			t.Skipf("the kernel here has no %s: this test runs in a virtual machine, see integration/vm", link.Type())
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// Nodes on one link have plain routes, and those behind a router are reached through tunnels, over IPv4 and IPv6. A
// tunnel that somebody deletes, or changes, is repaired at once; a restart of the agent loses no packet.
func TestCrossSubnet(t *testing.T) {
	needTunnels(t)
	l := newHarness(t, 0)
	slow := []string{"--lease-ttl", "10s"} // an emulated machine takes its time
	a, b := l.addNode("n0", 0, slow...), l.addNode("n1", 1, slow...)
	c := l.bareNode(far, "n2", 2, slow...)
	c.agent.start()
	l.converged(2, a, b, c)
	pods := []*pod{a.addPod("pa"), b.addPod("pb"), c.addPod("pc")}
	for _, p := range pods {
		p.echo()
	}
	for _, from := range pods {
		for _, to := range pods {
			for i, addr := range to.addresses {
				if seen := from.reach(addr); seen != from.addresses[i] {
					t.Errorf("%s is seen by %s as %s, want %s", from.name, to.name, seen, from.addresses[i])
				}
			}
		}
	}
	a.reach(pods[2].addresses[0]) // the node's own packets take the tunnel, and so do the responses
	a.reach(pods[2].addresses[1])
	s, err := a.status()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("n0 should have\n%s", strings.Join(s.Wanted, "\n"))
	if all := strings.Join(s.Wanted, "\n"); strings.Count(all, "dev eth0") != 2 || strings.Count(all, "onlink") != 2 {
		t.Errorf("n1 is on the same link, and n2 behind a router; the routes are\n%s", all)
	}
	links, err := a.links.LinkByName("galaxy.ipip")
	if err != nil || links.Attrs().MTU != 1480 {
		t.Fatalf("the tunnel: %+v, %v", links, err)
	}
	talk := talk(pods[0], pods[2])
	a.agent.kill()
	a.agent.start()
	l.converged(2, a)
	if s, err := a.status(); err != nil || s.Routes.Writes != 0 {
		t.Errorf("a restart writes %d times: %v", s.Routes.Writes, err)
	}
	if sent, lost := talk.end(); lost > 0 || sent < 10 {
		t.Errorf("%d of %d datagrams were lost", lost, sent)
	}
	for what, spoil := range spoiled(a) {
		best := time.Hour // of three, as the machine may be busy with something else
		for try := 0; try < 3 && best > time.Second; try++ {
			if links, err = a.links.LinkByName("galaxy.ipip"); err != nil {
				t.Fatal(err)
			}
			before := tunnelOf(a)
			if err := spoil(links); err != nil {
				t.Fatal(what, err)
			}
			start := time.Now()
			eventually(t, "a tunnel: "+what, 20*time.Second, func() error {
				if now := tunnelOf(a); now != before {
					return fmt.Errorf("it was %s and is %s", before, now)
				}
				return nil
			})
			best = min(best, time.Since(start))
			eventually(t, "nothing differs", 20*time.Second, func() error {
				s, err := a.status()
				if err == nil && len(s.Differs) > 0 {
					err = fmt.Errorf("%v", s.Differs)
				}
				return err
			})
		}
		t.Logf("a tunnel, %s: repaired after %s", what, best.Round(time.Millisecond))
		if best > time.Second {
			t.Errorf("a tunnel, %s: repaired after %s, want a second at most", what, best)
		}
		pods[0].reach(pods[2].addresses[0])
	}
	for _, p := range pods {
		p.remove()
	}
	l.verified()
}

// spoiled are ways to spoil the tunnel of a node by hand.
func spoiled(n *node) map[string]func(netlink.Link) error {
	address := func(prefix string) *netlink.Addr {
		return &netlink.Addr{IPNet: plugins.IPNet(netip.MustParsePrefix(prefix))}
	}
	return map[string]func(netlink.Link) error{
		"deleted": n.links.LinkDel, "down": n.links.LinkSetDown,
		"MTU changed":      func(l netlink.Link) error { return n.links.LinkSetMTU(l, 1000) },
		"one address more": func(l netlink.Link) error { return n.links.AddrAdd(l, address("203.0.113.1/32")) },
		"another address": func(l netlink.Link) error {
			return errors.Join(flush(n, l), n.links.AddrAdd(l, address("203.0.113.1/32")))
		},
		"no address": func(l netlink.Link) error { return flush(n, l) },
	}
}

// flush takes all IPv4 addresses from a link.
func flush(n *node, l netlink.Link) error {
	all, err := n.links.AddrList(l, netlink.FAMILY_V4)
	for _, a := range all {
		err = errors.Join(err, n.links.AddrDel(l, &a))
	}
	return err
}

// tunnelOf says what a node's tunnel is like.
func tunnelOf(n *node) string {
	l, err := n.links.LinkByName("galaxy.ipip")
	if err != nil {
		return err.Error()
	}
	tunnel, ok := l.(*netlink.Iptun)
	if !ok {
		return fmt.Sprintf("a %T", l)
	}
	text := fmt.Sprintf("local %s remote %s mtu %d up %v", tunnel.Local, tunnel.Remote, tunnel.MTU,
		tunnel.Flags&net.FlagUp != 0)
	all, err := n.links.AddrList(l, netlink.FAMILY_V4)
	for _, a := range all {
		text += " " + a.IPNet.String()
	}
	if err != nil {
		text += " " + err.Error()
	}
	return text
}
