package allocator

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"galaxy/ipam"
	"galaxy/projections"
)

// Whatever happens to nodes: no two have subnets that overlap, the counts are right, a free subnet is found as long as
// there is one, and a snapshot leads to the same state and the same next decision.
func TestNodeLaws(t *testing.T) {
	overlays := []string{
		`[{"cidr":"10.0.0.0/26","nodePrefix":28},{"cidr":"fd00::/63"}]`, `[{"cidr":"10.0.0.0/26","nodePrefix":29}]`,
		`[{"cidr":"10.0.0.32/27","nodePrefix":29},{"cidr":"10.0.1.0/28","nodePrefix":28}]`, `[]`,
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newHarness()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			node := fmt.Sprintf("n%d", rapid.IntRange(0, 9).Draw(t, "node"))
			var cmd Command
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				networks, err := ipam.ParseOverlay([]byte(rapid.SampledFrom(overlays).Draw(t, "overlay")))
				if err != nil {
					t.Fatal(err)
				}
				cmd = ConfigureOverlay{Source: "test", Networks: networks}
			case 1, 2, 3:
				cmd = LoseNode{Node: node, Reason: "leaseEnded"}
			case 4, 5:
				cmd = ReleaseNode{Node: node, Reason: "nodeDeleted"}
			default:
				cmd = JoinNode{Node: node, Machine: "m", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
			}
			if _, _, err := w.do(cmd); err != nil {
				t.Fatal(err)
			}
			checkNodes(t, w.db.View())
		}
		var saved bytes.Buffer
		if err := w.db.View().Save(&saved); err != nil {
			t.Fatal(err)
		}
		restored, err := projections.Restore(&saved)
		if err != nil {
			t.Fatal(err)
		}
		if restored.View().Digest() != w.db.View().Digest() {
			t.Fatal("the snapshot leads to another state")
		}
		for i := range w.db.View().Overlay().Networks {
			a, _ := w.db.View().FreeNodeSubnet(i)
			b, _ := restored.View().FreeNodeSubnet(i)
			if a != b {
				t.Fatalf("the next subnet is %s, and after a snapshot %s", a, b)
			}
		}
	})
}

func checkNodes(t *rapid.T, view *projections.View) {
	var all []netip.Prefix
	for n := range view.Nodes() {
		for _, s := range n.Subnets {
			for _, other := range all {
				if s.Overlaps(other) {
					t.Fatalf("%s and %s overlap", s, other)
				}
			}
			all = append(all, s)
			if owner := view.NodeOfSubnet(s); owner != n.Name {
				t.Fatalf("%s is of %s, and found as that of %q", s, n.Name, owner)
			}
		}
	}
	for i, network := range view.Overlay().Networks {
		used, free := 0, netip.Prefix{}
		for j := range network.Subnets() {
			subnet := network.Subnet(j)
			taken := false
			for _, s := range all {
				if s == subnet {
					used++
				}
				taken = taken || s.Overlaps(subnet)
			}
			if !taken && !free.IsValid() {
				free = subnet
			}
		}
		if _, counted := view.NodeSubnetUsage(i); counted != used {
			t.Fatalf("%d subnets of %s are used, and %d counted", used, network.CIDR, counted)
		}
		if found, ok := view.FreeNodeSubnet(i); found != free || ok != free.IsValid() {
			t.Fatalf("%s is the first free subnet of %s, and found is %s", free, network.CIDR, found)
		}
	}
}
