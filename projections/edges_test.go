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
