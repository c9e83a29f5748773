package allocator

import (
	"galaxy/eventlog"
)

func (c Adopt) decide(d *decision) error {
	if err := checkNames(c.Pod.Owner, c.Pod.UID, c.Node); err != nil {
		return err
	}
	a := d.view.Address(c.Address)
	if a == nil {
		subnet, ok := d.view.Config().SubnetOf(c.Address)
		if !ok {
			return &UnknownAddressError{Address: c.Address}
		}
		p := d.free(c.Address, subnet)
		d.emit(&eventlog.AddressAllocated{
			Address: p.addr, Subnet: d.prefix(p), Owner: c.Pod.Owner, PodUID: c.Pod.UID, Node: c.Node,
			Policy: c.Pod.Policy,
			Reason: ReasonFoundRunning, After: p.after,
		})
		d.grant(c.Address)
		return nil
	}
	switch {
	case a.Owner == c.Pod.Owner && a.PodUID == c.Pod.UID && a.Node == c.Node: // known
	case a.Owner == c.Pod.Owner && a.PodUID != "" && a.PodUID != c.Pod.UID:
		return &UIDError{Pod: c.Pod.Owner, Address: c.Address, UID: a.PodUID}
	case a.Labelled || a.Owner != c.Pod.Owner && a.Owner != c.Pod.Owner.Scope():
		return &HolderError{Address: c.Address, Holder: a.Owner}
	default:
		d.emit(&eventlog.AddressBound{Address: a.Addr, Owner: c.Pod.Owner, PodUID: c.Pod.UID, Node: c.Node,
			Policy: c.Pod.Policy, After: a.Seq})
	}
	d.grant(c.Address)
	return nil
}

func (c MarkAssigned) decide(d *decision) error {
	a := d.view.Address(c.Address)
	if a == nil {
		return &UnheldError{Address: c.Address}
	}
	if a.Assigned != c.Node {
		d.emit(&eventlog.AddressAssigned{Address: c.Address, Node: c.Node, After: a.Seq})
	}
	return nil
}

func (c MarkUnassigned) decide(d *decision) error {
	if a := d.view.Address(c.Address); a != nil && a.Assigned != "" && a.Assigned == c.Node {
		d.emit(&eventlog.AddressUnassigned{Address: c.Address, Node: c.Node, After: a.Seq})
	}
	return nil
}
