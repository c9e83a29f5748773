package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/skel"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"galaxy/kernel/dump"
	"galaxy/plugins"
	"galaxy/plugins/pair"
)

// ensureBridge finds or makes the bridge. Two ADDs may come at the same time; the one that is late uses what the other
// made.
func ensureBridge(h *netlink.Handle, conf config) (netlink.Link, error) {
	link, err := h.LinkByName(conf.Bridge)
	if err == nil {
		return usable(h, link)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Flags = conf.Bridge, conf.MTU, net.FlagUp
	// Without an address of its own a bridge takes that of some port, and changes it when pods come and go.
	attrs.HardwareAddr = pair.NewMAC()
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	if link, err = h.LinkByName(conf.Bridge); err != nil {
		return nil, err
	}
	return usable(h, link)
}

func usable(h *netlink.Handle, link netlink.Link) (netlink.Link, error) {
	if link.Type() != "bridge" {
		return nil, fmt.Errorf("there is a %s of this name: choose another in the configuration", link.Type())
	}
	if link.Attrs().Flags&net.FlagUp != 0 {
		return link, nil
	}
	return link, h.LinkSetUp(link)
}

func connect(n *pair.Namespaces, p pair.Pair, bridge netlink.Link, result *types100.Result, conf config) error {
	if conf.HairpinMode {
		if err := n.Host.LinkSetHairpin(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: p.HostIndex}},
			true); err != nil {
			return fmt.Errorf("let %s send back what it came with: %w", p.HostName, err)
		}
	}
	for _, ip := range result.IPs {
		if err := n.AddAddress(n.Container, p.Index, p.Name, &netlink.Addr{IPNet: &ip.Address}); err != nil {
			return fmt.Errorf("give the container %s: %w", ip.Address.String(), err)
		}
		if conf.IsGateway {
			if err := ensureGateway(n, bridge, ip, conf.ForceAddress); err != nil {
				return err
			}
		}
	}
	// Neighbours that knew the address at another pod learn when the link comes up that it has moved.
	for _, name := range []string{"net/ipv4/conf/" + p.Name + "/arp_notify", "net/ipv6/conf/" + p.Name +
		"/ndisc_notify"} {
		_ = n.WriteSysctl(name, "1") // where it can not be said, they find out by themselves within seconds
	}
	if err := n.Up(p); err != nil {
		return err
	}
	return addRoutes(n.Container, p.Index, result)
}

// ensureGateway gives the bridge the gateway's address and lets the host forward.
func ensureGateway(n *pair.Namespaces, bridge netlink.Link, ip *types100.IPConfig, force bool) error {
	own := plugins.Prefix(ip.Address)
	gateway := netip.PrefixFrom(plugins.Prefix(net.IPNet{IP: ip.Gateway}).Addr(), own.Bits())
	forwarding, family := "net/ipv4/ip_forward", netlink.FAMILY_V4
	if gateway.Addr().Is6() {
		forwarding, family = "net/ipv6/conf/all/forwarding", netlink.FAMILY_V6
	}
	have, err := dump.Whole(context.Background(),
		func() ([]netlink.Addr, error) { return n.Host.AddrList(bridge, family) })
	if err != nil {
		return fmt.Errorf("list the addresses of the bridge: %w", err)
	}
	for _, a := range have {
		old := plugins.Prefix(*a.IPNet)
		switch {
		case old == gateway:
			return pair.WriteHostSysctl(forwarding, "1")
		case !old.Overlaps(gateway):
		case !force:
			return fmt.Errorf("the bridge has the address %s, want %s: delete it, or set forceAddress", old, gateway)
		default:
			if err := n.Host.AddrDel(bridge, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("take %s from the bridge: %w", old, err)
			}
		}
	}
	at := bridge.Attrs()
	err = n.AddAddress(n.Host, at.Index, at.Name, &netlink.Addr{IPNet: plugins.IPNet(gateway)})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("give the bridge %s: %w", gateway, err)
	}
	return pair.WriteHostSysctl(forwarding, "1")
}

// addRoutes adds the routes of the result. The first network of a pod wins a route that two want.
func addRoutes(h *netlink.Handle, index int, result *types100.Result) error {
	for _, want := range result.Routes {
		dst := want.Dst
		route := netlink.Route{LinkIndex: index, Dst: &dst, Gw: want.GW, MTU: want.MTU, AdvMSS: want.AdvMSS,
			Priority: want.Priority}
		if route.Gw == nil {
			route.Gw = gatewayFor(result, plugins.Prefix(dst).Addr().Is6())
		}
		if route.Gw == nil {
			route.Scope = netlink.SCOPE_LINK
		}
		if want.Table != nil {
			route.Table = *want.Table
		}
		if want.Scope != nil {
			route.Scope = netlink.Scope(*want.Scope)
		}
		if err := h.RouteAdd(&route); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add the route to %s: %w", dst.String(), err)
		}
	}
	return nil
}

func gatewayFor(result *types100.Result, six bool) net.IP {
	for _, ip := range result.IPs {
		if ip.Gateway != nil && plugins.Prefix(ip.Address).Addr().Is6() == six {
			return ip.Gateway
		}
	}
	return nil
}

// compare looks for what ADD made. A route is looked for by where it leads only, as another network may have won it.
func compare(n *pair.Namespaces, args *skel.CmdArgs, conf config, result *types100.Result) error {
	bridge, err := n.Host.LinkByName(conf.Bridge)
	if err != nil {
		return fmt.Errorf("find the bridge %s: %w", conf.Bridge, err)
	}
	hostEnd, err := n.CheckLink(n.Host, pair.HostName(args.ContainerID, args.IfName), result)
	if err != nil {
		return err
	}
	if hostEnd.Attrs().MasterIndex != bridge.Attrs().Index {
		return fmt.Errorf("%s is not in the bridge %s", hostEnd.Attrs().Name, conf.Bridge)
	}
	end, err := n.CheckLink(n.Container, args.IfName, result)
	if err != nil {
		return err
	}
	for _, ip := range pair.AddressesOf(result, args.IfName, args.Netns) {
		if err := pair.CheckAddress(n.Container, end, plugins.Prefix(ip.Address)); err != nil {
			return err
		}
		gateway := plugins.Prefix(net.IPNet{IP: ip.Gateway}).Addr()
		if conf.IsGateway && gateway.IsValid() {
			if err := pair.CheckAddress(n.Host, bridge,
				netip.PrefixFrom(gateway, plugins.Prefix(ip.Address).Bits())); err != nil {
				return err
			}
		}
	}
	for _, route := range result.Routes {
		family := netlink.FAMILY_V4
		if plugins.Prefix(route.Dst).Addr().Is6() {
			family = netlink.FAMILY_V6
		}
		dst := route.Dst
		have, err := dump.Whole(context.Background(), func() ([]netlink.Route, error) {
			return n.Container.RouteListFiltered(family, &netlink.Route{Dst: &dst}, netlink.RT_FILTER_DST)
		})
		if err != nil {
			return fmt.Errorf("list the routes of the container: %w", err)
		}
		if len(have) == 0 {
			return fmt.Errorf("the container has lost the route to %s", dst.String())
		}
	}
	return nil
}
