package overlay

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// needTunnels skips aloud where the kernel has no tunnels; integration/vm runs these tests on one that has.
func needTunnels(t *testing.T) {
	t.Helper()
	needRoot(t)
	n := newNamespace(t, "probe")
	for _, link := range []netlink.Link{
		&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "i4"}, Local: net.IPv4(10, 0, 0, 1)}, &netlink.Ip6tnl{LinkAttrs: netlink.LinkAttrs{Name: "i6"}, Local: net.ParseIP("fd00::1")},
	} {
		if err := n.links.LinkAdd(link); errors.Is(err, unix.EOPNOTSUPP) {
			t.Skipf("the kernel here has no %s: this test runs in a virtual machine, see integration/vm", link.Type())
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// Nodes on one link have plain routes, and those behind a router are reached through tunnels, over IPv4 and IPv6. A tunnel that
// somebody deletes, or changes, is mended at once; a restart of the agent loses no packet.
func TestCrossSubnet(t *testing.T) {
	needTunnels(t)
	l := newLab(t, 0)
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
	a.reach(pods[2].addresses[0]) // the node's own packets take the tunnel, and so do the answers
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
	for what, spoil := range map[string]func() error{
		"deleted": func() error { return a.links.LinkDel(links) }, "down": func() error { return a.links.LinkSetDown(links) },
		"MTU changed": func() error { return a.links.LinkSetMTU(links, 1000) },
	} {
		if links, err = a.links.LinkByName("galaxy.ipip"); err != nil {
			t.Fatal(err)
		}
		if err := spoil(); err != nil {
			t.Fatal(what, err)
		}
		start := time.Now()
		eventually(t, "a tunnel "+what, 20*time.Second, func() error {
			s, err := a.status()
			if err == nil && len(s.Differs) > 0 {
				err = fmt.Errorf("%v", s.Differs)
			}
			return err
		})
		t.Logf("a tunnel %s: mended after %s", what, time.Since(start).Round(time.Millisecond))
		pods[0].reach(pods[2].addresses[0])
	}
	for _, p := range pods {
		p.remove()
	}
	l.verified()
}
