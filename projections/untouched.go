package projections

import (
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

// touch moves what is untouched of a block into its new segment, so that a segment has all addresses of its block that
// are of its subnet.
func (t *Txn) touch(s *segment) {
	block := ipam.Range{First: s.base, Last: ipam.Plus(s.base, blockSize-1)}
	var gaps []*untouched
	for u := range from[untouched](t.txn, tableUntouched, "id", subnetAddrKey(s.subnet, s.base)) {
		if u.subnet != s.subnet || !u.Overlaps(block) {
			break
		}
		gaps = append(gaps, u)
	}
	for _, u := range gaps {
		t.cut(s, u, block)
	}
}

// cut moves the part of a gap that lies in the block.
func (t *Txn) cut(s *segment, u *untouched, block ipam.Range) {
	part, _ := u.Intersect(block)
	t.delete(tableUntouched, u)
	if u.First.Less(part.First) {
		t.insert(tableUntouched, &untouched{u.subnet, ipam.Range{First: u.First, Last: part.First.Prev()}})
	}
	if part.Last.Less(u.Last) {
		t.insert(tableUntouched, &untouched{u.subnet, ipam.Range{First: part.Last.Next(), Last: u.Last}})
	}
	_, first := blockOf(part.First)
	_, last := blockOf(part.Last)
	for bit := first; bit <= last; bit++ {
		s.mask.set(bit, true)
	}
}
