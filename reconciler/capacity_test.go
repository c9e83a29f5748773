package reconciler_test

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube/objects"
	"galaxy/reconciler"
)

// A node shows that it has room as long as there is an address that a pod may get there: a free one, or one that is kept.
func TestCapacities(t *testing.T) {
	s := newScene(t)
	subnets, err := ipam.ParseConfig([]byte(`[
		{"nodeSubnets":["10.0.1.0/24"],"ips":["10.1.1.2~10.1.1.3"],"subnet":"10.1.1.0/24","gateway":"10.1.1.1"},
		{"nodeSubnets":["10.0.2.0/24"],"ips":["10.1.4.2~10.1.5.254"],"subnet":"10.1.4.0/22","gateway":"10.1.4.1"}]`))
	if err != nil {
		t.Fatal(err)
	}
	s.do(allocator.Configure{Source: "test", Subnets: subnets})
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
		if got := reconciler.Capacities(s.replica.View(), set, func(netip.Prefix) int { return 0 }); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check("nothing held")
	network := netip.MustParsePrefix("10.0.1.0/24")
	pod := func(i int) allocator.Pod {
		return allocator.Pod{
			Owner: ipam.Owner{Kind: "statefulset", Namespace: "ns", App: "web", Pod: fmt.Sprintf("web-%d", i)}, UID: fmt.Sprint(i), Policy: ipam.Immutable,
			Workload: allocator.Workload{Exists: true, Scales: true, Replicas: 9},
		}
	}
	for i := range 2 {
		if fault := s.do(allocator.Bind{Pod: pod(i), Node: "small-a", NodeNetwork: network}); fault != "" {
			t.Fatal(fault)
		}
	}
	want["small-a"], want["small-b"] = 2, 0
	check("all in use, on one node")
	s.do(allocator.EndPod{Pod: pod(0)})
	want["small-a"], want["small-b"] = 500, 500
	check("one is kept for a pod that comes back")
}
