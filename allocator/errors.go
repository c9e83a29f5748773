package allocator

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"galaxy/eventlog"
	"galaxy/ipam"
)

var (
	// ErrNotLeader comes from Replica.Do on a replica that follows, or has stopped leading before it had decided.
	ErrNotLeader = errors.New("this replica does not lead")
	// ErrNoPool means that no pool of that name has a size.
	ErrNoPool = errors.New("no such pool")
	// ErrNoSubnet means that a node has no subnet to give addresses from.
	ErrNoSubnet = errors.New("no subnet")
	// ErrUnsupported is a request that the rules cannot serve, whatever the state.
	ErrUnsupported = errors.New("unsupported")
)

// ExhaustedError is a request for which no address is left.
type ExhaustedError struct {
	Pod      ipam.Owner
	Networks []netip.Prefix // where it was looked for
	Total    uint64         // addresses configured there
	Held     uint64
	Cooling  uint64 // free, but within the reuse delay, which is strict
	Shown    uint64 // free, but shown by running pods that the log does not know to have them
	Ranges   bool   // the pod asks for ranges, and they have no address left
}

func (e *ExhaustedError) Error() string {
	what := "no free address"
	if e.Ranges {
		what = "no free addresses in the requested ranges"
	}
	text := fmt.Sprintf("%s for %s in %s: %d configured, %d held", what, e.Pod.Describe(), networksText(e.Networks),
		e.Total, e.Held)
	if e.Cooling > 0 {
		text += fmt.Sprintf(", %d within the reuse delay", e.Cooling)
	}
	if e.Shown > 0 {
		text += fmt.Sprintf(", %d free but shown by running pods that the log does not know to have them; see "+
			"galaxyctl check", e.Shown)
	}
	return text
}

func networksText(networks []netip.Prefix) string {
	if len(networks) == 0 {
		return "any node network"
	}
	names := make([]string, 0, len(networks))
	for i, n := range networks {
		if i == 4 {
			names = append(names, fmt.Sprintf("%d more", len(networks)-i))
			break
		}
		names = append(names, n.String())
	}
	return "node network " + strings.Join(names, ", ")
}

// LimitError is a pod beyond the number of addresses that its app or pool may hold. It has to wait until one is freed.
type LimitError struct {
	Scope ipam.Owner // the app or the pool
	Used  int
	Limit int
	Surge int // of Limit: what an app may have more than its replicas while it rolls out
}

func (e *LimitError) Error() string {
	if e.Scope.Pool != "" && e.Scope.App == "" {
		return fmt.Sprintf("pool %s has reached its size: %d of %d addresses are used; wait until one is freed, or "+
			"make the pool larger", e.Scope.Pool, e.Used, e.Limit)
	}
	if e.Limit == 0 {
		return fmt.Sprintf("%s has no replicas or is gone from the cluster, so no address is kept for its pods; "+
			"scale it up, or create it again", e.Scope.Describe())
	}
	if e.Surge > 0 {
		return fmt.Sprintf("%s uses %d addresses and has %d replicas and a surge of %d; wait until an old pod ends "+
			"and its address is freed",
			e.Scope.Describe(), e.Used, e.Limit-e.Surge, e.Surge)
	}
	return fmt.Sprintf("%s uses %d addresses and has %d replicas; wait until an old pod ends and its address is freed",
		e.Scope.Describe(), e.Used, e.Limit)
}

// UIDError is a pod whose address is still held by the pod of the same name before it.
type UIDError struct {
	Pod     ipam.Owner
	Address netip.Addr
	UID     string // of the pod before
}

func (e *UIDError) Error() string {
	return fmt.Sprintf("%s is still held by the previous %s with uid %s; wait until its deletion is processed",
		e.Address, e.Pod.Describe(), e.UID)
}

// NetworkError is a pod bound to a node that cannot route to the address it holds.
type NetworkError struct {
	Pod     ipam.Owner
	Address netip.Addr
	Node    string
	Network netip.Prefix // of the node
}

func (e *NetworkError) Error() string {
	return fmt.Sprintf("%s holds %s, which nodes of %s cannot use: it cannot run on node %s", e.Pod.Describe(),
		e.Address, e.Network, e.Node)
}

// PolicyError is a release policy that the pod's workload cannot have (contract section 4.3).
type PolicyError struct {
	Pod    ipam.Owner
	Policy ipam.Policy
	Cause  string // NotStatefulWorkload or NoReplicas, with its explanation
}

func (e *PolicyError) Error() string {
	return fmt.Sprintf("release policy %s is not supported for %s: %s", e.Policy, e.Pod.Describe(), e.Cause)
}

// Unwrap makes a PolicyError an ErrUnsupported.
func (e *PolicyError) Unwrap() error { return ErrUnsupported }

// HolderError is an address that is held for another owner than the caller thinks.
type HolderError struct {
	Address netip.Addr
	Holder  ipam.Owner
}

func (e *HolderError) Error() string {
	return fmt.Sprintf("%s is held for %s (%s)", e.Address, e.Holder.Describe(), e.Holder)
}

// UnheldError is an address that nobody holds any more.
type UnheldError struct{ Address netip.Addr }

func (e *UnheldError) Error() string { return fmt.Sprintf("nobody holds %s", e.Address) }

// LabelledError is an address that an administrator reserves with the label of a FloatingIP object.
type LabelledError struct{ Address netip.Addr }

func (e *LabelledError) Error() string {
	return fmt.Sprintf(`%s is reserved by the label "reserved" of its FloatingIP object; `+
		"delete that object, or take the label off it", e.Address)
}

// UnknownAddressError is an address that the configuration does not have.
type UnknownAddressError struct{ Address netip.Addr }

func (e *UnknownAddressError) Error() string {
	return fmt.Sprintf("%s is in no configured subnet", e.Address)
}

// InUseError is a configuration that would drop addresses which are held.
type InUseError struct {
	Count int
	First []eventlog.Drained // the first of them
}

func (e *InUseError) Error() string {
	const shown = 10
	var owners []string
	for i, d := range e.First {
		if i == shown {
			break
		}
		owners = append(owners, fmt.Sprintf("%s by %s", d.Address, d.Owner.Describe()))
	}
	if more := e.Count - len(owners); more > 0 {
		owners = append(owners, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("the configuration drops %d addresses that are held: %s; release them first, or force the "+
		"change to drain them (galaxy-ipam --force-config)", e.Count, strings.Join(owners, ", "))
}

// PoolFullError is a reservation for a pool that holds as many addresses as it may.
type PoolFullError struct {
	Pool string
	Size int
}

func (e *PoolFullError) Error() string {
	return fmt.Sprintf("pool %s holds the %d addresses that it may: size it first, or release one of them", e.Pool,
		e.Size)
}
