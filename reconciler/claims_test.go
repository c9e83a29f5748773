package reconciler_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"galaxy/allocator"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/ipam"
	"galaxy/lease"
	"galaxy/reconciler"
)

// Claims that no bind follows are taken back after their time, by whoever leads then; those that are bound stay.
func TestClaimsExpire(t *testing.T) {
	s := newHarness(t)
	s.now = time.Now()
	must := func(failure string) {
		t.Helper()
		if failure != "" {
			t.Fatal(failure)
		}
	}
	must(s.configure(`[{"nodeSubnets":["10.0.0.0/24"],"ips":["10.1.0.2~10.1.0.9"],"subnet":"10.1.0.0/24","gateway":"10.1.0.1"}]`))
	must(s.do(allocator.SizePool{Pool: "p", Size: 4}))
	network := netip.MustParsePrefix("10.0.0.0/24")
	pod := func(name string) allocator.Pod {
		return allocator.Pod{Owner: ipam.Owner{Kind: "statefulset", Namespace: "ns", App: "web", Pod: name, Pool: "p"},
			UID: "u-" + name, Policy: ipam.Never}
	}
	claimed := func(name string) bool {
		for a := range s.replica.View().Held(pod(name).Owner) {
			return a.PodUID == "u-"+name
		}
		return false
	}
	etcd := etcdtest.Start(t)
	deadlines := lease.Deadlines{Client: etcd.Client(t), Prefix: "/galaxy/v1/lease/claim/", TTL: 2 * time.Second}
	expired := make(chan struct{}, 10)
	lead := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		claims := &reconciler.Claims{Replica: s.replica, Deadlines: deadlines, Log: zapNop(),
			Expired: func() { expired <- struct{}{} }}
		go func() { ended <- claims.Run(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	must(s.do(allocator.Claim{Pod: pod("before-0"), Candidates: []netip.Prefix{network}}))
	stop := lead()
	for _, name := range []string{"lost-0", "bound-0"} {
		must(s.do(allocator.Claim{Pod: pod(name), Candidates: []netip.Prefix{network}}))
	}
	must(s.do(allocator.Bind{Pod: pod("bound-0"), Node: "node1", NodeNetwork: network}))
	time.Sleep(500 * time.Millisecond) // for the deadlines to be in etcd
	stop()
	defer lead()() // the next leader goes on with the same deadlines
	began := time.Now()
	for range 2 {
		select {
		case <-expired:
		case <-time.After(20 * time.Second):
			t.Fatal("a claim does not expire")
		}
	}
	if claimed("before-0") || claimed("lost-0") || !claimed("bound-0") {
		t.Errorf("claims: before %v, lost %v, bound %v", claimed("before-0"), claimed("lost-0"), claimed("bound-0"))
	}
	if held := s.replica.View().Scope(ipam.Owner{Pool: "p"}).Held; held != 1 {
		t.Errorf("the pool holds %d, want 1", held)
	}
	t.Logf("expired %s after the term changed", time.Since(began).Round(10*time.Millisecond))
}
