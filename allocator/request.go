package allocator

import (
	"net/netip"
	"time"

	"galaxy/eventlog"
	"galaxy/ipam"
)

// Pod is what a decision needs to know of a pod that wants addresses.
type Pod struct {
	Owner    ipam.Owner // pod level
	UID      string
	Policy   ipam.Policy
	Ranges   ipam.RangeRequest // nil: one address, any
	Workload Workload          // of the pod's owner
}

// Workload is what the cluster says of the workload above a pod, at the time of the decision.
type Workload struct {
	Exists   bool
	Scales   bool // it has a number of replicas
	Replicas int
	Start    int // number of the first pod, where the workload numbers them (StatefulSet spec.ordinals.start)
	// Spare is how many addresses more than Replicas the set of a Deployment may hold at all times: what its rollouts
	// need that may take no old pod away before a new one runs (maxUnavailable 0). Otherwise 0: new pods wait for the
	// addresses of old ones.
	Spare int
	// Surge is how many pods more than Replicas may have addresses now: Spare while the Deployment rolls out, else 0.
	// So the set grows by rollouts alone, once, and what they swap out stays as the spare of the next one.
	Surge int
	// Unknown says that the cluster could not be asked, so that nothing may be concluded from the other fields.
	Unknown bool
}

// most is how many pods of a workload that keeps a set of addresses may have one now.
func (w Workload) most() int { return w.Replicas + w.Surge }

// keeps is how many addresses the set of a workload may hold.
func (w Workload) keeps() int { return w.Replicas + max(w.Spare, w.Surge) }

// Rules are the operator's choices.
type Rules struct {
	ReuseDelay  time.Duration // how long a released address rests; whole seconds, at most projections.MaxReuseDelay
	StrictReuse bool          // rather refuse than give out an address within the delay
	// PoolShare is the share of a subnet's addresses, in percent, up to which pools may reserve in advance: of those
	// that are held, whoever holds them. 0 is 100.
	PoolShare int
}

// DefaultReuseDelay lets stale neighbour entries and connections die before an address is used again.
const DefaultReuseDelay = 30 * time.Second

// Env is what a decision takes from outside the view.
type Env struct {
	Now       time.Time
	Rules     Rules
	MaxEvents int // how many events one decision may have; the rest is left for a repetition, see Result.More
	// Occupants are the pods that show addresses. Nil: nothing is known of a cluster.
	Occupants Occupants
}

// Command is what a caller wants: one of the command types of this package.
type Command interface {
	decide(d *decision) error
	// Allocates reports whether the command may give somebody an address that looks free, and so has to wait until all
	// running pods were compared with the log.
	Allocates() bool
}

// Result is the response to a command. Which fields are set depends on the command.
type Result struct {
	Grants   []Grant            // Bind, Claim, Reserve: what the owner holds now; for ranges in their order
	Released []netip.Addr       // EndPod, ChangeWorkload, Release, SizePool, DeletePool
	Held     int                // SizePool: how many addresses the pool holds now
	Draining []eventlog.Drained // Configure: the first eventlog.MaxDrained held addresses that are no longer configured
	Missing  []string           // JoinNode: the address families of which no node subnet is left
	// there is more to do than fits in one transaction; Replica.Do repeats the command by itself
	More bool
	Seq  uint64 // the position at which the response is true
}

// Grant is an address that an owner holds.
type Grant struct {
	Address netip.Addr
	Subnet  ipam.Subnet // the zero Subnet while the address drains
}

// Info is the grant as CNI plugins receive it.
func (g Grant) Info() ipam.IPInfo {
	return ipam.IPInfo{IP: netip.PrefixFrom(g.Address, g.Subnet.Prefix.Bits()), VLAN: g.Subnet.VLAN,
		Gateway: g.Subnet.Gateway}
}

// Bind puts addresses to use: by a pod, on a node. It takes what the pod holds or filter has claimed, else what is
// reserved for its app or pool, else free addresses of the node's network. Asking again returns what is held.
type Bind struct {
	Pod         Pod
	Node        string
	NodeNetwork netip.Prefix // of the node; the zero Prefix when the configuration has none for it
}

// Claim consumes a limit for a pod during filter, as binding comes later and many at once: it takes an address that is
// reserved for the pod's app or pool, or a free one, of a node network that has a candidate node.
type Claim struct {
	Pod        Pod
	Candidates []netip.Prefix // node networks of the nodes that the scheduler offers
}

// Expire takes back what filter has claimed for a pod, as no bind has followed in time. An address that was free
// becomes free again; one that was kept for the app or pool is kept for it again.
type Expire struct {
	Pod ipam.Owner // pod level
	UID string
}

// Adopt records an address that a running pod uses and that the log does not know it has: the log was restored from
// before, or the pod was bound by somebody else. It fails with a *HolderError if another holds the address.
type Adopt struct {
	Pod     Pod
	Node    string
	Address netip.Addr
}

// MarkAssigned records that the cloud provider has assigned a held address to a node.
type MarkAssigned struct {
	Address netip.Addr
	Node    string
}

// MarkUnassigned records that the cloud provider has taken a held address from a node.
type MarkUnassigned struct {
	Address netip.Addr
	Node    string
}

// EndPod gives back or keeps the addresses of a pod that was deleted or has finished (contract section 4.7). Addresses
// that a pod of the same name but another uid uses are left alone.
type EndPod struct{ Pod Pod }

// ChangeWorkload gives back what is kept for a workload that is gone or has become smaller, and is not in use.
type ChangeWorkload struct {
	Owner    ipam.Owner // app level
	Workload Workload
}

// Reserve holds a free address for an app, a pool or a pod, at an administrator's request. One that is Labelled is
// never given to a pod, and only a Labelled Release gives it back.
type Reserve struct {
	Address  netip.Addr
	Owner    ipam.Owner
	Reason   string
	Labelled bool // by the label of a FloatingIP object (contract section 4.10)
}

// Release gives an address back at an administrator's request. It fails with a *HolderError if the address is held for
// another owner; an address that is free already is no error.
type Release struct {
	Address  netip.Addr
	Owner    ipam.Owner
	Reason   string
	Labelled bool // it is the label's removal that releases it
}

// SizePool creates or resizes a pool. A pool that becomes smaller gives back what it reserves beyond its new size; with
// PreAllocate, free addresses are reserved until it holds Size, or until none is left.
type SizePool struct {
	Pool        string
	Size        int
	PreAllocate bool
}

// DeletePool removes a pool's limit and gives back what is reserved for it. It fails with ErrNoPool if there is none.
type DeletePool struct{ Pool string }

// Configure puts subnets in force. Held addresses that they no longer have are refused with an *InUseError, or, with
// Force, drained: their owners keep them, and nobody gets them after.
type Configure struct {
	Source  string
	Subnets []ipam.Subnet
	Force   bool
}
