package projections

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/go-memdb"

	"galaxy/eventlog"
	"galaxy/ipam"
)

// Node is a node of the overlay. A row of this table, so never changed once it is in it.
type Node struct {
	Name      string
	Addresses []netip.Addr   // where other nodes reach it, the preferred one of each family first
	Machine   string         // of which machine its agent is
	Subnets   []netip.Prefix // whose addresses its pods have, in the order of their assignment
	Lost      int64          // when its lease ended, Unix nanoseconds; 0 while it is alive
	Reason    string         // why it is lost
	Seq       uint64         // of the newest event about it
	Changed   int64          // time of that event, Unix nanoseconds
}

// Alive reports whether the node's agent keeps its lease.
func (n *Node) Alive() bool { return n.Lost == 0 }

// LostAt is when the lease of a lost node has ended.
func (n *Node) LostAt() time.Time { return time.Unix(0, n.Lost).UTC() }

// Time is when the newest event about the node happened.
func (n *Node) Time() time.Time { return time.Unix(0, n.Changed).UTC() }

// nodeSubnet says whose a node subnet is.
type nodeSubnet struct {
	Subnet netip.Prefix
	Node   string
}

const (
	tableNodes       = "nodes"
	tableNodeSubnets = "nodeSubnets"
)

func nodesTable() *memdb.TableSchema {
	return tableOf(tableNodes, unique("id", func(n *Node) []byte { return nodeKey(n.Name) }))
}

func nodeSubnetsTable() *memdb.TableSchema {
	return tableOf(tableNodeSubnets, unique("id", func(s *nodeSubnet) []byte { return prefixKey(s.Subnet) }))
}

func nodeKey(name string) []byte { return append([]byte(name), 0) }

func prefixKey(p netip.Prefix) []byte { return append(addrKey(p.Addr()), byte(p.Bits())) }

// Node is the row of a node, or nil.
func (v *View) Node(name string) *Node { return first[Node](v.txn, tableNodes, "id", nodeKey(name)) }

// Nodes yields all nodes by name, the lost ones included.
func (v *View) Nodes() iter.Seq[*Node] { return under[Node](v.txn, tableNodes, "id", nil) }

// NodeOfSubnet is the node that a node subnet is assigned to, or "".
func (v *View) NodeOfSubnet(subnet netip.Prefix) string {
	if s := first[nodeSubnet](v.txn, tableNodeSubnets, "id", prefixKey(subnet)); s != nil {
		return s.Node
	}
	return ""
}

func (v *View) nodeSubnets() iter.Seq[*nodeSubnet] {
	return under[nodeSubnet](v.txn, tableNodeSubnets, "id", nil)
}

// foldNode folds the events of the stream nodes; known is false for all others.
func (t *Txn) foldNode(e eventlog.Event) (known bool, err error) {
	switch d := e.Data.(type) {
	case *eventlog.OverlayConfigured:
		if err := ipam.CheckOverlay(d.Networks); err != nil {
			return true, fmt.Errorf("%w: %w", ErrImpossible, err)
		}
		t.configureOverlay(newOverlay(d.Source, e.Seq, e.Time, d.Networks))
	case *eventlog.NodeJoined:
		return true, t.editNode(e, d.Node, d.After, func(n *Node) error {
			n.Addresses, n.Machine, n.Lost, n.Reason = d.Addresses, d.Machine, 0, ""
			return nil
		})
	case *eventlog.NodeAddressChanged:
		return true, t.editNode(e, d.Node, d.After, func(n *Node) error {
			n.Addresses = d.Addresses
			return nil
		})
	case *eventlog.NodeLost:
		return true, t.editNode(e, d.Node, d.After, func(n *Node) error {
			n.Lost, n.Reason = e.Time.UnixNano(), d.Reason
			return nil
		})
	case *eventlog.NodeSubnetAssigned:
		return true, t.editNode(e, d.Node, d.After, func(n *Node) error { return t.assignSubnet(n, d.Subnet) })
	case *eventlog.NodeSubnetReleased:
		return true, t.editNode(e, d.Node, d.After, func(n *Node) error { return t.releaseSubnet(n, d.Subnet) })
	case *eventlog.NodeForgotten:
		return true, t.forgetNode(d)
	default:
		return false, nil
	}
	return true, nil
}

// editNode changes the row of a node, or makes the first one of a node that joins.
func (t *Txn) editNode(e eventlog.Event, name string, after uint64, edit func(*Node) error) error {
	row := Node{Name: name}
	_, joins := e.Data.(*eventlog.NodeJoined)
	switch old := t.Node(name); {
	case old != nil:
		row = *old
	case !joins:
		return fmt.Errorf("%w: there is no node %s", ErrImpossible, name)
	}
	if row.Seq != after {
		return fmt.Errorf("%w: node %s was last changed by event %d, not %d", ErrImpossible, name, row.Seq, after)
	}
	if err := edit(&row); err != nil {
		return err
	}
	row.Seq, row.Changed = e.Seq, e.Time.UnixNano()
	t.insert(tableNodes, &row)
	return nil
}

func (t *Txn) assignSubnet(n *Node, subnet netip.Prefix) error {
	if other := t.NodeOfSubnet(subnet); other != "" {
		return fmt.Errorf("%w: %s is the subnet of node %s already, and assigned to %s", ErrImpossible, subnet, other,
			n.Name)
	}
	network, index, ok := t.overlay.find(subnet)
	if !ok {
		return fmt.Errorf("%w: %s is no node subnet of the overlay", ErrImpossible, subnet)
	}
	n.Subnets = append(slices.Clone(n.Subnets), subnet)
	t.insert(tableNodeSubnets, &nodeSubnet{Subnet: subnet, Node: n.Name})
	t.taken(network, index)
	return nil
}

func (t *Txn) releaseSubnet(n *Node, subnet netip.Prefix) error {
	if !slices.Contains(n.Subnets, subnet) {
		return fmt.Errorf("%w: %s is no subnet of node %s", ErrImpossible, subnet, n.Name)
	}
	n.Subnets = slices.DeleteFunc(slices.Clone(n.Subnets), func(s netip.Prefix) bool { return s == subnet })
	t.delete(tableNodeSubnets, &nodeSubnet{Subnet: subnet})
	t.returned(subnet)
	return nil
}

func (t *Txn) forgetNode(d *eventlog.NodeForgotten) error {
	n := t.Node(d.Node)
	switch {
	case n == nil:
		return fmt.Errorf("%w: there is no node %s", ErrImpossible, d.Node)
	case n.Seq != d.After:
		return fmt.Errorf("%w: node %s was last changed by event %d, not %d", ErrImpossible, d.Node, n.Seq, d.After)
	case len(n.Subnets) > 0 || n.Alive():
		return fmt.Errorf("%w: node %s is alive or has subnets, and is forgotten", ErrImpossible, d.Node)
	}
	t.delete(tableNodes, n)
	return nil
}
