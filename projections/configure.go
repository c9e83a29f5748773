package projections

import (
	"cmp"
	"net/netip"
	"slices"
)

// configure puts a configuration in force and rebuilds what is derived from it: which addresses drain, and what is
// free.
func (t *Txn) configure(c *Config) {
	t.flush()
	released := collect(under[Released](t.txn, tableReleased, "id", nil))
	held := collect(t.Addresses(netip.Addr{}))
	t.clear(tableSegments, tableUntouched, tableSubnets, tableCooling, tableReleased)
	t.rebase()

	t.config = c
	for i, s := range c.Subnets {
		t.ownSubnet(i).Total = s.Len()
		for _, r := range s.Ranges {
			t.insert(tableUntouched, &untouched{i, r})
		}
	}
	t.requeue(released)
	t.rehold(held)
}

func (t *Txn) requeue(released []*Released) {
	slices.SortFunc(released, func(a, b *Released) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, r := range released {
		subnet, configured := t.config.SubnetOf(r.Addr)
		if !configured {
			t.forgot(r.Seq)
			continue
		}
		moved := *r
		moved.Subnet = subnet
		t.remember(&moved)
	}
}

func (t *Txn) rehold(held []*Address) {
	for _, a := range held {
		subnet, configured := t.config.SubnetOf(a.Addr)
		if configured {
			t.setHeld(subnet, a.Addr, true)
			t.ownSubnet(subnet).Held++
		}
		if a.Draining == configured {
			moved := *a
			moved.Draining = !configured
			t.putAddress(&moved)
		}
	}
}
