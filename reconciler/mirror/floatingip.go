package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/kube"
	api "galaxy/kube/galaxyv1alpha1"
	"galaxy/projections"
)

// Reasons of the events on objects.
const (
	eventRefused = "ReservationRefused"
	eventIgnored = "PoolIgnored"
	eventForeign = "FloatingIPIgnored"
)

// floatingIP makes the object of an address show what the log says, or does what an administrator asks for with it.
func (m *Mirror) floatingIP(ctx context.Context, name string) error {
	var have *api.FloatingIP
	for _, o := range m.ips.get(key{name: name}) {
		have = o
	}
	addr, ok := api.AddressOf(name)
	if !ok {
		if have != nil && have.IsReservation() {
			m.report("FloatingIP", have, eventRefused, fmt.Sprintf("the name %q is no IP address", name))
		}
		return nil
	}
	a := m.Replica.View().Address(addr)
	switch {
	case a == nil && have == nil:
		m.ips.settle(key{name: name})
		return nil
	case a == nil && have.IsReservation():
		return m.reserve(ctx, addr, have)
	case a == nil && mayRemove(have, addr, m.Replica.View()):
		return m.ips.remove(ctx, have)
	case a == nil:
		m.report("FloatingIP", have, eventForeign,
			"nobody holds the address, and galaxy-ipam has not made this object, so it is left alone; "+
				"to reserve the address, add the label "+kube.LabelReserved+"; to be rid of the object, delete it")
		return nil
	case a.Labelled && m.ips.wasWithdrawn(key{name: name}):
		return m.giveBack(ctx, a)
	case have == nil:
		return m.ips.create(ctx, Want(a))
	case !Shows(have, a):
		if have.IsReservation() && !a.Labelled {
			m.report("FloatingIP", have, eventRefused,
				fmt.Sprintf("%s is held for %s; its label was taken off", addr, a.Owner.Describe()))
		}
		return m.ips.update(ctx, repair(have, a))
	default:
		return nil
	}
}

// mayRemove reports whether an object that shows a free address may be deleted: one that galaxy-ipam has made, or one
// of a former system that somebody has discarded, or whose address was taken into the log and has been given back
// since.
func mayRemove(have *api.FloatingIP, addr netip.Addr, view *projections.View) bool {
	origin := view.Origin()
	former := have.CreationTimestamp.UnixNano() <= origin.Resolved
	return have.ShowsEvent() || former && origin.Outcome == eventlog.FormerDiscarded ||
		former && origin.Outcome == eventlog.FormerImported && view.Released(addr) != nil
}

// reserve does what an administrator asks for with a labelled object.
func (m *Mirror) reserve(ctx context.Context, addr netip.Addr, f *api.FloatingIP) error {
	owner, err := ipam.ParseOwner(f.Spec.Key)
	if err == nil {
		_, err = m.Replica.Do(ctx, "FloatingIP "+f.Name, allocator.Reserve{
			Address: addr, Owner: owner, Labelled: true, Reason: allocator.ReasonLabelled,
		})
	}
	if err == nil || errors.Is(err, allocator.ErrNotLeader) || ctx.Err() != nil {
		return err
	}
	m.report("FloatingIP", f, eventRefused, err.Error())
	return nil // a change of the subnets, or of the object, has it tried again
}

// giveBack ends a reservation whose object, or whose label, was taken away.
func (m *Mirror) giveBack(ctx context.Context, a *projections.Address) error {
	_, err := m.Replica.Do(ctx, "FloatingIP "+api.NameOf(a.Addr), allocator.Release{
		Address: a.Addr, Owner: a.Owner, Labelled: true, Reason: "its label was taken away",
	})
	if err == nil {
		m.ips.settle(key{name: api.NameOf(a.Addr)})
	}
	return err
}
