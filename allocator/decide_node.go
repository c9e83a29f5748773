package allocator

import (
	"fmt"
	"net/netip"
	"slices"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// The commands on the stream nodes.

// ConfigureOverlay puts the networks in force from which nodes get their subnets. Subnets that nodes have already stay
// theirs, whether the networks still have them or not.
type ConfigureOverlay struct {
	Source   string
	Networks []ipam.OverlayNetwork
}

// JoinNode says that the agent of a node is there. The node gets a subnet of each address family that the overlay has,
// unless it has one; a node that was lost finds its own again. Result.Missing says for which families none is left.
type JoinNode struct {
	Node      string
	Addresses []netip.Addr
	Machine   string
}

// LoseNode says that the lease of a node has ended. It keeps its subnets.
type LoseNode struct {
	Node   string
	Reason string
}

// ReleaseNode takes the subnets of a lost node back and forgets it. A node that is alive keeps everything.
type ReleaseNode struct {
	Node   string
	Reason string
}

func (c ConfigureOverlay) decide(d *decision) error {
	if slices.Equal(d.view.Overlay().Networks, c.Networks) && d.view.Overlay().Seq > 0 {
		return nil
	}
	d.emit(&eventlog.OverlayConfigured{Source: c.Source, Networks: c.Networks})
	return nil
}

// next is the sequence number that the next event of the decision will have.
func (d *decision) next() uint64 { return d.view.Position().Head.Seq + uint64(len(d.events)) + 1 }

func (c JoinNode) decide(d *decision) error {
	if c.Node == "" || len(c.Addresses) == 0 {
		return fmt.Errorf("%w: node %q announces no address at which others could reach it", ErrUnsupported, c.Node)
	}
	n := d.view.Node(c.Node)
	if n == nil {
		n = &projections.Node{Name: c.Node, Lost: 1}
	}
	seq := n.Seq
	switch {
	case !n.Alive() || n.Machine != c.Machine:
		after := seq
		seq = d.next()
		d.emit(&eventlog.NodeJoined{Node: c.Node, Addresses: c.Addresses, Machine: c.Machine, After: after})
	case !slices.Equal(n.Addresses, c.Addresses):
		after := seq
		seq = d.next()
		d.emit(&eventlog.NodeAddressChanged{Node: c.Node, Addresses: c.Addresses, After: after})
	}
	d.giveSubnets(n, seq)
	return nil
}

// giveSubnets assigns a subnet of each family that the node has none of, and that it can be reached by.
func (d *decision) giveSubnets(n *projections.Node, seq uint64) {
	o := d.view.Overlay()
	for _, is4 := range []bool{true, false} {
		if slices.ContainsFunc(n.Subnets, func(s netip.Prefix) bool { return s.Addr().Is4() == is4 }) {
			continue
		}
		networks, found := 0, false
		for i, network := range o.Networks {
			if network.CIDR.Addr().Is4() != is4 {
				continue
			}
			networks++
			if subnet, ok := d.view.FreeNodeSubnet(i); ok {
				after := seq
				seq = d.next()
				d.emit(&eventlog.NodeSubnetAssigned{Node: n.Name, Subnet: subnet, After: after})
				found = true
				break
			}
		}
		if networks > 0 && !found {
			d.result.Missing = append(d.result.Missing, family(is4))
		}
	}
}

func family(is4 bool) string {
	if is4 {
		return "IPv4"
	}
	return "IPv6"
}

func (c LoseNode) decide(d *decision) error {
	if n := d.view.Node(c.Node); n != nil && n.Alive() {
		d.emit(&eventlog.NodeLost{Node: c.Node, Reason: c.Reason, After: n.Seq})
	}
	return nil
}

func (c ReleaseNode) decide(d *decision) error {
	n := d.view.Node(c.Node)
	if n == nil || n.Alive() {
		return nil
	}
	seq := n.Seq
	for _, subnet := range n.Subnets {
		after := seq
		seq = d.next()
		d.emit(&eventlog.NodeSubnetReleased{Node: c.Node, Subnet: subnet, Reason: c.Reason, After: after})
	}
	d.emit(&eventlog.NodeForgotten{Node: c.Node, Reason: c.Reason, After: seq})
	return nil
}
