package veth

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"galaxy/plugins"
	"galaxy/plugins/pair"
)

// repair sets the host's end up again, and makes its routes to the container and its address as a gateway again.
func repair(_ context.Context, host plugins.Host, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	result, err := plugins.PrevResult(&conf.PluginConf)
	if err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink of the host: %w", err)
	}
	defer h.Close()
	link, wasDown, err := pair.RepairLink(h, args.ContainerID, args.IfName, result)
	if err != nil || link == nil {
		return err
	}
	lost := lostBy(h, link, pair.AddressesAt(result, args.IfName))
	if len(lost) > 0 {
		p := pair.Pair{HostName: link.Attrs().Name, HostIndex: link.Attrs().Index}
		if err := connectHost(&pair.Namespaces{Host: h}, p, lost, conf.RouteSrc); err != nil {
			return err
		}
	}
	if host.Log != nil && (wasDown || len(lost) > 0) {
		host.Log.Info("made again what the host had lost of a container's interface",
			zap.String("container", args.ContainerID), zap.String("interface", args.IfName),
			zap.String("link", link.Attrs().Name), zap.Bool("wasDown", wasDown), zap.Stringers("addresses", lost))
	}
	return nil
}

// lostBy are the addresses to which the host has no route through a link, or for which the link is no gateway.
func lostBy(h *netlink.Handle, link netlink.Link, addresses []netip.Addr) []netip.Addr {
	var lost []netip.Addr
	for _, a := range addresses {
		way, err := h.RouteGet(a.AsSlice())
		routed := err == nil && len(way) > 0 && way[0].LinkIndex == link.Attrs().Index
		if !routed || a.Is6() && pair.CheckAddress(h, link, netip.PrefixFrom(v6.gateway(), 64)) != nil {
			lost = append(lost, a)
		}
	}
	return lost
}
