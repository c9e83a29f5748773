package allocator

import (
	"reflect"
	"slices"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

func (c Configure) decide(d *decision) error {
	config := d.view.Config()
	if config.Seq > 0 && sameSubnets(config.Subnets, c.Subnets) {
		return nil
	}
	drained, count := dropped(d.view, c.Subnets)
	if count > 0 && !c.Force {
		return &InUseError{Count: count, First: drained}
	}
	d.result.Draining = drained
	d.emit(&eventlog.SubnetsConfigured{Source: c.Source, Subnets: c.Subnets, Draining: drained, Drains: count})
	return nil
}

func sameSubnets(a, b []ipam.Subnet) bool {
	return len(a) == len(b) && slices.EqualFunc(a, b, func(x, y ipam.Subnet) bool { return reflect.DeepEqual(x, y) })
}

// dropped are the held addresses that the subnets in force have and the new ones have not: how many, and the first of
// them.
func dropped(view *projections.View, subnets []ipam.Subnet) (first []eventlog.Drained, count int) {
	var kept []ipam.Range
	for _, s := range subnets {
		kept = append(kept, s.Ranges...)
	}
	slices.SortFunc(kept, func(a, b ipam.Range) int { return a.First.Compare(b.First) })
	for span := range view.Config().Spans {
		for _, gone := range span.Minus(kept) {
			for a := range view.Addresses(gone.First) {
				if gone.Last.Less(a.Addr) {
					break
				}
				if count++; count <= eventlog.MaxDrained {
					first = append(first, eventlog.Drained{Address: a.Addr, Owner: a.Owner})
				}
			}
		}
	}
	return first, count
}
