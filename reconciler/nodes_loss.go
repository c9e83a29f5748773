package reconciler

import (
	"slices"
	"time"

	"galaxy/projections"
)

// When is a node's loss to be believed? A route to a node that is dead costs little: what is sent there is lost either
// way. A route that is taken from a node that lives cuts its pods off. So silence is doubted whenever something else
// explains it better.
//
//	silent(n)   since when the lease of n has ended, as this leader saw it
//	ready(n)    the cluster says that the kubelet of n is heard: then its pods run, whatever has become of its agent
//	L           nodes that are silent, and not lost in the log
//	R           nodes that are silent, and were believed lost within lossWindow
//	A           nodes that announce themselves, L and R
//
//	believed(n) = n in L and silent(n) >= a third of its lease and not ready(n)
//	              and (|L or R| <= most(|A|) or silent(n) >= massDoubt)
//
// The leases of agents that one failure has silenced end within a third of their length of one another, as that is how
// often they are renewed: so the first is not believed before the others can have followed. When it turns out that many
// are silent, those that were believed before are taken back.
const (
	lossWindow = 5 * time.Minute
	massDoubt  = 10 * time.Minute
)

// silence is that of an agent whose lease has ended.
type silence struct {
	since time.Time
	lease time.Duration // how long its lease was
}

// settled is how long the leases of agents that the same failure has silenced take to end, too.
func (s silence) settled() time.Duration { return s.lease / 3 }

// nodeLosses is what is believed of silent nodes.
type nodeLosses struct {
	lost    []string // believed from now on
	back    []string // believed before, and taken back
	doubted []string // silent, and not believed: so many at once are not likely
	ready   []string // silent, but their kubelets are heard
	soon    bool     // one is silent for too short a time yet
}

// lossesOf decides which silent nodes are lost.
func lossesOf(view *projections.View, announced func(name string) bool, silent map[string]silence,
	ready func(name string) bool, now time.Time, most func(nodes int) int) nodeLosses {
	var found nodeLosses
	var waiting, recent []string
	all := 0
	for n := range view.Nodes() {
		switch {
		case announced(n.Name):
			all++
		case n.Alive():
			all++
			waiting = append(waiting, n.Name)
		case now.Sub(n.LostAt()) < lossWindow:
			all++
			recent = append(recent, n.Name)
		}
	}
	many := len(waiting)+len(recent) > most(all)
	for _, name := range waiting {
		s := silent[name]
		quiet := now.Sub(s.since)
		switch {
		case ready != nil && ready(name):
			found.ready = append(found.ready, name)
		case many && quiet < massDoubt:
			found.doubted = append(found.doubted, name)
		case quiet >= s.settled():
			found.lost = append(found.lost, name)
		default:
			found.soon = true
		}
	}
	if many && len(found.doubted) > 0 {
		found.back = recent
	}
	for _, names := range [][]string{found.lost, found.back, found.doubted, found.ready} {
		slices.Sort(names)
	}
	return found
}

// manyLosses is beyond how many losses it is likelier that something is wrong with etcd or the network than with so
// many nodes.
func manyLosses(nodes int) int { return max(2, nodes/2) }
