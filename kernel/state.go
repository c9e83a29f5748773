package kernel

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Protocol is the routing protocol number that all our routes carry, in the main table. It stands in no list of
// well-known protocols (rt_protos of iproute2), and routes with another number are never touched. To see ours: ip route
// show proto 71.
const Protocol = 71

// TunnelPrefix begins the name of every tunnel that is ours. A tunnel with such a name that nobody wants is deleted.
const TunnelPrefix = "galaxy."

// The names of the tunnels, unless the Config has others.
const (
	DefaultIPIP   = TunnelPrefix + "ipip"
	DefaultIP6Tnl = TunnelPrefix + "ip6tnl"
)

// Mode says what a tunnel carries in what.
type Mode string

// The modes of tunnels.
const (
	IPIP   Mode = "ipip"   // IPv4 in IPv4
	IP6Tnl Mode = "ip6tnl" // IPv6 in IPv6
)

// State is what of the kernel's state is ours: either what is wanted or what was read. It is a value; nobody changes a
// State that was handed out.
type State struct {
	Routes  map[netip.Prefix]Route // by Dst
	Tunnels map[string]Tunnel      // by Name

	// Strays are routes that carry our protocol number and yet are none that we make, as their metric is another one.
	// No State that is wanted has any.
	Strays []Route
}

// Route leads to the pods of another node. The zero value of a field means that the kernel decides.
type Route struct {
	Dst    netip.Prefix // masked
	Via    netip.Addr   // the node, or zero for what lies on the link itself
	Link   string
	OnLink bool       // Via is reached through Link whatever the addresses of the link say
	Source netip.Addr // the address with which this node's own packets leave
	MTU    int

	// Metric is 0 in every route that we make: the kernel's default, which is 0 for IPv4 and 1024 for IPv6.
	Metric int
}

// Tunnel is one end of all tunnels of a family: it has no remote, and the next hop of a route is the far end (NBMA).
type Tunnel struct {
	Name  string
	Mode  Mode // read from the kernel it may be a text that is no mode: a device that differs from those that we make
	Local netip.Addr
	MTU   int
	Addr  netip.Prefix // an address of the device, /32 or /128, or zero for none; a device with several reads as none

	// Down is true for a device that was read and is not up. No tunnel that is wanted is down.
	Down bool
}

// Problem is something that keeps a subnet from being reached until a person repairs it.
type Problem struct {
	Node string // the node that it is about
	Text string // what, and how to repair it
}

func (p Problem) String() string { return "node " + p.Node + ": " + p.Text }

// Spare wants all that there is beside what is wanted, so that nothing goes away.
func (s *State) Spare(have State) {
	s.Routes, s.Tunnels = spare(s.Routes, have.Routes), spare(s.Tunnels, have.Tunnels)
}

func spare[K comparable, V any](wanted, there map[K]V) map[K]V {
	all := maps.Clone(there)
	if all == nil {
		all = map[K]V{}
	}
	maps.Copy(all, wanted)
	return all
}

func (r Route) String() string {
	var b strings.Builder
	b.WriteString(r.Dst.String())
	if r.Via.IsValid() {
		fmt.Fprintf(&b, " via %s", r.Via)
	}
	if r.Link != "" {
		fmt.Fprintf(&b, " dev %s", r.Link)
	}
	if r.OnLink {
		b.WriteString(" onlink")
	}
	if r.Source.IsValid() {
		fmt.Fprintf(&b, " src %s", r.Source)
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", r.MTU)
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	return b.String()
}

func (t Tunnel) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s local %s mtu %d", t.Name, t.Mode, t.Local, t.MTU)
	if t.Addr.IsValid() {
		fmt.Fprintf(&b, " addr %s", t.Addr)
	}
	if t.Down {
		b.WriteString(" down")
	}
	return b.String()
}

// String has a line for each tunnel and route, in order.
func (s State) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Tunnels)) {
		fmt.Fprintln(&b, "tunnel", s.Tunnels[name])
	}
	for _, dst := range sortedPrefixes(s.Routes) {
		fmt.Fprintln(&b, "route", s.Routes[dst])
	}
	for _, r := range sortedRoutes(s.Strays) {
		fmt.Fprintln(&b, "stray", r)
	}
	return b.String()
}

// Equal says whether two states are the same.
func (s State) Equal(other State) bool {
	return maps.Equal(s.Routes, other.Routes) && maps.Equal(s.Tunnels, other.Tunnels) &&
		slices.Equal(sortedRoutes(s.Strays), sortedRoutes(other.Strays))
}

func sortedPrefixes(routes map[netip.Prefix]Route) []netip.Prefix {
	return slices.SortedFunc(maps.Keys(routes), comparePrefixes)
}

func sortedRoutes(routes []Route) []Route {
	return slices.SortedFunc(slices.Values(routes), func(a, b Route) int {
		return cmp.Or(comparePrefixes(a.Dst, b.Dst), cmp.Compare(a.Metric, b.Metric))
	})
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
