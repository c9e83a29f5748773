package eventlog

import (
	"net/netip"

	"galaxy/ipam"
)

// Subject is what and whom an event is about, whatever its type; the zero value of a field where it names none.
type Subject struct {
	Address netip.Addr // the one address that it is about
	After   uint64     // the event before it about that address; 0 where none is remembered
	Owner   ipam.Owner // of the address; a pool for events about pools
	PodUID  string
	Node    string
	Policy  string // the text of the address's policy from here on
	Reason  string
	Drained []Drained // addresses that a new configuration no longer has
}

// Owners are all whom the event names.
func (s Subject) Owners() []ipam.Owner {
	if s.Owner != (ipam.Owner{}) {
		return []ipam.Owner{s.Owner}
	}
	var all []ipam.Owner
	for _, d := range s.Drained {
		all = append(all, d.Owner)
	}
	return all
}

// Concerns reports whether the event is about an address.
func (s Subject) Concerns(addr netip.Addr) bool {
	for _, d := range s.Drained {
		if d.Address == addr {
			return true
		}
	}
	return s.Address == addr
}

// Subject is whom and what the event is about.
func (d *SubnetsConfigured) Subject() Subject { return Subject{Drained: d.Draining} }

// Subject is whom and what the event is about.
func (d *AddressAllocated) Subject() Subject {
	return Subject{Address: d.Address, After: d.After, Owner: d.Owner, PodUID: d.PodUID, Node: d.Node,
		Policy: d.Policy.String(), Reason: d.Reason}
}

// Subject is whom and what the event is about.
func (d *AddressBound) Subject() Subject {
	return Subject{Address: d.Address, After: d.After, Owner: d.Owner, PodUID: d.PodUID, Node: d.Node,
		Policy: d.Policy.String()}
}

// Subject is whom and what the event is about.
func (d *AddressReserved) Subject() Subject {
	return Subject{Address: d.Address, After: d.After, Owner: d.Owner, PodUID: d.PodUID, Policy: d.Policy.String(),
		Reason: d.Reason}
}

// Subject is whom and what the event is about.
func (d *AddressReleased) Subject() Subject {
	return Subject{Address: d.Address, After: d.After, Owner: d.Owner, Reason: d.Reason}
}

// Subject is whom and what the event is about.
func (d *AddressAssigned) Subject() Subject {
	return Subject{Address: d.Address, After: d.After, Node: d.Node}
}

// Subject is whom and what the event is about.
func (d *AddressUnassigned) Subject() Subject {
	return Subject{Address: d.Address, After: d.After, Node: d.Node}
}

// Subject is whom and what the event is about.
func (d *PoolSized) Subject() Subject { return Subject{Owner: ipam.Owner{Pool: d.Pool}} }

// Subject is whom and what the event is about.
func (d *PoolDeleted) Subject() Subject { return Subject{Owner: ipam.Owner{Pool: d.Pool}} }

// Subject is whom and what the event is about.
func (*RunningPodsAdopted) Subject() Subject { return Subject{} }

// Subject is whom and what the event is about.
func (*FormerObjectsFound) Subject() Subject { return Subject{} }

// Subject is whom and what the event is about.
func (*FormerObjectsResolved) Subject() Subject { return Subject{} }

// Subject is whom and what the event is about.
func (*OverlayConfigured) Subject() Subject { return Subject{} }

// Subject is whom and what the event is about.
func (d *NodeJoined) Subject() Subject { return Subject{Node: d.Node} }

// Subject is whom and what the event is about.
func (d *NodeAddressChanged) Subject() Subject { return Subject{Node: d.Node} }

// Subject is whom and what the event is about.
func (d *NodeLost) Subject() Subject { return Subject{Node: d.Node, Reason: d.Reason} }

// Subject is whom and what the event is about.
func (d *NodeSubnetAssigned) Subject() Subject { return Subject{Node: d.Node} }

// Subject is whom and what the event is about.
func (d *NodeSubnetReleased) Subject() Subject { return Subject{Node: d.Node, Reason: d.Reason} }

// Subject is whom and what the event is about.
func (d *NodeForgotten) Subject() Subject { return Subject{Node: d.Node, Reason: d.Reason} }
