package reconciler

import (
	"net/netip"
	"slices"
	"time"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/projections"
)

// Reasons of events of the stream nodes.
const (
	ReasonLeaseEnded  = "leaseEnded"
	ReasonGraceEnded  = "graceEnded"
	ReasonNodeDeleted = "nodeDeleted"
)

// nodesSeen is what decides what becomes of nodes.
type nodesSeen struct {
	view     *projections.View
	alive    map[string]ipam.Announcement // by name; whose lease lasts
	now      time.Time
	keep     time.Duration               // how long a lost node keeps its subnets
	deleted  func(name string) bool      // the cluster says that the node is gone for good; nil: nobody says so
	overlay  []ipam.OverlayNetwork       // to be in force; nil: as it is
	source   string                      // of overlay
	settling bool                        // a leader that is new believes in no loss
	hold     bool                        // do not believe in many losses at once yet
	most     func(alive int) (limit int) // how many losses at once are many
}

// nodesPlan is what is to be done.
type nodesPlan struct {
	first    []allocator.Command // in order, before the others
	commands []allocator.Command // of different nodes, in any order
	waiting  []string            // nodes that have no subnet, as none is left
	held     int                 // losses that are not believed yet
}

// decideNodes turns the difference between leases and the log into commands.
func decideNodes(s nodesSeen) nodesPlan {
	var plan nodesPlan
	if s.overlay != nil && (s.view.Overlay().Seq == 0 || !slices.Equal(s.view.Overlay().Networks, s.overlay)) {
		plan.first = append(plan.first, allocator.ConfigureOverlay{Source: s.source, Networks: s.overlay})
		return plan // the rest follows from the state after
	}
	free := freeFamilies(s.view)
	for _, name := range sortedNames(s.alive) {
		join, waits := joins(s.view.Node(name), s.alive[name], free)
		if join {
			a := s.alive[name]
			plan.commands = append(plan.commands, allocator.JoinNode{Node: name, Addresses: a.Addresses, Machine: a.Machine})
		}
		if waits {
			plan.waiting = append(plan.waiting, name)
		}
	}
	plan.losses(s)
	return plan
}

func (plan *nodesPlan) losses(s nodesSeen) {
	var lost []allocator.Command
	alive := 0
	for n := range s.view.Nodes() {
		_, announced := s.alive[n.Name]
		switch {
		case n.Alive() && announced:
			alive++
		case n.Alive():
			alive++
			lost = append(lost, allocator.LoseNode{Node: n.Name, Reason: ReasonLeaseEnded})
		case announced: // it joins again
		case s.deleted != nil && s.deleted(n.Name):
			plan.commands = append(plan.commands, allocator.ReleaseNode{Node: n.Name, Reason: ReasonNodeDeleted})
		case s.now.Sub(n.LostAt()) > s.keep:
			plan.commands = append(plan.commands, allocator.ReleaseNode{Node: n.Name, Reason: ReasonGraceEnded})
		}
	}
	if s.settling {
		return
	}
	if s.hold && len(lost) > s.most(alive) {
		plan.held = len(lost)
		return
	}
	plan.commands = append(plan.commands, lost...)
}

// manyLosses is beyond how many losses at once it is likelier that something is wrong with etcd or the network than with so many
// nodes.
func manyLosses(alive int) int { return max(2, alive/2) }

// families says for which address families something is so.
type families struct{ ip4, ip6 bool }

func (f *families) add(addr netip.Addr) {
	if addr.Is4() {
		f.ip4 = true
	} else {
		f.ip6 = true
	}
}

// freeFamilies are the families that the overlay has, and those of which a node subnet is left.
func freeFamilies(view *projections.View) (of struct{ configured, free families }) {
	for i, n := range view.Overlay().Networks {
		of.configured.add(n.CIDR.Addr())
		if _, ok := view.FreeNodeSubnet(i); ok {
			of.free.add(n.CIDR.Addr())
		}
	}
	return of
}

// joins reports whether the log does not say yet what a node announces, and whether the node waits for a subnet.
func joins(n *projections.Node, a ipam.Announcement, of struct{ configured, free families }) (join, waits bool) {
	var has families
	if n != nil {
		for _, s := range n.Subnets {
			has.add(s.Addr())
		}
	}
	lacks4, lacks6 := of.configured.ip4 && !has.ip4, of.configured.ip6 && !has.ip6
	join = n == nil || !n.Alive() || n.Machine != a.Machine || !slices.Equal(n.Addresses, a.Addresses) ||
		lacks4 && of.free.ip4 || lacks6 && of.free.ip6
	return join, lacks4 && !of.free.ip4 || lacks6 && !of.free.ip6
}

func sortedNames(alive map[string]ipam.Announcement) []string {
	names := make([]string, 0, len(alive))
	for name := range alive {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
