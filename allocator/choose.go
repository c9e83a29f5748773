package allocator

import (
	"cmp"
	"net/netip"
	"slices"

	"galaxy/projections"
)

// pick is a free address that was chosen.
type pick struct {
	addr   netip.Addr
	subnet int
	after  uint64 // the event that released it; 0 for one that nobody has held
}

// choose picks up to n free addresses of some subnets: those that nobody has held, lowest first, and then the longest
// unused. Those within the reuse delay come last by that order, or not at all when the delay is strict. What a pod
// other than that of uid shows is passed over: it is free in the log alone.
func choose(view *projections.View, subnets []int, n int, env Env, uid string) []pick {
	picks := fresh(view, subnets, n, env, uid)
	if missing := n - len(picks); missing > 0 {
		picks = append(picks, rested(view, subnets, missing, env, uid)...)
	}
	return picks
}

func fresh(view *projections.View, subnets []int, n int, env Env, uid string) []pick {
	if n == 1 {
		return lowest(view, subnets, env, uid)
	}
	var picks []pick
	for _, subnet := range subnets {
		left := n
		for addr := range view.Fresh(subnet) {
			if _, seen := env.stranger(addr, uid, false); seen {
				continue
			}
			picks = append(picks, pick{addr: addr, subnet: subnet})
			if left--; left == 0 {
				break
			}
		}
	}
	slices.SortFunc(picks, func(a, b pick) int { return a.addr.Compare(b.addr) })
	return picks[:min(n, len(picks))]
}

// lowest is the lowest address that nobody has held, as no or one pick.
func lowest(view *projections.View, subnets []int, env Env, uid string) []pick {
	var found pick
	for _, subnet := range subnets {
		if addr, ok := firstFresh(view, subnet, env, uid); ok && (!found.addr.IsValid() || addr.Less(found.addr)) {
			found = pick{addr: addr, subnet: subnet}
		}
	}
	if !found.addr.IsValid() {
		return nil
	}
	return []pick{found}
}

func firstFresh(view *projections.View, subnet int, env Env, uid string) (netip.Addr, bool) {
	addr, ok := view.FirstFresh(subnet)
	if !ok {
		return addr, false
	}
	if _, seen := env.stranger(addr, uid, false); !seen {
		return addr, true
	}
	for addr := range view.Fresh(subnet) {
		if _, seen := env.stranger(addr, uid, false); !seen {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

func rested(view *projections.View, subnets []int, n int, env Env, uid string) []pick {
	var picks []pick
	for _, subnet := range subnets {
		left := n
		for r := range view.ReleasedIn(subnet) {
			if env.Rules.StrictReuse && r.Cools(env.Now, env.Rules.ReuseDelay) {
				break // and so do all after it
			}
			if _, seen := env.stranger(r.Addr, uid, false); seen {
				continue
			}
			picks = append(picks, pick{addr: r.Addr, subnet: subnet, after: r.Seq})
			if left--; left == 0 {
				break
			}
		}
	}
	slices.SortFunc(picks, func(a, b pick) int { return cmp.Compare(a.after, b.after) })
	return picks[:min(n, len(picks))]
}

// hasFree reports whether a subnet has an address to give now, to the pod of uid.
func hasFree(view *projections.View, subnet int, env Env, uid string) bool {
	if env.Occupants != nil {
		return len(choose(view, []int{subnet}, 1, env, uid)) > 0
	}
	if !env.Rules.StrictReuse {
		return view.Unheld(subnet) > 0
	}
	return view.Usage(subnet, env.Now, env.Rules.ReuseDelay).Free > 0
}

// servingAny are the indexes of the subnets that serve one of the networks, ascending.
func servingAny(view *projections.View, networks []netip.Prefix) []int {
	config := view.Config()
	if len(networks) == 1 {
		return config.Serving(networks[0])
	}
	var subnets []int
	for _, network := range networks {
		subnets = append(subnets, config.Serving(network)...)
	}
	slices.Sort(subnets)
	return slices.Compact(subnets)
}
