package allocator

import (
	"fmt"
	"net/netip"
	"slices"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// Decide answers a command with the events that fulfil it, none when it is fulfilled already. It is pure: same view,
// same command, same env, same response.
func Decide(view *projections.View, cmd Command, env Env) ([]eventlog.Data, Result, error) {
	d := &decision{view: view, env: env}
	if err := cmd.decide(d); err != nil {
		return nil, Result{}, err
	}
	return d.events, d.result, nil
}

// decision is a command being decided.
type decision struct {
	view   *projections.View
	env    Env
	events []eventlog.Data
	result Result
}

func (d *decision) emit(data eventlog.Data) { d.events = append(d.events, data) }

// full reports, and notes in the result, that the rest has to wait for the next transaction.
func (d *decision) full() bool {
	d.result.More = len(d.events) >= d.env.MaxEvents
	return d.result.More
}

func (d *decision) grant(addr netip.Addr) {
	g := Grant{Address: addr}
	config := d.view.Config()
	if subnet, ok := config.SubnetOf(addr); ok {
		g.Subnet = config.Subnets[subnet]
	}
	d.result.Grants = append(d.result.Grants, g)
}

// allocate gives a free address to a pod: on a node, or claimed for it while node is "".
func (d *decision) allocate(p pick, pod Pod, node string) {
	d.emit(&eventlog.AddressAllocated{
		Address: p.addr, Subnet: d.prefix(p), Owner: pod.Owner, PodUID: pod.UID, Node: node, Policy: pod.Policy,
		After: p.after,
	})
	d.grant(p.addr)
}

// reserve keeps a free address for an owner that is not asking for itself.
func (d *decision) reserve(p pick, owner ipam.Owner, reason string, labelled bool) {
	d.emit(&eventlog.AddressAllocated{
		Address: p.addr, Subnet: d.prefix(p), Owner: owner, Policy: ipam.Never, Reason: reason, Labelled: labelled,
		After: p.after,
	})
}

func (d *decision) prefix(p pick) netip.Prefix { return d.view.Config().Subnets[p.subnet].Prefix }

// release gives an address back.
func (d *decision) release(a *projections.Address, reason string) {
	d.emit(&eventlog.AddressReleased{Address: a.Addr, Owner: a.Owner, Reason: reason, After: a.Seq})
	d.result.Released = append(d.result.Released, a.Addr)
}

// servesAny reports whether nodes of one of the networks can route to the address.
func servesAny(config *projections.Config, addr netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(network netip.Prefix) bool { return config.Serves(addr, network) })
}

// checkNames fails for names that may not stand in the log. No uid, and no node, is fine.
func checkNames(owner ipam.Owner, uid, node string) error {
	for _, err := range [...]error{owner.Check(), ipam.CheckUID(uid), ipam.CheckName(node)} {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return nil
}

// check fails for a pod that can have no address, on a node by that name; "" is none.
func (p Pod) check(node string) error {
	if !p.Owner.IsPod() {
		return fmt.Errorf("%w: %q is not a pod", ErrUnsupported, p.Owner)
	}
	if err := checkNames(p.Owner, p.UID, node); err != nil {
		return err
	}
	if len(p.Ranges) > 0 && p.Owner.IsSet() && p.Policy != ipam.ReleaseOnDelete {
		return fmt.Errorf("%w: %s keeps a set of addresses under release policy %s, so its pods cannot request "+
			"ranges; use a StatefulSet, or no release policy",
			ErrUnsupported, p.Owner.AppLevel().Describe(), p.Policy)
	}
	return p.checkPolicy()
}

// checkPolicy is contract section 4.3: what keeps an address for a pod's name needs names that come back.
func (p Pod) checkPolicy() error {
	if p.Policy == ipam.ReleaseOnDelete || p.Owner.IsSet() || p.Owner.Kind == ipam.KindStatefulSet {
		return nil
	}
	if _, numbered := p.Owner.Ordinal(); !numbered {
		return &PolicyError{Pod: p.Owner, Policy: p.Policy,
			Cause: "NotStatefulWorkload: the pod's name does not end in a number (.*-[0-9]*$), so the pod after it " +
				"has another name"}
	}
	if p.Policy == ipam.Immutable && !p.Workload.Scales && !p.Workload.Unknown {
		return &PolicyError{Pod: p.Owner, Policy: p.Policy,
			Cause: "NoReplicas: its workload has no scale subresource with specReplicasPath"}
	}
	return nil
}
