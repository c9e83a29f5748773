//go:build linux

package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// defaultMetric6 is what the kernel makes of metric 0 for IPv6.
const defaultMetric6 = 1024

// attributeKind is without the flags that share the number.
const attributeKind = 0x3fff

func align(n int) int { return (n + 3) &^ 3 }

func addFlags(message []byte, flags uint16) {
	binary.NativeEndian.PutUint16(message[6:], binary.NativeEndian.Uint16(message[6:])|flags)
}

// begin appends a netlink header and a route header; end writes the length.
func begin(b []byte, kind, flags uint16, route unix.RtMsg) []byte {
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = append(b, make([]byte, 8)...) // sequence and port
	b = append(b, route.Family, route.Dst_len, route.Src_len, route.Tos, route.Table, route.Protocol, route.Scope,
		route.Type)
	return binary.NativeEndian.AppendUint32(b, route.Flags)
}

func end(b []byte, at int) []byte {
	binary.NativeEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendNumber(b []byte, kind uint16, value int) []byte {
	return appendAttribute(b, kind, binary.NativeEndian.AppendUint32(nil, uint32(value)))
}

func appendAddr(b []byte, kind uint16, a netip.Addr) []byte {
	if a.Is4() {
		raw := a.As4()
		return appendAttribute(b, kind, raw[:])
	}
	raw := a.As16()
	return appendAttribute(b, kind, raw[:])
}

func familyNumber(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// metric is the metric of a route in the kernel's words.
func (r Route) metric() int {
	if r.Metric == 0 && r.Dst.Addr().Is6() {
		return defaultMetric6
	}
	return r.Metric
}

// appendWrite appends the message that adds or replaces a route.
func appendWrite(b []byte, r Route, link int, flags uint16) []byte {
	at := len(b)
	m := unix.RtMsg{
		Family: familyNumber(r.Dst.Addr()), Dst_len: uint8(r.Dst.Bits()), Table: unix.RT_TABLE_MAIN,
		Protocol: Protocol, Scope: unix.RT_SCOPE_UNIVERSE, Type: unix.RTN_UNICAST,
	}
	if !r.Via.IsValid() {
		m.Scope = unix.RT_SCOPE_LINK
	}
	if r.OnLink {
		m.Flags = unix.RTNH_F_ONLINK
	}
	b = begin(b, unix.RTM_NEWROUTE, flags, m)
	b = appendAddr(b, unix.RTA_DST, r.Dst.Addr())
	if r.Via.IsValid() {
		b = appendAddr(b, unix.RTA_GATEWAY, r.Via)
	}
	b = appendNumber(b, unix.RTA_OIF, link)
	if r.Source.IsValid() {
		b = appendAddr(b, unix.RTA_PREFSRC, r.Source)
	}
	if r.MTU != 0 {
		b = appendAttribute(b, unix.RTA_METRICS, appendNumber(nil, unix.RTAX_MTU, r.MTU))
	}
	b = appendNumber(b, unix.RTA_PRIORITY, r.metric())
	return end(b, at)
}

// appendDelete appends the message that deletes a route. It names our protocol, so that the kernel leaves any other
// route alone, and the way, where it is known (link, from 1), as there may be a second route for the destination.
func appendDelete(b []byte, r Route, link int) []byte {
	at := len(b)
	b = begin(b, unix.RTM_DELROUTE, 0, unix.RtMsg{
		Family: familyNumber(r.Dst.Addr()), Dst_len: uint8(r.Dst.Bits()), Table: unix.RT_TABLE_MAIN,
		Protocol: Protocol, Scope: unix.RT_SCOPE_NOWHERE,
	})
	b = appendAddr(b, unix.RTA_DST, r.Dst.Addr())
	if r.Via.IsValid() {
		b = appendAddr(b, unix.RTA_GATEWAY, r.Via)
	}
	if link > 0 {
		b = appendNumber(b, unix.RTA_OIF, link)
	}
	b = appendNumber(b, unix.RTA_PRIORITY, r.metric())
	return end(b, at)
}

// listRoutes is the question for the main table's routes of a protocol; 0 is any.
func listRoutes(family uint8, protocol uint8) []byte {
	return end(begin(nil, unix.RTM_GETROUTE, unix.NLM_F_DUMP, unix.RtMsg{
		Family: family, Table: unix.RT_TABLE_MAIN, Protocol: protocol,
	}), 0)
}

// read is a route as the kernel reports it.
type read struct {
	Route
	link     int
	protocol uint8
	tos      uint8
	table    int
}

// parseRoute reads the body of a route message.
func parseRoute(body []byte) (read, error) {
	if len(body) < unix.SizeofRtMsg {
		return read{}, errCut
	}
	r := read{tos: body[3], table: int(body[4]), protocol: body[5]}
	r.OnLink = binary.NativeEndian.Uint32(body[8:])&unix.RTNH_F_ONLINK != 0
	dst := netip.IPv4Unspecified()
	if body[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	err := attributes(body[unix.SizeofRtMsg:], func(kind uint16, value []byte) error {
		switch kind {
		case unix.RTA_DST:
			return addrIn(value, &dst)
		case unix.RTA_GATEWAY:
			return addrIn(value, &r.Via)
		case unix.RTA_PREFSRC:
			return addrIn(value, &r.Source)
		case unix.RTA_OIF:
			return numberIn(value, &r.link)
		case unix.RTA_PRIORITY:
			return numberIn(value, &r.Metric)
		case unix.RTA_TABLE:
			return numberIn(value, &r.table)
		case unix.RTA_METRICS:
			return attributes(value, func(kind uint16, value []byte) error {
				if kind == unix.RTAX_MTU {
					return numberIn(value, &r.MTU)
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return read{}, err
	}
	r.Dst = netip.PrefixFrom(dst, int(body[1]))
	if dst.Is6() && r.Metric == defaultMetric6 {
		r.Metric = 0
	}
	return r, nil
}

// attributes calls each for every attribute.
func attributes(b []byte, each func(kind uint16, value []byte) error) error {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return errCut
		}
		kind := binary.NativeEndian.Uint16(b[2:]) & attributeKind
		if err := each(kind, b[unix.SizeofRtAttr:size]); err != nil {
			return err
		}
		b = b[min(align(size), len(b)):]
	}
	return nil
}

func addrIn(value []byte, to *netip.Addr) error {
	a, ok := netip.AddrFromSlice(value)
	if !ok {
		return fmt.Errorf("the kernel tells an address of %d bytes", len(value))
	}
	*to = a
	return nil
}

func numberIn(value []byte, to *int) error {
	if len(value) < 4 {
		return errCut
	}
	*to = int(binary.NativeEndian.Uint32(value))
	return nil
}
