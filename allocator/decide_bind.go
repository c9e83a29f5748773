package allocator

import (
	"fmt"
	"net/netip"

	"galaxy/eventlog"
	"galaxy/projections"
)

func (c Bind) decide(d *decision) error {
	if err := c.Pod.check(); err != nil {
		return err
	}
	held := heldBy(d.view, c.Pod)
	for _, a := range held {
		if a.PodUID != "" && a.PodUID != c.Pod.UID {
			return &UIDError{Pod: c.Pod.Owner, Address: a.Addr, UID: a.PodUID}
		}
	}
	if !c.NodeNetwork.IsValid() {
		return fmt.Errorf("%w: node %s is in no node network of the configuration, so its pods have no floating addresses", ErrUnsupported, c.Node)
	}
	if len(c.Pod.Ranges) > 0 {
		return c.ranges(d, held)
	}
	if len(held) > 0 {
		return c.use(d, primary(held))
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
	return nil
}

// use binds what the pod holds already.
func (c Bind) use(d *decision, a *projections.Address) error {
	if !d.view.Config().Serves(a.Addr, c.NodeNetwork) {
		return &NetworkError{Pod: c.Pod.Owner, Address: a.Addr, Node: c.Node, Network: c.NodeNetwork}
	}
	if a.PodUID != c.Pod.UID || a.Node != c.Node || a.Policy != c.Pod.Policy {
		d.emit(&eventlog.AddressBound{Address: a.Addr, Owner: c.Pod.Owner, PodUID: c.Pod.UID, Node: c.Node, Policy: c.Pod.Policy, After: a.Seq})
	}
	d.grant(a.Addr)
	return nil
}

func (c Claim) decide(d *decision) error {
	if err := c.Pod.check(); err != nil {
		return err
	}
	if held := heldBy(d.view, c.Pod); len(held) > 0 {
		for _, a := range held {
			d.grant(a.Addr)
		}
		return nil
	}
	return d.take(c.Pod, "", c.Candidates)
}

// take finds one address for a pod that holds none: one that waits in its app or pool, else a free one. With a node it is
// bound there; without, it is only claimed.
func (d *decision) take(pod Pod, node string, networks []netip.Prefix) error {
	q := quotaOf(d.view, pod)
	if err := q.check(); err != nil {
		return err
	}
	if len(pod.Ranges) > 0 {
		return d.takeRanges(pod, node, networks)
	}
	if q.reserved > 0 {
		for a := range d.view.Reserved(pod.Owner.Share()) {
			if servesAny(d.view.Config(), a.Addr, networks) {
				d.takeReserved(a, pod, node)
				return nil
			}
		}
	}
	if !q.mayGrow() {
		return exhausted(d, pod, networks)
	}
	picks := choose(d.view, servingAny(d.view, networks), 1, d.env)
	if len(picks) == 0 {
		return exhausted(d, pod, networks)
	}
	d.allocate(picks[0], pod, node)
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
		d.emit(&eventlog.AddressReserved{Address: a.Addr, Owner: pod.Owner, PodUID: pod.UID, Policy: pod.Policy, Reason: ReasonClaimed, After: a.Seq})
	} else {
		d.emit(&eventlog.AddressBound{Address: a.Addr, Owner: pod.Owner, PodUID: pod.UID, Node: node, Policy: pod.Policy, After: a.Seq})
	}
	d.grant(a.Addr)
}

func exhausted(d *decision, pod Pod, networks []netip.Prefix) error {
	e := &ExhaustedError{Pod: pod.Owner, Networks: networks, Ranges: len(pod.Ranges) > 0}
	for _, subnet := range servingAny(d.view, networks) {
		usage := d.view.Usage(subnet, d.env.Now, d.env.Rules.ReuseDelay)
		e.Total += usage.Total
		e.Held += usage.Held
		e.Cooling += usage.Cooling
	}
	return e
}
