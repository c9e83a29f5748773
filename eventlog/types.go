package eventlog

import (
	"net/netip"

	"galaxy/ipam"
)

// Type is the name of an event on disk: past tense, chosen once, never derived from the Go type.
type Type string

// Data is what happened: one of the event types of this package.
type Data interface {
	Type() Type       // its name on disk
	Subject() Subject // whom and what it is about
	Summary() string  // what it says, in a few words for people; Subject has the owner and the node
}

// An event about an address names in After the sequence number of the event before it about the same address (0: none
// is remembered). So the history of an address is a chain that can be walked from its newest event without reading the
// log, and an event that does not fit the state it was decided on is noticed.

// SubnetsConfigured replaces the configuration of all subnets.
type SubnetsConfigured struct {
	// where it came from, as "ConfigMap kube-system/floatingip-config"
	Source  string        `json:"source"`
	Subnets []ipam.Subnet `json:"subnets"` // sorted by gateway
	// held addresses that the new configuration no longer has; at most MaxDrained
	Draining []Drained `json:"draining,omitzero"`
	Drains   int       `json:"drains,omitzero"` // how many there are in all
}

// MaxDrained bounds the list of drained addresses in one event, so that it fits in a transaction.
const MaxDrained = 1000

// Drained is a held address that the configuration no longer has: its owner keeps it, and nobody gets it after.
type Drained struct {
	Address netip.Addr `json:"address"`
	Owner   ipam.Owner `json:"owner"`
}

// AddressAllocated gives a free address to an owner. With a node, it is also bound to it.
type AddressAllocated struct {
	Address netip.Addr   `json:"address"`
	Subnet  netip.Prefix `json:"subnet"`
	Owner   ipam.Owner   `json:"owner"`
	PodUID  string       `json:"podUID,omitzero"`
	Node    string       `json:"node,omitzero"`
	Policy  ipam.Policy  `json:"policy"`
	Reason  string       `json:"reason,omitzero"` // when it is not for a pod
	// Labelled marks an administrator's reservation by the label of a FloatingIP object: only its removal gives it
	// back.
	Labelled bool `json:"labelled,omitzero"`
	// ContainerID and IfName are of the interface that has it, on a node's own stream.
	ContainerID string `json:"containerID,omitzero"`
	IfName      string `json:"ifName,omitzero"`
	After       uint64 `json:"after,omitzero"`
}

// AddressBound puts an address that is already held to use: by this pod, on this node.
type AddressBound struct {
	Address netip.Addr  `json:"address"`
	Owner   ipam.Owner  `json:"owner"`
	PodUID  string      `json:"podUID,omitzero"`
	Node    string      `json:"node"`
	Policy  ipam.Policy `json:"policy"`
	After   uint64      `json:"after,omitzero"`
}

// AddressReserved takes a held address out of use and keeps it for an owner: for the app or pool when a pod has ended,
// for the pod's name when its workload numbers its pods, or for a pod that filter has claimed it for.
type AddressReserved struct {
	Address netip.Addr  `json:"address"`
	Owner   ipam.Owner  `json:"owner"`
	PodUID  string      `json:"podUID,omitzero"`
	Policy  ipam.Policy `json:"policy"`
	Reason  string      `json:"reason,omitzero"`
	After   uint64      `json:"after,omitzero"`
}

// AddressReleased gives an address back. The owner is the one that held it.
type AddressReleased struct {
	Address netip.Addr `json:"address"`
	Owner   ipam.Owner `json:"owner"`
	Reason  string     `json:"reason,omitzero"`
	After   uint64     `json:"after,omitzero"`
}

// AddressAssigned says that the cloud provider has assigned the address to a node.
type AddressAssigned struct {
	Address netip.Addr `json:"address"`
	Node    string     `json:"node"`
	After   uint64     `json:"after,omitzero"`
}

// AddressUnassigned says that the cloud provider has taken the address from the node.
type AddressUnassigned struct {
	Address netip.Addr `json:"address"`
	Node    string     `json:"node"`
	After   uint64     `json:"after,omitzero"`
}

// PoolSized creates a pool, or changes how many addresses it may hold.
type PoolSized struct {
	Pool        string `json:"pool"`
	Size        int    `json:"size"`
	PreAllocate bool   `json:"preAllocate,omitzero"`
}

// PoolDeleted removes the limit of a pool.
type PoolDeleted struct {
	Pool string `json:"pool"`
}

// The names of the events on disk.
const (
	TypeSubnetsConfigured Type = "SubnetsConfigured"
	TypeAddressAllocated  Type = "AddressAllocated"
	TypeAddressBound      Type = "AddressBound"
	TypeAddressReserved   Type = "AddressReserved"
	TypeAddressReleased   Type = "AddressReleased"
	TypeAddressAssigned   Type = "AddressAssigned"
	TypeAddressUnassigned Type = "AddressUnassigned"
	TypePoolSized         Type = "PoolSized"
	TypePoolDeleted       Type = "PoolDeleted"

	TypeRunningPodsAdopted    Type = "RunningPodsAdopted"
	TypeFormerObjectsFound    Type = "FormerObjectsFound"
	TypeFormerObjectsResolved Type = "FormerObjectsResolved"
)

// Type is the event's name on disk.
func (*SubnetsConfigured) Type() Type { return TypeSubnetsConfigured }

// Type is the event's name on disk.
func (*AddressAllocated) Type() Type { return TypeAddressAllocated }

// Type is the event's name on disk.
func (*AddressBound) Type() Type { return TypeAddressBound }

// Type is the event's name on disk.
func (*AddressReserved) Type() Type { return TypeAddressReserved }

// Type is the event's name on disk.
func (*AddressReleased) Type() Type { return TypeAddressReleased }

// Type is the event's name on disk.
func (*AddressAssigned) Type() Type { return TypeAddressAssigned }

// Type is the event's name on disk.
func (*AddressUnassigned) Type() Type { return TypeAddressUnassigned }

// Type is the event's name on disk.
func (*PoolSized) Type() Type { return TypePoolSized }

// Type is the event's name on disk.
func (*PoolDeleted) Type() Type { return TypePoolDeleted }
