package allocator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

func (c Bind) decide(d *decision) error {
	if err := errors.Join(mayGive(d.view), c.Pod.check(c.Node)); err != nil {
		return err
	}
	held := heldBy(d.view, c.Pod)
	for _, a := range held {
		if a.PodUID != "" && a.PodUID != c.Pod.UID {
			return &UIDError{Pod: c.Pod.Owner, Address: a.Addr, UID: a.PodUID}
		}
	}
	if !c.NodeNetwork.IsValid() {
		return fmt.Errorf("%w: node %s is in no node network of the configuration, so its pods have no floating "+
			"addresses", ErrUnsupported, c.Node)
	}
	if len(c.Pod.Ranges) > 0 {
		return c.ranges(d, held)
	}
	if len(held) > 0 {
		one := primary(held)
		if err := c.use(d, one); err != nil {
			return err
		}
		d.giveBack(unrequested(d.view, c.Pod, one.Addr))
		return nil
	}
	return d.take(c.Pod, c.Node, []netip.Prefix{c.NodeNetwork})
}

// ranges binds one address for each requested element.
func (c Bind) ranges(d *decision, held []*projections.Address) error {
	if len(held) == 0 {
		if err := quotaOf(d.view, c.Pod).check(); err != nil {
			return err
		}
	}
	for _, a := range held {
		if !d.view.Config().Serves(a.Addr, c.NodeNetwork) {
			return &NetworkError{Pod: c.Pod.Owner, Address: a.Addr, Node: c.Node, Network: c.NodeNetwork}
		}
	}
	slots, ok := assignIn(d.view, c.Pod, held, c.NodeNetwork, d.env)
	if !ok {
		return exhausted(d, c.Pod, []netip.Prefix{c.NodeNetwork})
	}
	for _, s := range slots {
		if s.held == nil {
			d.allocate(s.pick, c.Pod, c.Node)
		} else if err := c.use(d, s.held); err != nil {
			return err
		}
	}
	d.giveBack(unrequested(d.view, c.Pod, netip.Addr{}))
	return nil
}

func (d *decision) giveBack(kept []*projections.Address) {
	for _, a := range kept {
		d.release(a, ReasonNotRequested)
	}
}

// unrequested are the addresses kept for a pod's name, beside the one that it uses, that it does not request any more:
// it asks for others now, or for one, and nobody else could have them. One that is never to be released stays.
func unrequested(view *projections.View, pod Pod, used netip.Addr) []*projections.Address {
	var all []*projections.Address
	for a := range view.Held(pod.Owner) {
		if a.Addr != used && !inUse(a) && !a.Labelled && a.Policy != ipam.Never && !requested(pod, a.Addr) {
			all = append(all, a)
		}
	}
	return all
}

// use binds what the pod holds already.
func (c Bind) use(d *decision, a *projections.Address) error {
	if !d.view.Config().Serves(a.Addr, c.NodeNetwork) {
		return &NetworkError{Pod: c.Pod.Owner, Address: a.Addr, Node: c.Node, Network: c.NodeNetwork}
	}
	if a.PodUID != c.Pod.UID || a.Node != c.Node {
		if err := d.unseen(a.Addr, c.Pod.UID, true); err != nil {
			return err
		}
	}
	if a.PodUID != c.Pod.UID || a.Node != c.Node || a.Policy != c.Pod.Policy {
		d.emit(&eventlog.AddressBound{Address: a.Addr, Owner: c.Pod.Owner, PodUID: c.Pod.UID, Node: c.Node,
			Policy: c.Pod.Policy, After: a.Seq})
	}
	d.grant(a.Addr)
	return nil
}

func (c Claim) decide(d *decision) error {
	if err := errors.Join(mayGive(d.view), c.Pod.check("")); err != nil {
		return err
	}
	held := heldBy(d.view, c.Pod)
	if len(held) == 0 {
		return d.take(c.Pod, "", c.Candidates)
	}
	if misplaced(d.view, c.Pod, held, c.Candidates) {
		d.unclaim(held)
		d.result.More = true // what another network has for it is decided on the state after
		return nil
	}
	for _, a := range held {
		d.grant(a.Addr)
	}
	return nil
}

// misplaced reports whether all that a pod holds was claimed by an earlier filter, for networks none of which has a
// candidate node any more: the scheduler has found no place there, and the pod must not be pinned to them.
func misplaced(view *projections.View, pod Pod, held []*projections.Address, candidates []netip.Prefix) bool {
	for _, a := range held {
		if !claimedBy(a, pod.UID) {
			return false
		}
	}
	return len(candidates) > 0 && !slices.ContainsFunc(candidates, func(network netip.Prefix) bool {
		return !slices.ContainsFunc(held, func(a *projections.Address) bool {
			return !view.Config().Serves(a.Addr,
				network)
		})
	})
}

// claimedBy reports whether filter has claimed an address for the pod of a uid, and no bind has followed.
func claimedBy(a *projections.Address, uid string) bool {
	return a.Node == "" && a.PodUID != "" && a.PodUID == uid
}

// inUse reports whether a pod uses an address or has claimed it.
func inUse(a *projections.Address) bool { return a.Node != "" || a.PodUID != "" }

// unclaim puts claimed addresses back where they came from.
func (d *decision) unclaim(claimed []*projections.Address) {
	for _, a := range claimed {
		if a.Fresh {
			d.release(a, ReasonClaimEnded)
			continue
		}
		d.emit(&eventlog.AddressReserved{Address: a.Addr, Owner: a.Owner.Scope(), Policy: a.Policy,
			Reason: ReasonClaimEnded, After: a.Seq})
	}
}

func (c Expire) decide(d *decision) error {
	for a := range d.view.Held(c.Pod) {
		if !claimedBy(a, c.UID) {
			continue
		}
		if d.full() {
			return nil
		}
		d.unclaim([]*projections.Address{a})
	}
	return nil
}

// take finds one address for a pod that holds none: one that waits in its app or pool, else a free one. With a node it
// is bound there; without, it is only claimed.
func (d *decision) take(pod Pod, node string, networks []netip.Prefix) error {
	q := quotaOf(d.view, pod)
	if err := q.check(); err != nil {
		return err
	}
	if len(pod.Ranges) > 0 {
		return d.takeRanges(pod, node, networks)
	}
	if q.reserved > 0 {
		for a := range d.view.Reserved(pod.Owner.Scope()) {
			if _, seen := d.env.stranger(a.Addr, pod.UID, true); !seen && !a.Labelled &&
				servesAny(d.view.Config(), a.Addr, networks) {
				d.takeReserved(a, pod, node)
				return nil
			}
		}
	}
	drained := drainedOf(d.view, pod, q)
	if !q.mayGrow() && len(drained) == 0 {
		return exhausted(d, pod, networks)
	}
	picks := choose(d.view, servingAny(d.view, networks), 1, d.env, pod.UID)
	if len(picks) == 0 {
		return exhausted(d, pod, networks)
	}
	for _, a := range drained {
		d.release(a, ReasonDrained)
	}
	d.allocate(picks[0], pod, node)
	return nil
}

// drainedOf are the draining addresses that a pod gives back for the one it gets: those kept for its name; else one
// that is kept for its scope, where the scope may hold no more. They stay kept until then, as the subnets may come
// back.
func drainedOf(view *projections.View, pod Pod, q quota) []*projections.Address {
	var drained []*projections.Address
	for a := range view.Held(pod.Owner) {
		if a.Draining && !inUse(a) {
			drained = append(drained, a)
		}
	}
	if len(drained) > 0 || q.mayGrow() {
		return drained
	}
	for a := range view.Reserved(pod.Owner.Scope()) {
		if a.Draining && !a.Labelled {
			return []*projections.Address{a}
		}
	}
	return nil
}

// takeRanges claims the requested ranges in the first network that can serve them.
func (d *decision) takeRanges(pod Pod, node string, networks []netip.Prefix) error {
	for _, network := range networks {
		if slots, ok := assignIn(d.view, pod, nil, network, d.env); ok {
			for _, s := range slots {
				d.allocate(s.pick, pod, node)
			}
			return nil
		}
	}
	return exhausted(d, pod, networks)
}

func (d *decision) takeReserved(a *projections.Address, pod Pod, node string) {
	if node == "" {
		d.emit(&eventlog.AddressReserved{Address: a.Addr, Owner: pod.Owner, PodUID: pod.UID, Policy: pod.Policy,
			Reason: ReasonClaimed, After: a.Seq})
	} else {
		d.emit(&eventlog.AddressBound{Address: a.Addr, Owner: pod.Owner, PodUID: pod.UID, Node: node,
			Policy: pod.Policy, After: a.Seq})
	}
	d.grant(a.Addr)
}

// mayGrow reports whether it is for want of addresses, and not by a limit, that a pod gets none.
func (d *decision) mayGrow(pod Pod) bool {
	q := quotaOf(d.view, pod)
	return q.mayGrow() || len(drainedOf(d.view, pod, q)) > 0
}

func exhausted(d *decision, pod Pod, networks []netip.Prefix) error {
	e := &ExhaustedError{Pod: pod.Owner, Networks: networks, Ranges: len(pod.Ranges) > 0}
	for _, subnet := range servingAny(d.view, networks) {
		usage := d.view.Usage(subnet, d.env.Now, d.env.Rules.ReuseDelay)
		e.Total += usage.Total
		e.Held += usage.Held
		e.Cooling += usage.Cooling
		// Any other free address would have been chosen.
		if free := usage.Free; d.env.Occupants != nil && !e.Ranges && d.mayGrow(pod) {
			e.Shown += free
		}
	}
	return e
}
