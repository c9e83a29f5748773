package ipam

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strings"
)

// Range is a run of addresses of one family, both ends included. The zero Range is invalid.
type Range struct{ First, Last netip.Addr }

// ParseRange reads "a~b" or a single address. IPv4 written inside IPv6 (::ffff:a.b.c.d) and zones are refused: one
// address has one spelling.
func ParseRange(text string) (Range, error) {
	first, last, two := strings.Cut(text, "~")
	if !two {
		last = first
	}
	var r Range
	var err error
	if r.First, err = ParseAddr(strings.TrimSpace(first)); err != nil {
		return Range{}, fmt.Errorf("range %.*q: %w", maxShown, text, err)
	}
	if r.Last, err = ParseAddr(strings.TrimSpace(last)); err != nil {
		return Range{}, fmt.Errorf("range %.*q: %w", maxShown, text, err)
	}
	if r.First.Is4() != r.Last.Is4() {
		return Range{}, fmt.Errorf("range %.*q: its ends are of different families", maxShown, text)
	}
	if r.Last.Less(r.First) {
		return Range{}, fmt.Errorf("range %.*q: its first address is above its last; write %s~%s", maxShown, text,
			r.Last, r.First)
	}
	return r, nil
}

// ParseAddr reads a plain IPv4 or IPv6 address, without zone, in its one spelling of family.
func ParseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%.*q is not an IP address", maxShown, text)
	}
	if addr.Zone() != "" || addr.Is4In6() {
		return netip.Addr{}, fmt.Errorf("%.*q: write the address without zone and IPv4 as a.b.c.d", maxShown, text)
	}
	return addr, nil
}

// String is "a~b", or the one address.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "~" + r.Last.String()
}

// MarshalText writes the form that ParseRange reads.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is ParseRange.
func (r *Range) UnmarshalText(text []byte) error {
	parsed, err := ParseRange(string(text))
	if err == nil {
		*r = parsed
	}
	return err
}

// Contains reports whether addr lies in the range.
func (r Range) Contains(addr netip.Addr) bool {
	return addr.BitLen() == r.First.BitLen() && !addr.Less(r.First) && !r.Last.Less(addr)
}

// Overlaps reports whether the two ranges share an address.
func (r Range) Overlaps(s Range) bool {
	return r.First.BitLen() == s.First.BitLen() && !s.Last.Less(r.First) && !r.Last.Less(s.First)
}

// Intersect is the part that both ranges share; ok is false when there is none.
func (r Range) Intersect(s Range) (both Range, ok bool) {
	if !r.Overlaps(s) {
		return Range{}, false
	}
	both = r
	if both.First.Less(s.First) {
		both.First = s.First
	}
	if s.Last.Less(both.Last) {
		both.Last = s.Last
	}
	return both, true
}

// Len is the number of addresses, or math.MaxUint64 when there are more than that.
func (r Range) Len() uint64 {
	n := Distance(r.First, r.Last)
	if n == math.MaxUint64 {
		return n
	}
	return n + 1
}

// Distance is how many addresses to lies after from, at most math.MaxUint64.
func Distance(from, to netip.Addr) uint64 {
	a, b := from.As16(), to.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(a[8:]), 0)
	high, _ := bits.Sub64(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(a[:8]), borrow)
	if high != 0 {
		return math.MaxUint64
	}
	return low
}

// Plus is the address n after addr. The caller knows that it exists: the sum must stay inside addr's family.
func Plus(addr netip.Addr, n uint64) netip.Addr {
	b := addr.As16()
	low, carry := bits.Add64(binary.BigEndian.Uint64(b[8:]), n, 0)
	high := binary.BigEndian.Uint64(b[:8]) + carry
	binary.BigEndian.PutUint64(b[8:], low)
	binary.BigEndian.PutUint64(b[:8], high)
	sum := netip.AddrFrom16(b)
	if addr.Is4() {
		return sum.Unmap()
	}
	return sum
}

// PrefixRange is all the addresses of a prefix.
func PrefixRange(p netip.Prefix) Range {
	first := p.Masked().Addr()
	b := first.As16()
	for bit := p.Bits() + 128 - first.BitLen(); bit < 128; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last := netip.AddrFrom16(b)
	if first.Is4() {
		last = last.Unmap()
	}
	return Range{First: first, Last: last}
}

// Minus is what of r lies in none of the others, which are sorted and disjoint.
func (r Range) Minus(others []Range) []Range {
	var left []Range
	for _, o := range others {
		both, ok := r.Intersect(o)
		if !ok {
			continue
		}
		if r.First.Less(both.First) {
			left = append(left, Range{First: r.First, Last: both.First.Prev()})
		}
		if both.Last == r.Last {
			return left
		}
		r.First = both.Last.Next()
	}
	return append(left, r)
}
