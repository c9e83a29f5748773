package scheduler

import (
	"math"
	"net/http"
	"strconv"

	"galaxy/extender"
	"galaxy/projections"
)

// maxScore is MaxExtenderPriority of the extender protocol.
const maxScore = 10

func (s *Scheduler) servePrioritize(w http.ResponseWriter, r *http.Request) error {
	return s.withArgs(w, r, func(a *args, out []byte) []byte {
		return appendScores(out, a, s.scores(a))
	})
}

// scores prefers nodes whose subnets have many addresses that nobody holds, measured against the best of the offered
// nodes. A pod that holds an address already has no choice between subnets, so all its nodes are equal.
// Small differences are none: a response without scores costs the scheduler least.
func (s *Scheduler) scores(a *args) func(networkIndex) int {
	equal := func(networkIndex) int { return 0 }
	owner, ok := ownerOf(a.pod)
	if !a.pod.Wants || !ok {
		return equal
	}
	view := s.Replica.View()
	for range view.Held(owner) {
		return equal
	}
	p := s.networksOf(view)
	free := make([]uint64, len(p.config.NodeNetworks()))
	var most uint64
	for _, at := range s.locate(a, extender.ClusterOf(s.Cluster), p) {
		free[at] = unheld(view, p.config.Serving(p.network(at)))
		most = max(most, free[at])
	}
	if most == 0 {
		return equal
	}
	return func(at networkIndex) int {
		if at < 0 {
			return 0
		}
		return int(math.Round(float64(free[at]) / float64(most) * maxScore))
	}
}

// equals reports whether all nodes have one score.
func equals(a *args, score func(networkIndex) int) bool {
	for i := range a.nodes {
		if score(a.nodes[i].at) != score(a.nodes[0].at) {
			return false
		}
	}
	return true
}

// unheld counts the addresses of subnets that nobody holds, at most math.MaxUint64.
func unheld(view *projections.View, subnets []int) uint64 {
	var sum uint64
	for _, subnet := range subnets {
		n := view.Unheld(subnet)
		if sum += n; sum < n {
			return ^uint64(0)
		}
	}
	return sum
}

// appendScores writes a HostPriorityList. Nodes without a score are left out, as the scheduler takes them for 0; and so
// are all when none is better than another, since a list of a thousand equals costs the scheduler more than it says.
func appendScores(out []byte, a *args, score func(networkIndex) int) []byte {
	if equals(a, score) {
		return append(out, `[]`...)
	}
	out = append(out, '[')
	for i, sep := 0, false; i < len(a.nodes); i++ {
		if score(a.nodes[i].at) == 0 {
			continue
		}
		if sep {
			out = append(out, ',')
		}
		sep = true
		out = append(out, `{"Host":`...)
		if a.whole {
			out = appendText(out, a.nodes[i].name)
		} else {
			out = append(out, a.nodes[i].text...)
		}
		out = append(out, `,"Score":`...)
		out = strconv.AppendInt(out, int64(score(a.nodes[i].at)), 10)
		out = append(out, '}')
	}
	return append(out, ']')
}
