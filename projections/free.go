package projections

import (
	"iter"
	"net/netip"

	"github.com/hashicorp/go-memdb"

	"galaxy/ipam"
)

// Fresh yields the addresses of a subnet that nobody has held, as far as is remembered, lowest first.
func (v *View) Fresh(subnet int) iter.Seq[netip.Addr] {
	return v.unheld(subnet, indexFresh, (*segment).fresh, nil)
}

// FirstFresh is the lowest of Fresh; ok is false when there is none.
func (v *View) FirstFresh(subnet int) (addr netip.Addr, ok bool) {
	if v.pending != nil {
		if s := v.segmentAt(v.pending.lowest[subnet]); s != nil && s.subnet == subnet {
			left := s.fresh()
			if bit := left.next(0); bit >= 0 {
				return ipam.Plus(s.base, uint64(bit)), true
			}
		}
	}
	for addr := range v.Fresh(subnet) {
		if v.pending != nil {
			base, _ := blockOf(addr)
			v.pending.lowest[subnet] = segmentID{subnet, base}
		}
		return addr, true
	}
	return netip.Addr{}, false
}

// segmentAt is a segment as it is now, or nil.
func (v *View) segmentAt(id segmentID) *segment {
	if !id.base.IsValid() {
		return nil
	}
	if s := v.pending.segments[id]; s != nil {
		return s
	}
	return first[segment](v.base, tableSegments, "id", subnetAddrKey(id.subnet, id.base))
}

// FreeIn yields the addresses of a subnet within a range that nobody holds now, lowest first; those within the reuse
// delay are among them.
func (v *View) FreeIn(subnet int, within ipam.Range) iter.Seq[netip.Addr] {
	return v.unheld(subnet, indexFree, (*segment).free, &within)
}

// unheld merges the two places where free addresses stand, segments and untouched intervals; both are in address order.
func (v *View) unheld(subnet int, index string, bits func(*segment) bitmap, within *ipam.Range) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		v.settle()
		c := freeCursor{subnet: subnet, bits: bits, within: within}
		segmentKey, gapKey := subnetKey(subnet), subnetKey(subnet)
		if within != nil {
			block, _ := blockOf(within.First)
			segmentKey, gapKey = subnetAddrKey(subnet, block), subnetAddrKey(subnet, within.First)
		}
		var err error
		if c.segments, err = v.txn.LowerBound(tableSegments, index, segmentKey); err != nil {
			panic(err)
		}
		if c.gaps, err = v.txn.LowerBound(tableUntouched, "id", gapKey); err != nil {
			panic(err)
		}
		c.nextInSegments()
		c.nextGap()
		for addr := c.next(); addr.IsValid(); addr = c.next() {
			if !yield(addr) {
				return
			}
		}
	}
}

// freeCursor stands on the next address of each place; an invalid one is the end of it.
type freeCursor struct {
	subnet int
	bits   func(*segment) bitmap
	within *ipam.Range // nil: the whole subnet

	segments memdb.ResultIterator
	segment  *segment
	left     bitmap // of the segment
	inBlock  netip.Addr

	gaps  memdb.ResultIterator
	gap   ipam.Range
	inGap netip.Addr
}

func (c *freeCursor) next() netip.Addr {
	addr := c.inBlock
	if !addr.IsValid() || c.inGap.IsValid() && c.inGap.Less(addr) {
		addr = c.inGap
		c.stepGap()
		return addr
	}
	c.nextInSegments()
	return addr
}

func (c *freeCursor) nextInSegments() {
	c.inBlock = netip.Addr{}
	for {
		if c.segment != nil {
			for bit := c.left.next(0); bit >= 0; bit = c.left.next(bit + 1) {
				c.left.set(bit, false)
				addr := ipam.Plus(c.segment.base, uint64(bit))
				if c.within == nil || c.within.Contains(addr) {
					c.inBlock = addr
					return
				}
			}
		}
		row, more := c.segments.Next().(*segment)
		if !more || row.subnet != c.subnet || c.within != nil && c.within.Last.Less(row.base) {
			c.segment, c.left = nil, bitmap{}
			return
		}
		c.segment, c.left = row, c.bits(row)
	}
}

func (c *freeCursor) stepGap() {
	if c.inGap == c.gap.Last {
		c.nextGap()
		return
	}
	c.inGap = c.inGap.Next()
}

func (c *freeCursor) nextGap() {
	c.inGap = netip.Addr{}
	row, more := c.gaps.Next().(*untouched)
	if !more || row.subnet != c.subnet {
		return
	}
	c.gap = row.Range
	if c.within != nil {
		part, ok := c.gap.Intersect(*c.within)
		if !ok {
			return
		}
		c.gap = part
	}
	c.inGap = c.gap.First
}
