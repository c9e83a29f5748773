package allocator

import (
	"fmt"
	"slices"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// Why an address was released or reserved. The first four are the contract's (section 4.7).
const (
	ReasonMutablePod    = "deletedAndIPMutablePod"
	ReasonAppGone       = "deletedAndParentAppNotExistPod"
	ReasonScaledDownApp = "deletedAndScaledDownAppPod"
	ReasonScaledDownSet = "deletedAndScaledDownDpPod"
	ReasonPoolFull      = "poolIsOverItsSize"
	ReasonPoolDeleted   = "poolDeleted"
	ReasonPreAllocated  = "preAllocated"
	ReasonClaimed       = "claimedByFilter"
	ReasonKeptForPod    = "keptForPod"
	ReasonKeptForApp    = "keptForApp"
	ReasonKeptForPool   = "keptForPool"
	ReasonAdministrator = "administrator"
	ReasonLabelled      = "reservedByLabel"
	ReasonClaimEnded    = "claimedAndNotBound"
	ReasonFoundRunning  = "foundRunning"
	ReasonNotRequested  = "notRequested" // its pod asks for other addresses now
	ReasonDrained       = "drained"      // its subnet is gone, and its owner has got another
)

// ending is what becomes of an address when its pod ends.
type ending struct {
	keeper ipam.Owner // who keeps it; zero: it is released
	reason string
}

// endingOf is the table of contract section 4.7. held is how many addresses the pod's scope holds, this one included.
func endingOf(view *projections.View, pod Pod, held int) ending {
	if pod.Policy == ipam.ReleaseOnDelete || pod.checkPolicy() != nil {
		return ending{reason: ReasonMutablePod}
	}
	if pod.Owner.Pool != "" {
		if pool := view.Pool(pod.Owner.Pool); pool != nil && held > pool.Size {
			return ending{reason: ReasonPoolFull}
		}
	}
	if pod.Policy == ipam.Immutable {
		if reason := outgrown(pod.Owner, pod.Workload, held); reason != "" {
			return ending{reason: reason}
		}
	}
	switch {
	case !pod.Owner.IsSet():
		return ending{keeper: pod.Owner, reason: ReasonKeptForPod}
	case pod.Owner.Pool != "":
		return ending{keeper: pod.Owner.Scope(), reason: ReasonKeptForPool}
	default:
		return ending{keeper: pod.Owner.Scope(), reason: ReasonKeptForApp}
	}
}

// outgrown says why a workload no longer needs an address that it keeps, or "".
func outgrown(owner ipam.Owner, w Workload, held int) string {
	switch {
	case w.Unknown:
		return ""
	case !w.Exists:
		return ReasonAppGone
	case owner.IsSet():
		if w.Replicas == 0 || held > w.keeps() {
			return ReasonScaledDownSet
		}
	default:
		if n, numbered := owner.Ordinal(); !numbered || n < w.Start || n >= w.Start+w.Replicas {
			return ReasonScaledDownApp
		}
	}
	return ""
}

func (c EndPod) decide(d *decision) error {
	scope := d.view.Scope(c.Pod.Owner.Scope())
	held := scope.Held
	for a := range d.view.Held(c.Pod.Owner) {
		if a.PodUID != "" && c.Pod.UID != "" && a.PodUID != c.Pod.UID {
			continue // another pod of that name uses it by now
		}
		if d.full() {
			return nil
		}
		e := endingOf(d.view, c.Pod, held)
		if e.keeper.IsZero() {
			held--
			d.release(a, e.reason)
			continue
		}
		if a.Owner == e.keeper && a.Node == "" && a.PodUID == "" {
			continue // kept already
		}
		// The stored policy stays: only allocate and bind change it.
		d.emit(&eventlog.AddressReserved{Address: a.Addr, Owner: e.keeper, Policy: a.Policy, Reason: e.reason,
			After: a.Seq})
	}
	return nil
}

func (c ChangeWorkload) decide(d *decision) error {
	if c.Owner.App == "" { // it would be about every address there is
		return fmt.Errorf("%w: a change of a workload without a name", ErrUnsupported)
	}
	held := d.view.Scope(c.Owner.Scope()).Held
	for _, a := range longestKept(d.view, c.Owner) {
		if a.Policy != ipam.Immutable || a.Node != "" || a.PodUID != "" {
			continue // in use, or kept whatever becomes of the workload
		}
		reason := outgrown(a.Owner, c.Workload, held)
		if reason == "" {
			continue
		}
		if d.full() {
			return nil
		}
		held--
		d.release(a, reason)
	}
	return nil
}

// longestKept are the addresses of an owner and of all below it, those kept for the scope itself first, the longest
// kept of them foremost: what is given up when there are too many.
func longestKept(view *projections.View, owner ipam.Owner) []*projections.Address {
	var all []*projections.Address
	for a := range view.Held(owner) {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *projections.Address) int {
		if a.Reserved() != b.Reserved() {
			if a.Reserved() {
				return -1
			}
			return 1
		}
		if a.Seq < b.Seq {
			return -1
		}
		return 1
	})
	return all
}
