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
// unused. Those within the reuse delay come last by that order, or not at all when the delay is strict.
func choose(view *projections.View, subnets []int, n int, env Env) []pick {
	picks := fresh(view, subnets, n)
	if missing := n - len(picks); missing > 0 {
		picks = append(picks, rested(view, subnets, missing, env)...)
	}
	return picks
}

func fresh(view *projections.View, subnets []int, n int) []pick {
	if n == 1 {
		return lowest(view, subnets)
	}
	var picks []pick
	for _, subnet := range subnets {
		left := n
		for addr := range view.Fresh(subnet) {
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
func lowest(view *projections.View, subnets []int) []pick {
	var found pick
	for _, subnet := range subnets {
		if addr, ok := view.FirstFresh(subnet); ok && (!found.addr.IsValid() || addr.Less(found.addr)) {
			found = pick{addr: addr, subnet: subnet}
		}
	}
	if !found.addr.IsValid() {
		return nil
	}
	return []pick{found}
}

func rested(view *projections.View, subnets []int, n int, env Env) []pick {
	var picks []pick
	for _, subnet := range subnets {
		left := n
		for r := range view.ReleasedIn(subnet) {
			if env.Rules.StrictReuse && r.Cools(env.Now, env.Rules.ReuseDelay) {
				break // and so do all after it
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

// hasFree reports whether a subnet has an address to give now.
func hasFree(view *projections.View, subnet int, env Env) bool {
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
