package projections

import (
	"math/bits"
	"net/netip"

	"github.com/hashicorp/go-memdb"
)

// Free addresses are not rows. The addresses of a subnet are cut into blocks of 256, aligned in the address space. A
// segment is the part of a block that belongs to one subnet, with a bit for each address; it is made when one of its
// addresses is first held. What no event has touched yet stands as whole intervals in the table of the untouched. So
// the lowest free address is found as fast in a /28 as in an IPv6 /64, and costs no memory until it is used:
//
//	addresses of a subnet = bits of its segments + intervals of its untouched, without overlap
type segment struct {
	segmentID
	mask     bitmap // the addresses of the block that belong here
	held     bitmap // of them: held by an owner
	released bitmap // of them: free, but held before; see Released
}

type segmentID struct {
	subnet int
	base   netip.Addr // the first address of the block
}

const blockSize = 256

type bitmap [blockSize / 64]uint64

func (b *bitmap) set(i int, on bool) {
	if on {
		b[i/64] |= 1 << (i % 64)
	} else {
		b[i/64] &^= 1 << (i % 64)
	}
}

func (b *bitmap) has(i int) bool { return b[i/64]>>(i%64)&1 == 1 }

// next is the first bit at or after i, or -1. i may be one past the last bit.
func (b *bitmap) next(i int) int {
	for word := i / 64; word < len(b); word++ {
		w := b[word]
		if word == i/64 {
			w &= ^uint64(0) << (i % 64)
		}
		if w != 0 {
			return word*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

func (b *bitmap) empty() bool { return *b == bitmap{} }

func (b bitmap) without(others ...bitmap) bitmap {
	for _, other := range others {
		for i := range b {
			b[i] &^= other[i]
		}
	}
	return b
}

// fresh are the addresses that nobody has held, as far as is remembered.
func (s *segment) fresh() bitmap { return s.mask.without(s.held, s.released) }

// free are the addresses that nobody holds now.
func (s *segment) free() bitmap { return s.mask.without(s.held) }

const (
	tableSegments = "segments"
	indexFresh    = "fresh" // only segments with a fresh address
	indexFree     = "free"  // only segments with a free address
)

func segmentsTable() *memdb.TableSchema {
	key := func(s *segment) []byte { return subnetAddrKey(s.subnet, s.base) }
	only := func(some func(*segment) bitmap) keyOf[segment] {
		return func(s *segment) []byte {
			if left := some(s); left.empty() {
				return nil
			}
			return key(s)
		}
	}
	return tableOf(tableSegments, unique("id", key), partial(indexFresh, only((*segment).fresh)),
		partial(indexFree, only((*segment).free)))
}

func blockOf(addr netip.Addr) (base netip.Addr, bit int) {
	if addr.Is4() {
		b := addr.As4()
		bit, b[3] = int(b[3]), 0
		return netip.AddrFrom4(b), bit
	}
	b := addr.As16()
	bit, b[15] = int(b[15]), 0
	return netip.AddrFrom16(b), bit
}

// segment is this transaction's own copy of the segment of an address, which waits until it is written. The address
// must be one of the subnet.
func (t *Txn) segment(subnet int, addr netip.Addr) *segment {
	base, _ := blockOf(addr)
	id := segmentID{subnet, base}
	if s, mine := t.pending.segments[id]; mine {
		return s
	}
	s := &segment{segmentID: id}
	if stored := first[segment](t.base, tableSegments, "id", subnetAddrKey(subnet, base)); stored != nil {
		*s = *stored
	} else {
		t.touch(s)
	}
	t.pending.segments[id] = s
	return s
}

func (t *Txn) setHeld(subnet int, addr netip.Addr, on bool) {
	_, bit := blockOf(addr)
	t.segment(subnet, addr).held.set(bit, on)
}

func (t *Txn) setReleased(subnet int, addr netip.Addr, on bool) {
	_, bit := blockOf(addr)
	t.segment(subnet, addr).released.set(bit, on)
}
