package allocator

import (
	"net/netip"
	"slices"

	"galaxy/ipam"
	"galaxy/projections"
)

// A pod that requests ranges wants one address for each element, each out of that element's ranges, all different.
// Taking the first that fits, element by element, can fail where a response exists ([["1~2"],["1"]]), so the elements
// are matched to addresses by augmenting paths (Kuhn's algorithm for bipartite graphs).

// slot is one requested element and the address found for it.
type slot struct {
	held *projections.Address // held by the pod already; else pick is a free one
	pick pick
}

func (s slot) addr() netip.Addr {
	if s.held != nil {
		return s.held.Addr
	}
	return s.pick.addr
}

// assign finds an address for each element of a request: one that the pod holds, or a free one of the subnets. ok is
// false when there is no way to serve all of them.
func assign(view *projections.View, pod Pod, held []*projections.Address, subnets []int,
	env Env) (slots []slot, ok bool) {
	request := pod.Ranges
	m := matching{options: make([][]slot, len(request)), chosen: make([]int, len(request)), taker: map[netip.Addr]int{}}
	for i, ranges := range request {
		m.options[i] = optionsOf(view, pod, ranges, held, subnets, env)
		m.chosen[i] = -1
	}
	for i := range request {
		if !m.assign(i, map[netip.Addr]bool{}) {
			return nil, false
		}
	}
	for i, choice := range m.chosen {
		slots = append(slots, m.options[i][choice])
	}
	return slots, true
}

// optionsOf lists what an element may get, best first: what the pod holds, then free addresses in the order of the
// ranges, then those within the reuse delay. An element with as many options as there are elements can always be served
// after the others, so more are not looked for.
func optionsOf(view *projections.View, pod Pod, ranges []ipam.Range, held []*projections.Address, subnets []int,
	env Env) []slot {
	var options, cooling []slot
	for _, a := range held {
		if slices.ContainsFunc(ranges, func(r ipam.Range) bool { return r.Contains(a.Addr) }) {
			options = append(options, slot{held: a})
		}
	}
	wanted := len(options) + len(pod.Ranges)
	for _, r := range ranges {
		for _, subnet := range subnets {
			for addr := range view.FreeIn(subnet, r) {
				if _, seen := env.stranger(addr, pod.UID, false); seen {
					continue
				}
				s := slot{pick: pick{addr: addr, subnet: subnet}}
				released := view.Released(addr)
				if released != nil {
					s.pick.after = released.Seq
				}
				if released != nil && released.Cools(env.Now, env.Rules.ReuseDelay) {
					cooling = append(cooling, s)
					continue
				}
				if options = append(options, s); len(options) == wanted {
					return options
				}
			}
		}
	}
	if env.Rules.StrictReuse {
		return options
	}
	return append(options, cooling...)
}

// matching is the state of Kuhn's algorithm.
type matching struct {
	options [][]slot
	chosen  []int              // of each element: the index of its option, or -1
	taker   map[netip.Addr]int // of each address: the element that has it
}

// assign gives an element an address, and moves others aside if it must. An element keeps what it has while it can.
func (m *matching) assign(element int, tried map[netip.Addr]bool) bool {
	for i, option := range m.options[element] {
		if _, taken := m.taker[option.addr()]; !taken {
			m.give(element, i)
			return true
		}
	}
	for i, option := range m.options[element] {
		addr := option.addr()
		if tried[addr] {
			continue
		}
		tried[addr] = true
		if m.assign(m.taker[addr], tried) {
			m.give(element, i)
			return true
		}
	}
	return false
}

func (m *matching) give(element, option int) {
	m.chosen[element] = option
	m.taker[m.options[element][option].addr()] = element
}
