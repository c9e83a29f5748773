package veth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"galaxy/plugins"
	"galaxy/plugins/pair"
)

// family is one of the two internet protocols.
type family int

const (
	v4 family = unix.AF_INET
	v6 family = unix.AF_INET6
)

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return v4
	}
	return v6
}

// gateway is the next hop of every pod. No interface has the first; every host's end has the second.
func (f family) gateway() netip.Addr {
	if f == v4 {
		return netip.AddrFrom4([4]byte{169, 254, 1, 1})
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: 1})
}

func (f family) everywhere() net.IPNet {
	if f == v4 {
		return net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	}
	return net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
}

// Tables and rules of further networks of a pod. The table's number comes from the index of the interface, so that it
// can be found again without a note.
const (
	tableBase    = 10000
	rulePriority = 30000 // before the main table, 32766
)

// connect gives the pair its addresses, routes and neighbours.
func connect(n *pair.Namespaces, p pair.Pair, result *types100.Result, src netip.Addr) error {
	if err := n.Up(p); err != nil {
		return err
	}
	var addrs []netip.Addr
	has := map[family]bool{}
	for _, ip := range result.IPs {
		a := plugins.Prefix(ip.Address).Addr()
		addrs, has[familyOf(a)] = append(addrs, a), true
		if err := n.AddAddress(n.Container, p.Index, p.Name, &netlink.Addr{IPNet: host(a)}); err != nil {
			return fmt.Errorf("give the container %s: %w", a, err)
		}
	}
	for _, f := range []family{v4, v6} {
		if !has[f] {
			continue
		}
		if err := connectContainer(n, p, f, addrs); err != nil {
			return err
		}
	}
	return connectHost(n, p, addrs, src)
}

func connectContainer(n *pair.Namespaces, p pair.Pair, f family, addrs []netip.Addr) error {
	err := n.Container.NeighAdd(&netlink.Neigh{
		LinkIndex: p.Index, Family: int(f), State: netlink.NUD_PERMANENT, IP: f.gateway().AsSlice(),
		HardwareAddr: p.HostMAC,
	})
	if err != nil {
		return fmt.Errorf("note the hardware address of the gateway %s: %w", f.gateway(), err)
	}
	err = addRoutes(n.Container, f.routes(p.Index, 0, 0))
	if errors.Is(err, unix.EEXIST) {
		return connectFurther(n, p, f, addrs)
	}
	return err
}

// routes are the container's ways by one interface.
func (f family) routes(index, table, priority int) []netlink.Route {
	everywhere := f.everywhere()
	way := netlink.Route{LinkIndex: index, Dst: &everywhere, Gw: f.gateway().AsSlice(), Table: table,
		Priority: priority}
	if f == v6 {
		return []netlink.Route{way} // a gateway of link scope needs no route to it
	}
	return []netlink.Route{
		{LinkIndex: index, Dst: host(f.gateway()), Scope: netlink.SCOPE_LINK, Table: table, Priority: priority}, way,
	}
}

// connectFurther is for an interface beside one that has the default route already. What comes from its addresses
// leaves by it, whatever the main table says; there its routes stand behind, for those who bind to the interface.
func connectFurther(n *pair.Namespaces, p pair.Pair, f family, addrs []netip.Addr) error {
	table := tableBase + p.Index
	behind := p.Index
	if f == v6 {
		behind += 1024 // what the kernel gives a route without a priority
	}
	if err := addRoutes(n.Container, append(f.routes(p.Index, 0, behind), f.routes(p.Index, table, 0)...)); err != nil {
		return err
	}
	for _, a := range addrs {
		if familyOf(a) != f {
			continue
		}
		rule := netlink.NewRule()
		rule.Family, rule.Src, rule.Table, rule.Priority = int(f), host(a), table, rulePriority
		if err := n.Container.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("route what comes from %s by %s: %w", a, p.Name, err)
		}
	}
	return nil
}

// forget removes the rules of an interface that goes while its namespace stays. The kernel removes all else with it.
// What it can not remove leads to an empty table and from there to the main one, which does no harm.
func forget(n *pair.Namespaces, link netlink.Link) {
	for _, f := range []family{v4, v6} {
		rule := netlink.NewRule()
		rule.Family, rule.Table, rule.Priority = int(f), tableBase+link.Attrs().Index, rulePriority
		for n.Container.RuleDel(rule) == nil { // one at a time, until there is none
			continue
		}
	}
}

func connectHost(n *pair.Namespaces, p pair.Pair, addrs []netip.Addr, src netip.Addr) error {
	six := false
	for _, a := range addrs {
		route := netlink.Route{LinkIndex: p.HostIndex, Dst: host(a), Scope: netlink.SCOPE_LINK}
		if familyOf(a) == v6 && !six {
			six = true
			gateway := &netlink.Addr{IPNet: plugins.IPNet(netip.PrefixFrom(v6.gateway(), 64)),
				Scope: unix.RT_SCOPE_LINK}
			if err := n.AddAddress(n.Host, p.HostIndex, p.HostName, gateway); err != nil &&
				!errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("give the host's end %s: %w", v6.gateway(), err)
			}
		}
		if src.IsValid() && familyOf(src) == familyOf(a) {
			route.Src = src.AsSlice()
		}
		if err := n.Host.RouteAdd(&route); err != nil && !leadsThere(n.Host, &route) {
			return explainRoute(n, route, a, src, err)
		}
	}
	return nil
}

// leadsThere is true if a route for the one address of a route leads through its link already.
func leadsThere(h *netlink.Handle, want *netlink.Route) bool {
	found, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Dst: want.Dst, LinkIndex: want.LinkIndex},
		netlink.RT_FILTER_DST|netlink.RT_FILTER_OIF)
	return err == nil && len(found) > 0
}

// explainRoute says what the kernel's error means for somebody who has to repair it.
func explainRoute(n *pair.Namespaces, route netlink.Route, a, src netip.Addr, err error) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		by := "another interface"
		if old, listErr := n.Host.RouteListFiltered(int(familyOf(a)), &netlink.Route{Dst: route.Dst},
			netlink.RT_FILTER_DST); listErr == nil && len(old) > 0 {
			if link, linkErr := n.Host.LinkByIndex(old[0].LinkIndex); linkErr == nil {
				by = link.Attrs().Name
			}
		}
		return fmt.Errorf("the host routes %s to %s already, so that another pod may have this address: %w", a, by, err)
	case route.Src != nil && errors.Is(err, unix.EINVAL):
		return fmt.Errorf("route %s from %s: is routeSrc an address of this host? %w", a, src, err)
	}
	return fmt.Errorf("route %s to the container: %w", a, err)
}

func addRoutes(h *netlink.Handle, routes []netlink.Route) error {
	for i := range routes {
		if err := h.RouteAdd(&routes[i]); err != nil {
			return fmt.Errorf("add the route to %s: %w", routes[i].Dst, err)
		}
	}
	return nil
}
