package projections

import (
	"net/netip"

	"github.com/hashicorp/go-memdb"

	"galaxy/ipam"
)

// untouched is an interval of a subnet's addresses that no event has touched.
type untouched struct {
	subnet int
	ipam.Range
}

const tableUntouched = "untouched"

func untouchedTable() *memdb.TableSchema {
	// By the last address: the interval that holds or follows an address is then one seek away.
	return tableOf(tableUntouched, unique("id", func(u *untouched) []byte { return subnetAddrKey(u.subnet, u.Last) }))
}

// touch moves what is untouched around an address into the segment of its block.
func (t *Txn) touch(s *segment, addr netip.Addr) *segment {
	u := firstFrom[untouched](t.txn, tableUntouched, "id", subnetAddrKey(s.subnet, addr))
	if u == nil || u.subnet != s.subnet || !u.Contains(addr) {
		return s
	}
	part, _ := u.Intersect(ipam.Range{First: s.base, Last: ipam.Plus(s.base, blockSize-1)})
	t.delete(tableUntouched, u)
	if u.First.Less(part.First) {
		t.insert(tableUntouched, &untouched{u.subnet, ipam.Range{First: u.First, Last: part.First.Prev()}})
	}
	if part.Last.Less(u.Last) {
		t.insert(tableUntouched, &untouched{u.subnet, ipam.Range{First: part.Last.Next(), Last: u.Last}})
	}
	return t.change(s, func(s *segment) {
		_, from := blockOf(part.First)
		_, to := blockOf(part.Last)
		for bit := from; bit <= to; bit++ {
			s.mask.set(bit, true)
		}
	})
}
