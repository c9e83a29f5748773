package kernel

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Backend is how packets travel to other nodes.
type Backend string

// The backends.
const (
	// CrossSubnet is HostGW to nodes on the same link and a tunnel to all others. It is the default.
	CrossSubnet Backend = "cross-subnet"
	// HostGW has only plain routes: all nodes must share a link.
	HostGW Backend = "host-gw"
	// Tunnels has only tunnels, for links whose switches drop packets with addresses of pods.
	Tunnels Backend = "ipip"
)

// What a tunnel adds to every packet.
const (
	ipipHeader   = 20
	ip6tnlHeader = 40 // without an encapsulation limit
	leastMTU6    = 1280
)

// Node is what is known of a node.
type Node struct {
	Name      string
	Addresses []netip.Addr   // of the node itself (its InternalIPs), the preferred ones first
	Subnets   []netip.Prefix // of its pods

	// Networks are what LocalNetworks read. Only the node itself has them.
	Networks []LocalNetwork
}

// LocalNetwork is an address of a link of this node, with the prefix that is reached through the link directly.
type LocalNetwork struct {
	Link    string
	MTU     int // of the link
	Address netip.Addr
	Prefix  netip.Prefix // masked
}

// Config is what an administrator chooses for the whole network.
type Config struct {
	Backend Backend // empty is CrossSubnet
	MTU     int     // of tunnels; 0 is derived from the link under the tunnel

	// TunnelSources are the outer addresses of this node's tunnels. In a family that has none here it is the first
	// address of the node.
	TunnelSources []netip.Addr

	// TunnelAddresses are addresses for the tunnel devices themselves, at most one a family, from the subnet of this
	// node. The node's own packets to pods behind a tunnel then have it as their source, and the responses take the
	// tunnel too. Without it they have the node's address, and a far node with strict rp_filter drops them.
	TunnelAddresses []netip.Addr

	// The names of the tunnels, beginning with TunnelPrefix. Empty is DefaultIPIP and DefaultIP6Tnl.
	IPIPName, IP6TnlName string
}

// Want is the state in which the pods of all peers are reached, and what stands in the way of that. A peer with a
// problem takes nothing from the others. A tunnel is wanted only if a route needs it.
func Want(self Node, peers []Node, c Config) (State, []Problem) {
	c.Backend = cmp.Or(c.Backend, CrossSubnet)
	w := builder{
		self: self, config: c,
		state: State{Routes: map[netip.Prefix]Route{}, Tunnels: map[string]Tunnel{}},
		owner: map[netip.Prefix]string{}, without: map[Mode]bool{},
	}
	if !slices.Contains([]Backend{CrossSubnet, HostGW, Tunnels}, c.Backend) {
		w.problem(self.Name, "the backend %q is unknown; choose %s, %s or %s", c.Backend, CrossSubnet, HostGW, Tunnels)
		return w.state, w.problems
	}
	w.onLink = linksOf(self)
	sorted := slices.Clone(peers)
	slices.SortStableFunc(sorted, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	for _, peer := range sorted {
		if peer.Name == self.Name {
			continue
		}
		for _, subnet := range peer.Subnets {
			w.reach(peer, subnet.Masked())
		}
	}
	return w.state, w.problems
}

// linksOf are the networks on the links that hold the addresses of the node, the narrowest first.
func linksOf(self Node) []LocalNetwork {
	holds := map[string]bool{}
	for _, n := range self.Networks {
		if slices.Contains(self.Addresses, n.Address) {
			holds[n.Link] = true
		}
	}
	var found []LocalNetwork
	for _, n := range self.Networks {
		if holds[n.Link] {
			found = append(found, n)
		}
	}
	slices.SortStableFunc(found, func(a, b LocalNetwork) int {
		return cmp.Or(cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()), strings.Compare(a.Link, b.Link))
	})
	return found
}

// builder makes a State.
type builder struct {
	self     Node
	config   Config
	onLink   []LocalNetwork
	state    State
	owner    map[netip.Prefix]string // which peer has a subnet
	without  map[Mode]bool           // tunnels that cannot be, for a problem that was reported
	problems []Problem
}

func (w *builder) problem(node, format string, args ...any) {
	w.problems = append(w.problems, Problem{Node: node, Text: fmt.Sprintf(format, args...)})
}

// reach adds a route to a subnet of a peer.
func (w *builder) reach(peer Node, subnet netip.Prefix) {
	addresses := ofFamily(peer.Addresses, subnet.Addr())
	if !w.mayHave(peer, subnet) {
		return
	}
	if len(addresses) == 0 {
		w.problem(peer.Name, "its subnet %s cannot be reached, as the node has no %s address; give it one "+
			"(InternalIP), or take the subnet from it",
			subnet, familyOf(subnet.Addr()))
		return
	}
	for _, a := range addresses {
		if slices.Contains(w.self.Addresses, a) {
			w.problem(peer.Name, "it has the address %s, which is one of %s; correct the addresses of one of them", a,
				w.self.Name)
			return
		}
	}
	route, found := w.plain(subnet, addresses)
	if !found {
		if w.config.Backend == HostGW {
			w.problem(peer.Name, "its address %s is on no link of %s, and %s has only plain routes; choose the "+
				"backend %s, or put the nodes on one link",
				addresses[0], w.self.Name, HostGW, CrossSubnet)
			return
		}
		if route, found = w.tunnelled(subnet, addresses[0]); !found {
			return
		}
	}
	w.owner[subnet] = peer.Name
	w.state.Routes[subnet] = route
}

// mayHave says whether a route to the subnet can lead to the peer.
func (w *builder) mayHave(peer Node, subnet netip.Prefix) bool {
	if first, taken := w.owner[subnet]; taken {
		w.problem(peer.Name, "its subnet %s is that of node %s already; take it from one of them", subnet, first)
		return false
	}
	for _, own := range w.self.Subnets {
		if own.Overlaps(subnet) {
			w.problem(peer.Name, "its subnet %s overlaps %s of %s; give it another", subnet, own, w.self.Name)
			return false
		}
	}
	return true
}

// plain is a route through a link that the peer is on.
func (w *builder) plain(subnet netip.Prefix, addresses []netip.Addr) (Route, bool) {
	if w.config.Backend == Tunnels {
		return Route{}, false
	}
	for _, a := range addresses {
		for _, n := range w.onLink {
			if n.Prefix.Contains(a) {
				return Route{Dst: subnet, Via: a, Link: n.Link}, true
			}
		}
	}
	return Route{}, false
}

// tunnelled is a route through a tunnel, which it adds if it is the first.
func (w *builder) tunnelled(subnet netip.Prefix, far netip.Addr) (Route, bool) {
	mode, name := IPIP, cmp.Or(w.config.IPIPName, DefaultIPIP)
	if subnet.Addr().Is6() {
		mode, name = IP6Tnl, cmp.Or(w.config.IP6TnlName, DefaultIP6Tnl)
	}
	if w.without[mode] {
		return Route{}, false
	}
	tunnel, exists := w.state.Tunnels[name]
	if !exists {
		var why string
		if tunnel, why = w.tunnel(mode, name); why != "" {
			w.problem(w.self.Name, "%s", why)
			w.without[mode] = true
			return Route{}, false
		}
		w.state.Tunnels[name] = tunnel
	}
	r := Route{Dst: subnet, Via: far, Link: name, OnLink: true}
	if tunnel.Addr.IsValid() {
		r.Source = tunnel.Addr.Addr()
	}
	return r, true
}

// tunnel is this node's end of all tunnels of a mode, or why there can be none.
func (w *builder) tunnel(mode Mode, name string) (Tunnel, string) {
	header, like := ipipHeader, netip.IPv4Unspecified()
	if mode == IP6Tnl {
		header, like = ip6tnlHeader, netip.IPv6Unspecified()
	}
	if why := badName(name); why != "" {
		return Tunnel{}, why
	}
	sources := ofFamily(slices.Concat(w.config.TunnelSources, w.self.Addresses), like)
	if len(sources) == 0 {
		return Tunnel{}, fmt.Sprintf("it needs a tunnel %s and has no %s address; give the node one (InternalIP)", name,
			familyOf(like))
	}
	t := Tunnel{Name: name, Mode: mode, Local: sources[0], MTU: w.config.MTU}
	at := slices.IndexFunc(w.self.Networks, func(n LocalNetwork) bool { return n.Address == t.Local })
	if at < 0 {
		return Tunnel{}, fmt.Sprintf("it needs a tunnel %s from %s, but none of its links has that address; add it "+
			"to a link, or correct the addresses of the node",
			name, t.Local)
	}
	if t.MTU == 0 {
		t.MTU = w.self.Networks[at].MTU - header
	}
	if mode == IP6Tnl && t.MTU < leastMTU6 {
		return Tunnel{}, fmt.Sprintf("a tunnel %s over link %s would have an MTU of %d, and IPv6 needs %d; raise the "+
			"MTU of the link",
			name, w.self.Networks[at].Link, t.MTU, leastMTU6)
	}
	if own := ofFamily(w.config.TunnelAddresses, like); len(own) > 0 {
		t.Addr = netip.PrefixFrom(own[0], own[0].BitLen())
	}
	return t, ""
}

// longestName is what the kernel allows for a link.
const longestName = 15

func badName(name string) string {
	if !strings.HasPrefix(name, TunnelPrefix) || len(name) > longestName {
		return fmt.Sprintf("a tunnel cannot be called %q: the name must begin with %q and have at most %d characters",
			name, TunnelPrefix, longestName)
	}
	return ""
}

func ofFamily(addresses []netip.Addr, like netip.Addr) []netip.Addr {
	var found []netip.Addr
	for _, a := range addresses {
		if a.IsValid() && a.Is4() == like.Is4() {
			found = append(found, a)
		}
	}
	return found
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
