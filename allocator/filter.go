package allocator

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"galaxy/projections"
)

// FilterResult is what filter may answer the scheduler about a pod.
type FilterResult struct {
	// Networks are the node networks, of the candidates, whose nodes may run the pod. Not decided when Claim is set.
	Networks []netip.Prefix
	// Claim says that the pod is counted against a limit, so that a Claim has to be done, and its grants decide.
	Claim bool
}

// Filter answers for a pod and the node networks of the nodes that the scheduler offers (contract section 4.4). It only
// reads. Its error is for the pod: a *LimitError, or an ErrUnsupported.
func Filter(view *projections.View, pod Pod, candidates []netip.Prefix, env Env) (FilterResult, error) {
	if err := errors.Join(mayGive(view), pod.check("")); err != nil {
		return FilterResult{}, err
	}
	held := heldBy(view, pod)
	if len(held) > 0 && misplaced(view, pod, held, candidates) {
		return FilterResult{Claim: true}, nil
	}
	if len(pod.Ranges) == 0 && len(held) > 0 {
		if a := primary(held); a.PodUID != pod.UID {
			if s, seen := env.stranger(a.Addr, pod.UID, true); seen {
				return FilterResult{}, &OccupiedError{Address: a.Addr, By: s}
			}
		}
		return FilterResult{Networks: keep(candidates,
			func(n netip.Prefix) bool { return view.Config().Serves(primary(held).Addr, n) })}, nil
	}
	q := quotaOf(view, pod)
	if len(held) == 0 {
		if err := q.check(); err != nil {
			return FilterResult{}, err
		}
		if q.sized || q.reserved > 0 {
			return FilterResult{Claim: true}, nil
		}
	}
	if len(pod.Ranges) > 0 {
		return FilterResult{Networks: keep(candidates, func(n netip.Prefix) bool {
			_, ok := assignIn(view, pod, held, n, env)
			return ok
		})}, nil
	}
	return FilterResult{Networks: keep(candidates, func(n netip.Prefix) bool {
		for _, subnet := range view.Config().Serving(n) {
			if hasFree(view, subnet, env, pod.UID) {
				return true
			}
		}
		return false
	})}, nil
}

// Claimable are the candidates in which a Claim for the pod would find an address, without taking it.
func Claimable(view *projections.View, pod Pod, candidates []netip.Prefix, env Env) []netip.Prefix {
	return keep(candidates, func(n netip.Prefix) bool {
		_, _, err := Decide(view, Claim{Pod: pod, Candidates: []netip.Prefix{n}}, env)
		return err == nil
	})
}

func keep(networks []netip.Prefix, wanted func(netip.Prefix) bool) []netip.Prefix {
	kept := make([]netip.Prefix, 0, len(networks))
	for _, n := range networks {
		if wanted(n) {
			kept = append(kept, n)
		}
	}
	return kept
}

// heldBy are the addresses that a pod holds already, in the order it got them: those within its requested ranges, or
// all when it requests none. One that drains and is only kept for its name is of no use to it: no subnet says how it
// would be used.
func heldBy(view *projections.View, pod Pod) []*projections.Address {
	var held []*projections.Address
	for a := range view.Held(pod.Owner) {
		if a.Draining && !inUse(a) {
			continue
		}
		if len(pod.Ranges) == 0 || requested(pod, a.Addr) {
			held = append(held, a)
		}
	}
	slices.SortFunc(held, func(a, b *projections.Address) int { return cmp.Compare(a.Seq, b.Seq) })
	return held
}

// primary is the address that a pod without ranges uses, of those it holds: the one in use, else the one that it used
// last.
func primary(held []*projections.Address) *projections.Address {
	return slices.MinFunc(held, func(a, b *projections.Address) int {
		if (a.Node == "") != (b.Node == "") {
			return strings.Compare(b.Node, a.Node)
		}
		return cmp.Compare(b.Seq, a.Seq)
	})
}

func requested(pod Pod, addr netip.Addr) bool {
	for _, ranges := range pod.Ranges {
		for _, r := range ranges {
			if r.Contains(addr) {
				return true
			}
		}
	}
	return false
}

// assignIn serves a pod's ranges in one node network, of which everything that the pod holds already must be.
func assignIn(view *projections.View, pod Pod, held []*projections.Address, network netip.Prefix,
	env Env) ([]slot, bool) {
	for _, a := range held {
		if !view.Config().Serves(a.Addr, network) {
			return nil, false
		}
	}
	return assign(view, pod, held, view.Config().Serving(network), env)
}
