package rest

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"

	"galaxy/ipam"
	"galaxy/projections"
)

// A listing is an ordered list of addresses that need not be in memory.
type listing interface {
	len() uint64 // at most math.MaxUint64
	at(i uint64) netip.Addr
}

// addrs is a listing that is in memory.
type addrs []netip.Addr

func (l addrs) len() uint64            { return uint64(len(l)) }
func (l addrs) at(i uint64) netip.Addr { return l[i] }

// space is all addresses that are configured or held, by number, as runs: a page of it costs the same in a /8 as in a
// /28.
type space struct {
	runs       []run // in the order of the listing
	total      uint64
	descending bool
}

// run is consecutive addresses, and how many stand before it in the listing.
type run struct {
	ipam.Range
	before uint64
}

// newSpace lists what the view configures, and what is held beyond that.
func newSpace(view *projections.View, descending bool) *space {
	var runs []run
	for r := range view.Config().Spans {
		runs = append(runs, run{Range: r})
	}
	for a := range view.Draining() {
		runs = append(runs, run{Range: ipam.Range{First: a.Addr, Last: a.Addr}})
	}
	slices.SortFunc(runs, func(a, b run) int { return a.First.Compare(b.First) })
	if descending {
		slices.Reverse(runs)
	}
	s := &space{runs: runs, descending: descending}
	for i := range runs {
		runs[i].before = s.total
		s.total = addSaturating(s.total, runs[i].Len())
	}
	return s
}

func addSaturating(a, b uint64) uint64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return math.MaxUint64
}

func (s *space) len() uint64 { return s.total }

func (s *space) at(i uint64) netip.Addr {
	n, found := slices.BinarySearchFunc(s.runs, i, func(r run, i uint64) int { return cmp.Compare(r.before, i) })
	if !found {
		n--
	}
	r := s.runs[n]
	if s.descending {
		return minus(r.Last, i-r.before)
	}
	return ipam.Plus(r.First, i-r.before)
}

// minus is the address n before addr, which exists.
func minus(addr netip.Addr, n uint64) netip.Addr {
	b := addr.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(b[8:]), n, 0)
	binary.BigEndian.PutUint64(b[8:], low)
	binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])-borrow)
	difference := netip.AddrFrom16(b)
	if addr.Is4() {
		return difference.Unmap()
	}
	return difference
}
