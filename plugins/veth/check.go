package veth

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"galaxy/kernel/dump"
	"galaxy/plugins"
	"galaxy/plugins/pair"
)

func check(ctx context.Context, host plugins.Host, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	result, err := plugins.PrevResult(&conf.PluginConf)
	if err != nil {
		return err
	}
	n, err := pair.Open(args.Netns)
	if err != nil {
		return plugins.In("CHECK "+args.ContainerID, types.ErrInvalidNetNS, err)
	}
	defer n.Close()
	if err := compare(n, args, result); err != nil {
		return plugins.In(fmt.Sprintf("CHECK %s of container %s", args.IfName, args.ContainerID), plugins.ErrChanged,
			err)
	}
	return plugins.CheckIPAM(ctx, host, conf.IPAM.Type, args)
}

// compare looks for all that ADD made.
func compare(n *pair.Namespaces, args *skel.CmdArgs, result *types100.Result) error {
	hostEnd, err := n.CheckLink(n.Host, pair.HostName(args.ContainerID, args.IfName), result)
	if err != nil {
		return err
	}
	end, err := n.CheckLink(n.Container, args.IfName, result)
	if err != nil {
		return err
	}
	has := map[family]bool{}
	for _, ip := range pair.AddressesOf(result, args.IfName, args.Netns) {
		a := plugins.Prefix(ip.Address).Addr()
		has[familyOf(a)] = true
		if err := pair.CheckAddress(n.Container, end, netip.PrefixFrom(a, a.BitLen())); err != nil {
			return err
		}
		way, err := n.Host.RouteGet(a.AsSlice())
		if err != nil || len(way) == 0 || way[0].LinkIndex != hostEnd.Attrs().Index {
			return fmt.Errorf("the host does not route %s to %s", a, hostEnd.Attrs().Name)
		}
	}
	for f := range has {
		if err := f.compareContainer(n.Container, end.Attrs().Index, hostEnd.Attrs().HardwareAddr); err != nil {
			return err
		}
	}
	if len(has) == 0 {
		return fmt.Errorf("prevResult has no address for %s", args.IfName)
	}
	return nil
}

// compareContainer looks for the routes and the neighbour of a family.
func (f family) compareContainer(h *netlink.Handle, index int, hostMAC net.HardwareAddr) error {
	have, err := dump.Whole(context.Background(), func() ([]netlink.Route, error) {
		return h.RouteListFiltered(int(f), &netlink.Route{LinkIndex: index}, netlink.RT_FILTER_OIF)
	})
	if err != nil {
		return fmt.Errorf("list the routes of the container: %w", err)
	}
	for _, want := range f.routes(index, 0, 0) {
		if !hasRoute(have, want) {
			return fmt.Errorf("the container has lost the route to %s", want.Dst)
		}
	}
	neighbours, err := dump.Whole(context.Background(),
		func() ([]netlink.Neigh, error) { return h.NeighList(index, int(f)) })
	if err != nil {
		return fmt.Errorf("list the neighbours of the container: %w", err)
	}
	for _, neighbour := range neighbours {
		if a, ok := netip.AddrFromSlice(neighbour.IP); ok && a.Unmap() == f.gateway() &&
			bytes.Equal(neighbour.HardwareAddr, hostMAC) {
			return nil
		}
	}
	return fmt.Errorf("the container does not know %s as the gateway %s", hostMAC, f.gateway())
}

func hasRoute(have []netlink.Route, want netlink.Route) bool {
	for _, route := range have {
		// A default route is listed with or without a destination, by the release of the library.
		dst := want.Dst.String()
		if route.Dst != nil {
			dst = route.Dst.String()
		} else if ones, _ := want.Dst.Mask.Size(); ones != 0 {
			continue
		}
		if dst == want.Dst.String() && route.Gw.Equal(want.Gw) {
			return true
		}
	}
	return false
}
