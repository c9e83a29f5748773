package eventlog

import (
	"net/netip"
	"strings"

	"galaxy/ipam"
)

// StreamOfNode is the stream of a node's overlay addresses. Its only writer is the agent of that node.
func StreamOfNode(node string) string { return ofNode + node }

const ofNode = "node-"

// IsOfNode reports whether a stream, which may be any text, is the one of a single node.
func IsOfNode(stream string) bool { return strings.HasPrefix(stream, ofNode) }

// An event about a node names in After the sequence number of the event before it about the same node (0: the node is
// new), as events about addresses do.

// OverlayConfigured replaces the configuration of the overlay: from which networks the nodes get their subnets.
type OverlayConfigured struct {
	Source   string                `json:"source"` // where it came from, as "file /etc/galaxy/galaxy-ipam.json"
	Networks []ipam.OverlayNetwork `json:"networks"`
}

// NodeJoined says that the agent of a node is there: for the first time, or again after the node was lost.
type NodeJoined struct {
	Node      string       `json:"node"`
	Addresses []netip.Addr `json:"addresses"` // where other nodes reach it, the preferred one of each family first
	// of which machine the agent is, so that two machines of one name are distinguished
	Machine string `json:"machine"`
	After   uint64 `json:"after,omitzero"`
}

// NodeAddressChanged says that a node is reached at other addresses.
type NodeAddressChanged struct {
	Node      string       `json:"node"`
	Addresses []netip.Addr `json:"addresses"`
	After     uint64       `json:"after,omitzero"`
}

// NodeLost says that the lease of a node has ended. Its subnets stay its own until they are released.
type NodeLost struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
	After  uint64 `json:"after,omitzero"`
}

// NodeSubnetAssigned gives a slice of an overlay network to a node.
type NodeSubnetAssigned struct {
	Node   string       `json:"node"`
	Subnet netip.Prefix `json:"subnet"`
	After  uint64       `json:"after,omitzero"`
}

// NodeSubnetReleased takes it back. A node that is lost is forgotten with its last subnet.
type NodeSubnetReleased struct {
	Node   string       `json:"node"`
	Subnet netip.Prefix `json:"subnet"`
	Reason string       `json:"reason"`
	After  uint64       `json:"after,omitzero"`
}

// NodeForgotten removes a lost node that has no subnet.
type NodeForgotten struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
	After  uint64 `json:"after,omitzero"`
}

// The names of the events of the stream nodes on disk.
const (
	TypeOverlayConfigured  Type = "OverlayConfigured"
	TypeNodeJoined         Type = "NodeJoined"
	TypeNodeAddressChanged Type = "NodeAddressChanged"
	TypeNodeLost           Type = "NodeLost"
	TypeNodeSubnetAssigned Type = "NodeSubnetAssigned"
	TypeNodeSubnetReleased Type = "NodeSubnetReleased"
	TypeNodeForgotten      Type = "NodeForgotten"
)

// Type is the event's name on disk.
func (*OverlayConfigured) Type() Type { return TypeOverlayConfigured }

// Type is the event's name on disk.
func (*NodeJoined) Type() Type { return TypeNodeJoined }

// Type is the event's name on disk.
func (*NodeAddressChanged) Type() Type { return TypeNodeAddressChanged }

// Type is the event's name on disk.
func (*NodeLost) Type() Type { return TypeNodeLost }

// Type is the event's name on disk.
func (*NodeSubnetAssigned) Type() Type { return TypeNodeSubnetAssigned }

// Type is the event's name on disk.
func (*NodeSubnetReleased) Type() Type { return TypeNodeSubnetReleased }

// Type is the event's name on disk.
func (*NodeForgotten) Type() Type { return TypeNodeForgotten }
