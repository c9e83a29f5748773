// Package loopback is loopback, the plugin that container runtimes run for every pod beside its network: it sets the pod's lo up.
// Runtimes look for a binary of that name, and so a node needs no plugins but ours.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/vishvananda/netlink"

	"galaxy/plugins"
	"galaxy/plugins/pair"
)

// Name is the type in a network configuration. It is the one that all runtimes know, not a word of ours.
const Name = "loopback"

const link = "lo"

// Plugin is loopback.
func Plugin() plugins.Plugin {
	return plugins.Plugin{
		Name:  Name,
		About: "loopback sets lo of a pod up, as every container runtime asks for",
		Add:   add, Del: del, Check: check,
	}
}

// add sets lo up, and gives what came before it in a list, or else the addresses that the kernel gives to lo.
func add(_ context.Context, _ plugins.Host, args *skel.CmdArgs) (*types100.Result, error) {
	var conf types.PluginConf
	if err := plugins.DecodeConfig(args, &conf); err != nil {
		return nil, err
	}
	var result *types100.Result
	err := inside(args, func(h *netlink.Handle, lo netlink.Link) error {
		if err := h.LinkSetUp(lo); err != nil {
			return err
		}
		var err error
		result, err = describe(h, lo, args.Netns)
		return err
	})
	if err != nil {
		return nil, plugins.In("ADD of lo of container "+args.ContainerID, plugins.ErrKernel, err)
	}
	if err := version.ParsePrevResult(&conf); err != nil {
		return nil, plugins.Errorf(types.ErrDecodingFailure, "read prevResult: %w", err)
	}
	if conf.PrevResult != nil {
		return types100.NewResultFromResult(conf.PrevResult)
	}
	return result, nil
}

func describe(h *netlink.Handle, lo netlink.Link, path string) (*types100.Result, error) {
	addrs, err := h.AddrList(lo, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list the addresses of lo: %w", err)
	}
	result := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{{Name: link, Mac: net.HardwareAddr(make([]byte, 6)).String(), Sandbox: path}},
	}
	for _, a := range addrs {
		result.IPs = append(result.IPs, &types100.IPConfig{Interface: types100.Int(0), Address: *a.IPNet})
	}
	return result, nil
}

// del sets lo down. A namespace that is gone has none, which is as good.
func del(_ context.Context, _ plugins.Host, args *skel.CmdArgs) error {
	err := inside(args, func(h *netlink.Handle, lo netlink.Link) error { return h.LinkSetDown(lo) })
	if err != nil && !errors.Is(err, pair.ErrNoNamespace) {
		return plugins.In("DEL of lo of container "+args.ContainerID, plugins.ErrKernel, err)
	}
	return nil
}

func check(_ context.Context, _ plugins.Host, args *skel.CmdArgs) error {
	err := inside(args, func(_ *netlink.Handle, lo netlink.Link) error {
		if lo.Attrs().Flags&net.FlagUp == 0 {
			return plugins.Errorf(plugins.ErrChanged, "it is down")
		}
		return nil
	})
	if err != nil {
		return plugins.In("CHECK of lo of container "+args.ContainerID, plugins.ErrKernel, err)
	}
	return nil
}

// inside gives a function lo of the container. The name that the runtime gives for the interface does not count: the kernel
// has one of the name lo in every namespace.
func inside(args *skel.CmdArgs, do func(*netlink.Handle, netlink.Link) error) error {
	n, err := pair.Open(args.Netns)
	if err != nil {
		return err
	}
	defer n.Close()
	lo, err := n.Container.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return do(n.Container, lo)
}
