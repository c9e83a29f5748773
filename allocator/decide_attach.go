package allocator

import (
	"fmt"
	"slices"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// The commands on the stream of a node, whose subnets are those that Configure has put in force.

// Attach gives the interface of a container one address of each family that the node has a subnet of. Asking again
// returns what it has.
type Attach struct {
	Owner       ipam.Owner // pod level
	PodUID      string
	Node        string
	ContainerID string
	IfName      string
}

// Detach gives back what the interface of a container has, or with no interface what all of its interfaces have. What
// is not held is no error.
type Detach struct {
	ContainerID string
	IfName      string
	Reason      string
}

// Reasons of events on the stream of a node.
const (
	ReasonDetached      = "detached"      // CNI DEL
	ReasonContainerGone = "containerGone" // nobody knows the container any more
)

func (c Attach) decide(d *decision) error {
	if !c.Owner.IsPod() || c.ContainerID == "" || c.IfName == "" {
		return fmt.Errorf("%w: an address is for an interface of a container of a pod", ErrUnsupported)
	}
	if err := checkNames(c.Owner, c.PodUID, c.Node); err != nil {
		return err
	}
	held := slices.Collect(d.view.Attached(c.ContainerID, c.IfName))
	config := d.view.Config()
	if len(config.Subnets) == 0 {
		return fmt.Errorf("%w: node %s has no subnet of the overlay yet; see galaxyctl node list", ErrNoSubnet, c.Node)
	}
	for _, is4 := range []bool{true, false} {
		var subnets []int
		for i, s := range config.Subnets {
			if s.Prefix.Addr().Is4() == is4 {
				subnets = append(subnets, i)
			}
		}
		if len(subnets) == 0 {
			continue
		}
		if i := slices.IndexFunc(held, func(a *projections.Address) bool { return a.Addr.Is4() == is4 }); i >= 0 {
			d.grant(held[i].Addr)
			continue
		}
		picks := choose(d.view, subnets, 1, d.env, c.PodUID)
		if len(picks) == 0 {
			return exhausted(d, Pod{Owner: c.Owner}, config.Subnets[subnets[0]].NodeNetworks)
		}
		d.emit(&eventlog.AddressAllocated{
			Address: picks[0].addr, Subnet: d.prefix(picks[0]), Owner: c.Owner, PodUID: c.PodUID, Node: c.Node,
			ContainerID: c.ContainerID, IfName: c.IfName, After: picks[0].after,
		})
		d.grant(picks[0].addr)
	}
	return nil
}

func (c Detach) decide(d *decision) error {
	if c.ContainerID == "" {
		return fmt.Errorf("%w: no container is named", ErrUnsupported)
	}
	for a := range d.view.Attached(c.ContainerID, c.IfName) {
		if d.full() {
			return nil
		}
		d.release(a, c.Reason)
	}
	return nil
}
