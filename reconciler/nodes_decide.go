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
	view  *projections.View
	alive map[string]ipam.Announcement // by name; whose lease lasts
	// agents whose leases last, and whose announcements are not understood: nothing is known of them but that
	unclear  map[string]string
	now      time.Time
	keep     time.Duration          // how long a lost node keeps its subnets
	deleted  func(name string) bool // the cluster says that the node is gone for good; nil: nobody says so
	overlay  []ipam.OverlayNetwork  // to be in force; nil: as it is
	source   string                 // of overlay
	settling bool                   // a leader that is new believes in no loss
	silent   map[string]silence     // agents whose leases have ended
	ready    func(name string) bool // the cluster hears the node's kubelet; nil: nobody says so
	// has says whether the cluster knows a node by an address; known is false while it knows none of the node. Nil:
	// nobody can say so.
	has      func(name string, addr netip.Addr) (has, known bool)
	networks []netip.Prefix // in which nodes are reached that the cluster does not know by these addresses
}

// announced reports whether the lease of a node's agent lasts, whatever it says.
func (s nodesSeen) announced(name string) bool {
	_, alive := s.alive[name]
	_, unclear := s.unclear[name]
	return alive || unclear
}

// proven is an announcement with the addresses that the node is known by; foreign are the others. Whoever has a node's
// user in etcd could announce any: routes of all nodes lead there, and what pods send there is not masqueraded.
func (s nodesSeen) proven(name string) (a ipam.Announcement, foreign []netip.Addr) {
	a = s.alive[name]
	if s.has == nil {
		return a, nil
	}
	own := make([]netip.Addr, 0, len(a.Addresses))
	for _, addr := range a.Addresses {
		has, known := s.has(name, addr)
		if !known || has || slices.ContainsFunc(s.networks, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			own = append(own, addr)
		} else {
			foreign = append(foreign, addr)
		}
	}
	a.Addresses = own
	return a, foreign
}

// nodesPlan is what is to be done.
type nodesPlan struct {
	first    []allocator.Command // in order, before the others
	commands []allocator.Command // of different nodes, in any order
	waiting  []string            // nodes that have no subnet, as none is left
	losses   nodeLosses
	foreign  map[string][]netip.Addr // addresses that nodes announce and are not known by
	shared   map[string]string       // addresses that nodes announce, as another one does
	hasty    []string                // nodes that changed what they announce just before, and have to wait
}

// changeEvery is how soon a node that is there may be elsewhere, or another machine: each change is an event, and a
// write in the kernel of every node.
const changeEvery = 10 * time.Second

// decideNodes turns the difference between leases and the log into commands.
func decideNodes(s nodesSeen) nodesPlan {
	plan := nodesPlan{foreign: map[string][]netip.Addr{}}
	if s.overlay != nil && (s.view.Overlay().Seq == 0 || !slices.Equal(s.view.Overlay().Networks, s.overlay)) {
		plan.first = append(plan.first, allocator.ConfigureOverlay{Source: s.source, Networks: s.overlay})
		return plan // the rest follows from the state after
	}
	free, announced := freeFamilies(s.view), map[string]ipam.Announcement{}
	for _, name := range sortedNames(s.alive) {
		a, foreign := s.proven(name)
		announced[name] = a
		if len(foreign) > 0 {
			plan.foreign[name] = foreign
			if len(a.Addresses) == 0 {
				continue // a node that the log knows stays as it is
			}
		}
		known := s.view.Node(name)
		join, waits := joins(known, a, free)
		switch {
		case join && known != nil && known.Alive() && s.now.Sub(known.Time()) < changeEvery && moves(known, a):
			plan.hasty = append(plan.hasty, name)
		case join:
			plan.commands = append(plan.commands, allocator.JoinNode{Node: name, Addresses: a.Addresses,
				Machine: a.Machine})
		}
		if waits {
			plan.waiting = append(plan.waiting, name)
		}
	}
	plan.shared = sharedAddresses(announced)
	plan.ended(s)
	return plan
}

// ended is what becomes of nodes whose leases have ended.
func (plan *nodesPlan) ended(s nodesSeen) {
	for n := range s.view.Nodes() {
		switch {
		case n.Alive() || s.announced(n.Name):
		case s.deleted != nil && s.deleted(n.Name):
			plan.commands = append(plan.commands, allocator.ReleaseNode{Node: n.Name, Reason: ReasonNodeDeleted})
		case s.now.Sub(n.LostAt()) > s.keep:
			plan.commands = append(plan.commands, allocator.ReleaseNode{Node: n.Name, Reason: ReasonGraceEnded})
		}
	}
	if s.settling {
		return
	}
	plan.losses = lossesOf(s.view, s.announced, s.silent, s.ready, s.now, manyLosses)
	for _, name := range plan.losses.lost {
		plan.commands = append(plan.commands, allocator.LoseNode{Node: name, Reason: ReasonLeaseEnded})
	}
	for _, name := range plan.losses.back {
		n := s.view.Node(name)
		plan.commands = append(plan.commands, allocator.JoinNode{Node: name, Addresses: n.Addresses,
			Machine: n.Machine})
	}
}

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

// moves reports whether a node that is there announces itself elsewhere.
func moves(n *projections.Node, a ipam.Announcement) bool {
	return n.Machine != a.Machine || !slices.Equal(n.Addresses, a.Addresses)
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
	join = n == nil || !n.Alive() || moves(n, a) ||
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
