package eventlog

import "net/netip"

// About is the address that an event is about, and the event before it about the same; the zero Addr for all other events.
func About(data Data) (addr netip.Addr, after uint64) {
	switch d := data.(type) {
	case *AddressAllocated:
		return d.Address, d.After
	case *AddressBound:
		return d.Address, d.After
	case *AddressReserved:
		return d.Address, d.After
	case *AddressReleased:
		return d.Address, d.After
	case *AddressAssigned:
		return d.Address, d.After
	case *AddressUnassigned:
		return d.Address, d.After
	default:
		return netip.Addr{}, 0
	}
}
