package reconciler_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube/objects"
	"galaxy/reconciler"
)

// A node shows that it has room as long as there is an address that a pod may get there: a free one, or one that is
// kept.
func TestCapacities(t *testing.T) {
	s := newHarness(t)
	s.configure(`[
		{"nodeSubnets":["10.0.1.0/24"],"ips":["10.1.1.2~10.1.1.3"],"subnet":"10.1.1.0/24","gateway":"10.1.1.1"},
		{"nodeSubnets":["10.0.2.0/24"],"ips":["10.1.4.2~10.1.5.254"],"subnet":"10.1.4.0/22","gateway":"10.1.4.1"}]`)
	set, err := objects.Parse([]byte(`
kind: Node
metadata: {name: small-a}
status: {addresses: [{type: InternalIP, address: 10.0.1.1}]}
---
kind: Node
metadata: {name: small-b}
status: {addresses: [{type: InternalIP, address: 10.0.1.2}]}
---
kind: Node
metadata: {name: large}
status: {addresses: [{type: InternalIP, address: 10.0.2.1}]}
---
kind: Node
metadata: {name: outside}
status: {addresses: [{type: InternalIP, address: 10.9.9.9}]}
---
kind: Node
metadata: {name: nowhere}
`), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"small-a": 500, "small-b": 500, "large": 1000, "outside": 0, "nowhere": 0}
	check := func(when string) {
		t.Helper()
		if got := reconciler.Capacities(s.replica.View(), set, func(netip.Prefix) int { return 0 }); !maps.Equal(got,
			want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check("nothing held")
	network := netip.MustParsePrefix("10.0.1.0/24")
	pod := func(i int) allocator.Pod {
		return allocator.Pod{
			Owner: ipam.Owner{Kind: "statefulset", Namespace: "ns", App: "web", Pod: fmt.Sprintf("web-%d", i)},
			UID:   fmt.Sprint(i), Policy: ipam.Immutable,
			Workload: allocator.Workload{Exists: true, Scales: true, Replicas: 9},
		}
	}
	for i := range 2 {
		if failure := s.do(allocator.Bind{Pod: pod(i), Node: "small-a", NodeNetwork: network}); failure != "" {
			t.Fatal(failure)
		}
	}
	want["small-a"], want["small-b"] = 2, 0
	check("all in use, on one node")
	s.do(allocator.EndPod{Pod: pod(0)})
	want["small-a"], want["small-b"] = 500, 500
	check("one is kept for a pod that comes back")
}

// still is a source whose objects stay as they are.
type still struct{ set *objects.Set }

func (s still) Set() *objects.Set                    { return s.set }
func (s still) Subscribe() (<-chan struct{}, func()) { return make(chan struct{}), func() {} }

// A pod that a limit holds back is tried again when the limit gives way, although the network never was dry: its node
// shows another quantity then, and only then.
func TestCapacityTurnsForLimits(t *testing.T) {
	s := newHarness(t)
	s.configure(`[{"nodeSubnets":["10.0.1.0/24"],"ips":["10.1.1.2~10.1.1.9"],"subnet":"10.1.1.0/24","gateway":"10.1.1.1"}]`)
	s.do(allocator.SizePool{Pool: "red", Size: 1})
	set, err := objects.Parse([]byte(`
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.0.1.1}]}
---
kind: Pod
metadata: {name: b-0, namespace: ns, uid: ub, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: b, controller: true}], annotations: {tke.cloud.tencent.com/eni-ip-pool: red}}
spec: {containers: [{name: c, resources: {requests: {tke.cloud.tencent.com/eni-ip: "1"}}}]}
`), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	bind := allocator.Bind{Node: "n1", NodeNetwork: netip.MustParsePrefix("10.0.1.0/24"),
		Pod: allocator.Pod{Owner: ipam.Owner{Namespace: "ns", Kind: "statefulset", App: "a", Pod: "a-0", Pool: "red"},
			UID: "ua", Policy: ipam.Never}}
	if got := s.do(bind); got != "" {
		t.Fatal(got)
	}
	var shows atomic.Value
	shows.Store("")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	capacity := &reconciler.Capacity{Replica: s.replica, Source: still{set}, Log: zap.NewNop(),
		Publish: func(_ context.Context, _, quantity string) error {
			shows.Store(quantity)
			return nil
		}}
	go func() {
		defer close(ended)
		_ = capacity.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	until := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); shows.Load() != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the node shows %s, want %s", shows.Load(), want)
			}
		}
	}
	until("500")
	s.do(allocator.SizePool{Pool: "blue", Size: 1}) // of no concern to the pod that waits
	time.Sleep(1500 * time.Millisecond)             // longer than a round, which shows nothing else
	until("500")
	s.do(allocator.SizePool{Pool: "red", Size: 2})
	until("501")
}
