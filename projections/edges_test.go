package projections

import (
	"net/netip"
	"testing"
	"time"

	"galaxy/eventlog"
	"galaxy/ipam"
)

// The first address of a block is free again once it was released, as every other is, and is found.
func TestFirstOfABlockIsFreeAgain(t *testing.T) {
	p := play(t)
	subnet := wide
	first := netip.MustParseAddr("10.0.1.0")
	subnet.Ranges = []ipam.Range{{First: first, Last: ipam.Plus(first, 1)}}
	p.must(&eventlog.SubnetsConfigured{Subnets: []ipam.Subnet{subnet}})
	seq := p.must(&eventlog.AddressAllocated{Address: first, Subnet: subnet.Prefix, Owner: pod("a")})
	p.must(&eventlog.AddressAllocated{Address: ipam.Plus(first, 1), Subnet: subnet.Prefix, Owner: pod("b")})
	p.must(&eventlog.AddressReleased{Address: first, Owner: pod("a"), After: seq})
	p.txn.Commit()
	var unheld []netip.Addr
	for addr := range p.db.View().FreeIn(0, subnet.Ranges[0]) {
		unheld = append(unheld, addr)
	}
	if len(unheld) != 1 || unheld[0] != first {
		t.Errorf("free are %v, want %s", unheld, first)
	}
}

// Who walks the ranges may stop at any of them.
func TestSpansStop(t *testing.T) {
	subnet := wide
	subnet.Ranges = []ipam.Range{
		{First: netip.MustParseAddr("10.0.0.2"), Last: netip.MustParseAddr("10.0.0.3")},
		{First: netip.MustParseAddr("10.0.0.7"), Last: netip.MustParseAddr("10.0.0.9")},
	}
	seen := 0
	newConfig("", 1, time.Time{}, []ipam.Subnet{subnet}).Spans(func(ipam.Range, int) bool {
		seen++
		return false
	})
	if seen != 1 {
		t.Errorf("%d ranges were seen after the first was enough", seen)
	}
}

// What nothing has touched yet counts as nothing: node subnets of a network that no node has, and scopes of owners that
// are in no app or no pool.
func TestCountsBeginAtNothing(t *testing.T) {
	p := play(t)
	p.must(&eventlog.OverlayConfigured{Networks: []ipam.OverlayNetwork{{CIDR: netip.MustParsePrefix("172.16.0.0/13"), NodePrefix: 24}}})
	p.must(&eventlog.SubnetsConfigured{Subnets: []ipam.Subnet{wide}})
	first := wide.Ranges[0].First
	p.must(&eventlog.AddressAllocated{Address: first, Subnet: wide.Prefix, Owner: ipam.Owner{Pool: "blue"}})
	p.txn.Commit()
	view := p.db.View()
	if total, used := view.NodeSubnetUsage(0); total != 2048 || used != 0 {
		t.Errorf("%d of %d node subnets are used", used, total)
	}
	if held := view.Scope(ipam.Owner{}).Held; held != 0 {
		t.Errorf("nobody's app holds %d addresses", held)
	}
	if held := view.Scope(ipam.Owner{Pool: "blue"}).Held; held != 1 {
		t.Errorf("the pool holds %d addresses, want 1", held)
	}
}
