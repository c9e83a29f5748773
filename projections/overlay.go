package projections

import (
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/go-memdb"

	"galaxy/ipam"
)

// Overlay is the configuration of the overlay in force. It never changes once made.
type Overlay struct {
	Source   string
	Seq      uint64    // of the event that set it; 0 before the first
	Time     time.Time // of that event
	Networks []ipam.OverlayNetwork
	strays   []netip.Prefix // node subnets that are assigned, and that these networks do not have
}

func newOverlay(source string, seq uint64, at time.Time, networks []ipam.OverlayNetwork) *Overlay {
	return &Overlay{Source: source, Seq: seq, Time: at, Networks: networks}
}

// find is the network that a node subnet is a part of, by its index, and the place of the subnet in it.
func (o *Overlay) find(subnet netip.Prefix) (network, index int, ok bool) {
	for i, n := range o.Networks {
		if index, ok := n.Index(subnet); ok {
			return i, index, true
		}
	}
	return 0, 0, false
}

// Configured reports whether the networks in force have a node subnet.
func (o *Overlay) Configured(subnet netip.Prefix) bool {
	_, _, ok := o.find(subnet)
	return ok
}

// overlayUse counts the node subnets of a network. All before Next are taken, and Next is not.
type overlayUse struct {
	Network int
	Next    int
	Used    int
}

const tableOverlays = "overlays"

func overlaysTable() *memdb.TableSchema {
	return tableOf(tableOverlays, unique("id", func(u *overlayUse) []byte { return subnetKey(u.Network) }))
}

// Overlay is the configuration of the overlay in force; an empty one before the first.
func (v *View) Overlay() *Overlay { return v.overlay }

// FreeNodeSubnet is the first free node subnet of a network by its index in Overlay; ok is false when none is left.
func (v *View) FreeNodeSubnet(network int) (subnet netip.Prefix, ok bool) {
	n, use := v.overlay.Networks[network], v.overlayUse(network)
	if use.Next >= n.Subnets() {
		return netip.Prefix{}, false
	}
	return n.Subnet(use.Next), true
}

// NodeSubnetUsage counts the node subnets of a network by its index in Overlay: all, and those that nodes have.
func (v *View) NodeSubnetUsage(network int) (total, used int) {
	return v.overlay.Networks[network].Subnets(), v.overlayUse(network).Used
}

func (v *View) overlayUse(network int) overlayUse {
	if u := first[overlayUse](v.txn, tableOverlays, "id", subnetKey(network)); u != nil {
		return *u
	}
	return overlayUse{Network: network}
}

// configureOverlay puts networks in force, and counts what nodes have of them.
func (t *Txn) configureOverlay(o *Overlay) {
	t.clear(tableOverlays)
	t.overlay = o
	used := make([]int, len(o.Networks))
	for s := range t.nodeSubnets() {
		if network, _, ok := o.find(s.Subnet); ok {
			used[network]++
		} else {
			o.strays = append(o.strays, s.Subnet)
		}
	}
	for i := range o.Networks {
		use := overlayUse{Network: i, Used: used[i]}
		t.advance(&use)
		t.insert(tableOverlays, &use)
	}
}

// advance moves Next past what is taken.
func (t *Txn) advance(use *overlayUse) {
	n := t.overlay.Networks[use.Network]
	for use.Next < n.Subnets() && t.isTaken(n.Subnet(use.Next)) {
		use.Next++
	}
}

func (t *Txn) isTaken(subnet netip.Prefix) bool {
	return t.NodeOfSubnet(subnet) != "" || slices.ContainsFunc(t.overlay.strays, subnet.Overlaps)
}

func (t *Txn) taken(network, index int) {
	use := t.overlayUse(network)
	use.Used++
	if index == use.Next {
		t.advance(&use)
	}
	t.insert(tableOverlays, &use)
}

// returned notes that a node subnet is free again: of the networks in force, or of those that it stood in the way of.
func (t *Txn) returned(subnet netip.Prefix) {
	network, index, ok := t.overlay.find(subnet)
	if ok {
		use := t.overlayUse(network)
		use.Used--
		use.Next = min(use.Next, index)
		t.advance(&use) // a stray may be in the way
		t.insert(tableOverlays, &use)
		return
	}
	without := *t.overlay
	without.strays = nil
	t.configureOverlay(&without)
}
