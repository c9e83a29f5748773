package bridge

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"

	"galaxy/plugins"
	"galaxy/plugins/pair"
)

func add(ctx context.Context, host plugins.Host, args *skel.CmdArgs) (result *types100.Result, err error) {
	conf, err := parse(args)
	if err != nil {
		return nil, err
	}
	if err := conf.validate(args); err != nil {
		return nil, err
	}
	if conf.IPMasq && host.Log != nil {
		host.Log.Debug("galaxy-bridge leaves ipMasq to the agent", zap.String("network", conf.Name))
	}
	n, err := pair.Open(args.Netns)
	if err != nil {
		return nil, plugins.In("ADD "+args.ContainerID, types.ErrInvalidNetNS, err)
	}
	defer n.Close()
	bridge, err := ensureBridge(n.Host, conf)
	if err != nil {
		return nil, plugins.In("make the bridge "+conf.Bridge, plugins.ErrKernel, err)
	}
	// As in galaxy-veth, the name of the pair is the claim, and comes before the address.
	p, err := n.Create(pair.Spec{
		ContainerID: args.ContainerID, IfName: args.IfName, MTU: conf.MTU, Master: bridge.Attrs().Index, Plugin: Name,
		Network: conf.Name,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			ctx := context.WithoutCancel(ctx)
			err, result = plugins.Undone(err, n.Delete(p), plugins.DelIPAM(ctx, host, conf.IPAM.Type, args)), nil
		}
	}()
	leased := &types100.Result{}
	if conf.IPAM.Type != "" {
		if leased, err = plugins.AddIPAM(ctx, host, conf.IPAM.Type, args); err != nil {
			return nil, err
		}
	}
	result = describe(n, p, bridge, leased, conf)
	if err := connect(n, p, bridge, result, conf); err != nil {
		return nil, plugins.In(fmt.Sprintf("connect %s of container %s to %s", args.IfName, args.ContainerID,
			conf.Bridge), plugins.ErrKernel, err)
	}
	return result, nil
}

// describe is the result: the bridge, both ends, and what IPAM said, with the gateways that it left to this plugin.
func describe(n *pair.Namespaces, p pair.Pair, bridge netlink.Link, leased *types100.Result,
	conf config) *types100.Result {
	at := bridge.Attrs()
	result := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion, DNS: conf.DNS, Routes: leased.Routes,
		Interfaces: append([]*types100.Interface{{Name: at.Name, Mac: at.HardwareAddr.String(), Mtu: at.MTU}},
			n.Interfaces(p)...),
	}
	if !leased.DNS.IsEmpty() {
		result.DNS = leased.DNS
	}
	for _, ip := range leased.IPs {
		gateway := ip.Gateway
		if gateway == nil && conf.IsGateway {
			gateway = plugins.Prefix(ip.Address).Masked().Addr().Next().AsSlice() // the first address of the network
		}
		result.IPs = append(result.IPs, &types100.IPConfig{Interface: types100.Int(2), Address: ip.Address,
			Gateway: gateway})
	}
	if conf.IsDefaultGateway {
		addDefaults(result)
	}
	return result
}

// addDefaults adds a default route for every family that has an address and no such route.
func addDefaults(result *types100.Result) {
	for _, ip := range result.IPs {
		gateway := plugins.Prefix(net.IPNet{IP: ip.Gateway}).Addr()
		everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if gateway.Is6() {
			everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		has := false
		for _, route := range result.Routes {
			has = has || plugins.Prefix(route.Dst) == everywhere
		}
		if !has && gateway.IsValid() {
			result.Routes = append(result.Routes, &types.Route{Dst: *plugins.IPNet(everywhere), GW: ip.Gateway})
		}
	}
}

func del(ctx context.Context, host plugins.Host, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	if err := pair.Remove(args.ContainerID, args.Netns, args.IfName, nil); err != nil {
		return plugins.In(fmt.Sprintf("DEL %s of container %s", args.IfName, args.ContainerID), plugins.ErrKernel, err)
	}
	return plugins.DelIPAM(ctx, host, conf.IPAM.Type, args)
}

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
	if err := compare(n, args, conf, result); err != nil {
		return plugins.In(fmt.Sprintf("CHECK %s of container %s", args.IfName, args.ContainerID), plugins.ErrChanged,
			err)
	}
	return plugins.CheckIPAM(ctx, host, conf.IPAM.Type, args)
}

func collect(ctx context.Context, host plugins.Host, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	valid, err := plugins.ValidAttachments(args.StdinData)
	if err != nil {
		return err
	}
	if err := pair.Collect(Name, conf.Name, valid); err != nil {
		return plugins.In("GC of network "+conf.Name, plugins.ErrKernel, err)
	}
	return plugins.GCIPAM(ctx, host, conf.IPAM.Type, args)
}

func status(ctx context.Context, host plugins.Host, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	return plugins.StatusIPAM(ctx, host, conf.IPAM.Type, args)
}
