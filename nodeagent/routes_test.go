package nodeagent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"galaxy/allocator"
	"galaxy/kernel"
)

// Only what differs is written, and a kernel that has what is wanted is not written to.
func TestConverge(t *testing.T) {
	k := newPaper()
	r := newRoutes(twoNodes(t), k)
	wanted, differs, err := r.Compare(t.Context())
	if err != nil || len(differs) == 0 || k.applied != 0 {
		t.Fatalf("%q differs of %q, %d writes: %v", differs, wanted, k.applied, err)
	}
	for range 2 {
		if err := r.Converge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !k.has(podsB) || k.has(podsA) || k.applied != 1 {
		t.Errorf("after %d writes the kernel has %s", k.applied, k.state)
	}
	if s := r.Status(); s.Routes != 1 || s.Writes != 1 || len(s.Differs) != 0 || s.MTU != 1500 || s.Position == 0 {
		t.Errorf("%+v", s)
	}
	if _, differs, err = r.Compare(t.Context()); err != nil || len(differs) != 0 {
		t.Errorf("%q differs: %v", differs, err)
	}
}

// A route goes when the log says that its node is lost, and what this machine has only kept takes nothing away.
func TestLostNode(t *testing.T) {
	k, nodes := newPaper(), twoNodes(t)
	r := newRoutes(nodes, k)
	if err := r.Converge(t.Context()); err != nil {
		t.Fatal(err)
	}
	do(t, nodes, allocator.LoseNode{Node: "b", Reason: "test"})
	r.Follow(nodes, true)
	if err := r.Converge(t.Context()); err != nil || !k.has(podsB) {
		t.Fatalf("the route is there: %t, though the state is only a kept one: %v", k.has(podsB), err)
	}
	r.Follow(nodes, false)
	if err := r.Converge(t.Context()); err != nil || k.has(podsB) {
		t.Fatalf("the route to a lost node is there: %t: %v", k.has(podsB), err)
	}
}

// What the kernel refuses is in the status until it is right.
func TestRefusedWrite(t *testing.T) {
	k := newPaper()
	k.refuses = errors.New("operation not permitted")
	r := newRoutes(twoNodes(t), k)
	var statuses []Status
	r.Changed = func(s Status) { statuses = append(statuses, s) }
	if err := r.Converge(t.Context()); !errors.Is(err, k.refuses) {
		t.Fatalf("%v", err)
	}
	k.refuses = nil
	if err := r.Converge(t.Context()); err != nil || len(r.Status().Differs) != 0 {
		t.Errorf("%v, %q", err, r.Status().Differs)
	}
	if len(statuses) != 2 {
		t.Errorf("%d statuses were reported", len(statuses))
	}
}

// An overlay that has the addresses of nodes, or a link that is too small for IPv6, is said to be.
func TestNetworksThatCannotBe(t *testing.T) {
	nodes := twoNodes(t)
	k := newPaper()
	k.networks[0].Address, k.networks[0].Prefix = netip.MustParseAddr("10.244.3.7"),
		netip.MustParsePrefix("10.244.3.0/24")
	r := newRoutes(nodes, k)
	r.Addresses = func() []netip.Addr { return []netip.Addr{k.networks[0].Address} }
	if err := r.Converge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := r.Status(); !strings.Contains(s.Overlap, "10.244.0.0/22") || !slices.Contains(s.Problems, s.Overlap) {
		t.Errorf("%+v", s)
	}
	self := kernel.Node{Addresses: []netip.Addr{hostA}, Subnets: []netip.Prefix{netip.MustParsePrefix("fd00::/64")}}
	for mtu, tight := range map[int]bool{1500: false, 1320: false, 1319: true, 0: false} {
		self.Networks = []kernel.LocalNetwork{{Address: hostA, MTU: mtu}}
		if said := tightMTU(self, kernel.Config{}); (said != "") != tight {
			t.Errorf("a link of %d: %q", mtu, said)
		}
		if said := tightMTU(self, kernel.Config{Backend: kernel.HostGW}); said != "" {
			t.Errorf("without tunnels: %q", said)
		}
	}
}

// Whoever changes the kernel behind the agent's back, and whatever the log says next, is handled without waiting for
// the tick.
func TestRoutesFollow(t *testing.T) {
	k, nodes := newPaper(), twoNodes(t)
	r := newRoutes(nodes, k)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	await(t, "the route to b", func() bool { return k.has(podsB) })
	k.mu.Lock()
	delete(k.state.Routes, podsB)
	k.mu.Unlock()
	k.changed <- struct{}{}
	await(t, "the route that somebody deleted", func() bool { return k.has(podsB) })
	do(t, nodes, allocator.LoseNode{Node: "b", Reason: "test"})
	await(t, "the end of the route to a lost node", func() bool { return !k.has(podsB) })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
