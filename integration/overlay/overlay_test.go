package overlay

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Pods of three nodes reach each other, on one node and across nodes, over IPv4 and IPv6; nobody's address is hidden
// inside, and outside the node's is seen. What they have is in the log, and goes back to it.
func TestPodsReachEachOther(t *testing.T) {
	l := newHarness(t, 3)
	l.converged(2, l.nodes...)
	var pods []*pod
	for i, n := range []*node{l.nodes[0], l.nodes[0], l.nodes[1], l.nodes[2]} {
		p := n.addPod(fmt.Sprintf("p%d", i))
		p.echo()
		pods = append(pods, p)
		if len(p.addresses) != 2 {
			t.Errorf("%s has %v, want an address of each family", p.name, p.addresses)
		}
	}
	for _, from := range pods {
		for _, to := range pods {
			for i, addr := range to.addresses {
				if seen := from.reach(addr); seen != from.addresses[i] {
					t.Errorf("%s is seen by %s as %s, want %s", from.name, to.name, seen, from.addresses[i])
				}
			}
		}
		from.on.reach(from.addresses[0]) // as a kubelet's probe does
	}
	for _, n := range l.nodes {
		n.echo()
	}
	l.wires.echo()
	for i, node := range []string{"10.99.0.11", "fd99::11"} {
		if seen := pods[0].reach(netip.MustParseAddr(node)); seen != pods[0].addresses[i] {
			t.Errorf("another node sees %s as %s", pods[0].name, seen)
		}
	}
	for outside, node := range map[string]string{control: "10.99.0.10", "fd99::1": "fd99::10"} {
		if seen := pods[0].reach(netip.MustParseAddr(outside)); seen.String() != node {
			t.Errorf("outside, %s is seen as %s, want its node's address %s", pods[0].name, seen, node)
		}
	}
	t.Logf("the routes of n0:\n%s\n%s", l.nodes[0].ip("route"), l.nodes[0].ip("-6", "route"))
	if out, err := l.galaxyctl("node", "diff", "--socket", l.nodes[0].socket); err != nil ||
		!strings.Contains(out, "nothing differs from the log's event") {
		t.Errorf("node diff: %v\n%s", err, out)
	}
	if out, err := l.galaxyctl("node", "routes", "--socket", l.nodes[0].socket); err != nil ||
		strings.Count(out, " via 10.99.0.1") != 2 {
		t.Errorf("node routes: %v\n%s", err, out)
	}
	env, err := os.ReadFile(filepath.Join(l.nodes[0].state, "subnet.env"))
	if err != nil || !strings.Contains(string(env), "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.") ||
		!strings.Contains(string(env), "FLANNEL_MTU=1460\n") {
		t.Errorf("subnet.env: %v\n%s", err, env)
	}
	for _, p := range pods {
		p.remove()
		p.remove() // a runtime repeats itself
	}
	for _, n := range l.nodes {
		if s, err := n.status(); err != nil || s.Held != 0 {
			t.Errorf("%s: %d addresses are held, %v", n.name, s.Held, err)
		}
	}
	l.verified()
	out, err := l.galaxyctl("log", "show", "--stream", "node-n0")
	if err != nil || strings.Count(out, "AddressAllocated") != 4 || strings.Count(out, "AddressReleased") != 4 {
		t.Errorf("the stream of n0: %v\n%s", err, out)
	}
}

// An agent that is killed again and again, and one that is stopped and started, loses no packet of its pods; and a node
// that has what it should have is not written to.
func TestAgentRestartsLoseNothing(t *testing.T) {
	l := newHarness(t, 2)
	l.converged(1, l.nodes...)
	a, b := l.nodes[0].addPod("a"), l.nodes[1].addPod("b")
	b.echo()
	a.reach(b.addresses[0])
	a.reach(b.addresses[1])
	s := talk(a, b)
	for i := range 6 {
		n := l.nodes[i%2]
		if i < 4 {
			n.agent.kill()
		} else {
			n.agent.stop()
		}
		n.agent.start()
		l.converged(1, n)
		if status, err := n.status(); err != nil || status.Routes.Writes != 0 {
			t.Errorf("%s is started again, and writes %d times to a kernel that has all it should have: %v", n.name,
				status.Routes.Writes, err)
		}
	}
	if sent, lost := s.end(); lost > 0 || sent < 100 {
		t.Errorf("%d of %d datagrams were lost", lost, sent)
	}
	a.remove()
	b.remove()
	l.verified()
}

// What somebody deletes or spoils by hand is back at once, and what is not ours is left alone.
func TestHandsOffRoutes(t *testing.T) {
	l := newHarness(t, 3)
	l.converged(2, l.nodes...)
	n := l.nodes[0]
	n.ip("route", "add", "203.0.113.0/24", "via", control)
	before := n.ip("route", "show", "proto", "71")
	if strings.Count(before, "10.244.") != 2 {
		t.Fatalf("the routes are\n%s", before)
	}
	dst, _, _ := strings.Cut(strings.TrimSpace(before), " ")
	for what, spoil := range map[string][]string{
		"deleted":      {"route", "del", dst, "proto", "71"},
		"changed":      {"route", "replace", dst, "via", control, "proto", "71"},
		"all deleted":  {"route", "flush", "proto", "71"},
		"one too many": {"route", "add", "10.244.250.0/24", "via", control, "proto", "71"},
	} {
		n.ip(spoil...)
		start := time.Now()
		eventually(t, what, 5*time.Second, func() error {
			if now := n.ip("route", "show", "proto", "71"); now != before {
				return fmt.Errorf("the routes were\n%s\nand are\n%s", before, now)
			}
			return nil
		})
		took := time.Since(start)
		t.Logf("%s: repaired after %s", what, took.Round(time.Millisecond))
		if took > time.Second {
			t.Errorf("%s: repaired after %s, want a second at most", what, took)
		}
	}
	if !strings.Contains(n.ip("route"), "203.0.113.0/24") {
		t.Error("a route that is not ours is gone")
	}
	n.ip("link", "set", "eth0", "down")
	n.ip("link", "set", "eth0", "up")
	n.ip("route", "add", "default", "via", control)
	eventually(t, "the link went down and up", 5*time.Second, func() error {
		if now := n.ip("route", "show", "proto", "71"); now != before {
			return fmt.Errorf("the routes are\n%s", now)
		}
		return nil
	})
}

// A node that dies is not sent to, and keeps its subnet for when it is back; its address may be another by then.
func TestNodeDiesAndReturns(t *testing.T) {
	l := newHarness(t, 4)
	l.converged(3, l.nodes...)
	dead, p := l.nodes[3], l.nodes[0].addPod("p")
	status, err := dead.status()
	if err != nil {
		t.Fatal(err)
	}
	subnets := fmt.Sprint(status.Subnets)
	dead.agent.kill()
	l.converged(2, l.nodes[:3]...)
	dead.ip("addr", "add", "10.99.0.77/24", "dev", "eth0")
	for i, arg := range dead.agent.args {
		if strings.HasPrefix(arg, "10.99.0.13,") {
			dead.agent.args[i] = strings.Replace(arg, "10.99.0.13", "10.99.0.77", 1)
		}
	}
	dead.agent.start()
	l.converged(3, l.nodes...)
	if status, err := dead.status(); err != nil || fmt.Sprint(status.Subnets) != subnets {
		t.Errorf("the node had %s, and has %v: %v", subnets, status.Subnets, err)
	}
	if routes := l.nodes[0].ip("route"); !strings.Contains(routes, "via 10.99.0.77 dev eth0") {
		t.Errorf("the node is at another address now, and the routes are\n%s", routes)
	}
	back := dead.addPod("back")
	back.echo()
	p.reach(back.addresses[0])
	out, err := l.galaxyctl("log", "show", "--stream", "nodes")
	if err != nil || strings.Count(out, "NodeLost") != 1 || strings.Count(out, "NodeSubnetAssigned") != 8 {
		t.Errorf("the stream nodes: %v\n%s", err, out)
	}
	l.verified()
}

// While etcd and galaxy-ipam are away, killed under pods that talk, nothing of that is lost; pods come and go on what
// the nodes know, also over a restart of the agent; when they are back, the log has it all.
func TestEtcdIsAway(t *testing.T) {
	l := newHarness(t, 2)
	l.converged(1, l.nodes...)
	n := l.nodes[0]
	first := n.addPod("first")
	near, far := n.addPod("near"), l.nodes[1].addPod("far")
	far.echo()
	near.reach(far.addresses[0])
	near.reach(far.addresses[1])
	talking := talk(near, far)
	time.Sleep(200 * time.Millisecond)
	l.ipam.kill()
	second := n.addPod("second")
	second.echo()
	first.reach(second.addresses[0])
	first.remove()
	n.agent.kill()
	n.agent.start()
	eventually(t, "the agent takes pods without etcd", 20*time.Second, func() error {
		s, err := n.status()
		if err == nil && (s.Ready != "" || s.Held != 4) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	third := n.addPod("third")
	third.echo()
	second.reach(third.addresses[0])
	if s, err := n.status(); err != nil || s.Waiting < 4 {
		t.Errorf("%d events wait for etcd: %v", s.Waiting, err)
	}
	l.ipam.start()
	eventually(t, "etcd has what it missed", 30*time.Second, func() error {
		s, err := n.status()
		if err == nil && s.Waiting > 0 {
			err = fmt.Errorf("%d events wait", s.Waiting)
		}
		return err
	})
	l.converged(1, l.nodes...)
	if sent, lost := talking.end(); lost > 0 || sent < 100 {
		t.Errorf("%d of %d datagrams were lost", lost, sent)
	}
	out, err := l.galaxyctl("log", "show", "--stream", "node-n0")
	if err != nil || strings.Count(out, "AddressAllocated") != 8 || strings.Count(out, "AddressReleased") != 2 {
		t.Errorf("the stream of n0: %v\n%s", err, out)
	}
	l.verified()
}

// A node that starts while etcd is away, with a kernel that has nothing, is as good as before: what it knew of the
// other nodes is in force again, new pods get the MTU that others have, and what they send out of the overlay is
// masqueraded.
func TestStartWithoutEtcd(t *testing.T) {
	l := newHarness(t, 2)
	l.converged(1, l.nodes...)
	n := l.nodes[0]
	far := l.nodes[1].addPod("far")
	far.echo()
	kept := filepath.Join(n.state, "lib", "nodes")
	eventually(t, "the node keeps what it knows", 10*time.Second, func() error {
		_, err := os.Stat(kept)
		return err
	})
	time.Sleep(2 * time.Second) // and the last change of it
	l.ipam.kill()
	n.agent.kill()
	n.ip("route", "flush", "proto", "71")
	n.ip("-6", "route", "flush", "proto", "71")
	n.ip("route", "add", "10.244.77.0/24", "via", control, "proto", "71") // of a node that may have joined since
	if _, err := exec.LookPath("nft"); err == nil {
		n.nft("flush ruleset")
	}
	n.agent.start()
	eventually(t, "the agent takes pods without etcd", 20*time.Second, func() error {
		s, err := n.status()
		if err == nil && s.Ready != "" {
			err = errors.New(s.Ready)
		}
		return err
	})
	p := n.addPod("p")
	p.reach(far.addresses[0])
	p.reach(far.addresses[1])
	if link := p.ip("-o", "link", "show", "eth0"); !strings.Contains(link, "mtu 1460 ") {
		t.Errorf("the pod's link: %s", link)
	}
	if routes := n.ip("route", "show", "proto", "71"); !strings.Contains(routes, "10.244.77.0/24") {
		t.Errorf("a route was taken on the word of what may be old:\n%s", routes)
	}
	if _, err := exec.LookPath("nft"); err == nil {
		if rules := n.nft("list ruleset"); !strings.Contains(rules, "masquerade") {
			t.Errorf("what pods send out is not masqueraded:\n%s", rules)
		}
	}
	l.ipam.start()
	l.converged(1, n)
	l.verified()
}

// Pods are deleted while the agent is down, as in a drain: the runtime is not kept waiting, and what they had goes back
// when the agent is there again. A container that was made anew meanwhile is not touched.
func TestPodsDeletedWhileAgentIsDown(t *testing.T) {
	l := newHarness(t, 1)
	n := l.nodes[0]
	l.converged(0, n)
	gone, stays := n.addPod("gone"), n.addPod("stays")
	n.agent.kill()
	start := time.Now()
	gone.remove()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the DEL took %s", took)
	}
	if _, err := n.tryPod("new"); err == nil || !strings.Contains(err.Error(), "the galaxy agent is not reachable") {
		t.Errorf("an ADD without an agent: %v", err)
	}
	n.agent.start()
	eventually(t, "the addresses of the pod are given back", 20*time.Second, func() error {
		s, err := n.status()
		if err == nil && s.Held != 2 {
			err = fmt.Errorf("%d addresses are held, want the 2 of the other pod", s.Held)
		}
		return err
	})
	stays.echo()
	n.reach(stays.addresses[0])
	eventually(t, "notes that are done go", 10*time.Second, func() error {
		left, err := os.ReadDir(filepath.Join(n.state, "notes"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left are %v", left)
		}
		return err
	})
	l.converged(0, n)
	stays.remove()
	l.verified()
}

// A node that has not heard of etcd for longer than it may gives no more addresses, and says why; pods can still be
// removed.
func TestGraceEnds(t *testing.T) {
	l := newHarness(t, 0)
	n := l.addNode("n0", 0, "--offline-grace", "6s")
	l.converged(0, n)
	p := n.addPod("p")
	l.ipam.kill()
	eventually(t, "the grace ends", 20*time.Second, func() error {
		_, err := n.tryPod("late")
		if err == nil || !strings.Contains(err.Error(), "gives no more addresses: etcd was not reached for") {
			return fmt.Errorf("ADD: %w", err)
		}
		return nil
	})
	for _, format := range []string{"table", "json"} {
		if out, err := l.galaxyctl("node", "diff", "--socket", n.socket, "-o", format); err == nil ||
			!strings.Contains(out, "gives no more addresses") {
			t.Errorf("node diff -o %s of a node that takes no pods: %v\n%s", format, err, out)
		}
	}
	p.remove()
}

// Of two agents on one host the second does not start, whatever its name and its folders are.
func TestOneAgentOnAHost(t *testing.T) {
	l := newHarness(t, 1)
	l.converged(0, l.nodes...)
	second := &node{namespace: l.nodes[0].namespace, harness: l, state: filepath.Join(l.dir, "second")}
	second.agent = &process{t: t, where: second.namespace, name: "second", path: l.nodes[0].agent.path,
		log: filepath.Join(l.dir, "second.log"), args: []string{
			"--standalone", "--etcd-endpoints", etcdURL, "--hostname-override", "second", "--socket",
			filepath.Join(second.state, "s"), "--state-dir", second.state,
		}}
	second.agent.start()
	select {
	case <-second.agent.ended:
	case <-time.After(10 * time.Second):
		second.agent.kill()
		t.Fatal("two agents run on one host")
	}
	if text, err := os.ReadFile(second.agent.log); err != nil ||
		!strings.Contains(string(text), "another galaxy agent runs on this host") {
		t.Errorf("it said: %v\n%s", err, text)
	}
}

// Of two machines that have one name, the second waits, and says whose the name is.
func TestOneName(t *testing.T) {
	l := newHarness(t, 2)
	l.converged(1, l.nodes...)
	twin := l.bareNode(near, "twin", 7, "--hostname-override", "n0")
	twin.agent.start()
	eventually(t, "the twin says why it does not start", 10*time.Second, func() error {
		text, err := os.ReadFile(twin.agent.log)
		if err == nil && !strings.Contains(string(text),
			"the machine machine-n0 at [10.99.0.10 fd99::10] has the name of node n0") {
			err = fmt.Errorf("it says %s", text)
		}
		return err
	})
	l.converged(1, l.nodes[:2]...)
	if _, err := twin.tryPod("of-the-twin"); err == nil || !strings.Contains(err.Error(), "has the name of node n0") {
		t.Errorf("the twin takes a pod: %v", err)
	}
	l.nodes[0].addPod("p").remove()
	twin.agent.signal(syscall.SIGTERM)
	<-twin.agent.ended
	l.verified()
}
