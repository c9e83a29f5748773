// Package veth is galaxy-veth: a pod whose traffic is routed, not bridged. The pod has its addresses alone (/32, /128),
// and sends everything to one gateway that exists nowhere but in its neighbour table, as the other end of its veth
// pair. The host has one route per address.
//
// The host must forward (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding), which is the agent's task. No proxy ARP is
// needed, and strict reverse path filters are satisfied: the way to an address is the way from it. A second network of
// a pod gets a routing table of its own for that reason.
package veth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"galaxy/plugins"
	"galaxy/plugins/pair"
)

// Name is the type in a network configuration.
const Name = "galaxy-veth"

// Plugin is galaxy-veth.
func Plugin() plugins.Plugin {
	return plugins.Plugin{
		Name:  Name,
		About: "galaxy-veth joins a pod to its host by a routed veth pair",
		Add:   add, Del: del, Check: check, GC: collect, Status: status, Repair: repair,
	}
}

type config struct {
	types.PluginConf
	// RouteSrc is the source address of what the host itself sends to the pod.
	RouteSrc netip.Addr `json:"routeSrc"`
	// MTU is that of both ends; that of the host's way out if 0.
	MTU int `json:"mtu"`
}

func parse(args *skel.CmdArgs) (config, error) {
	var c config
	err := plugins.DecodeConfig(args, &c)
	return c, err
}

func (c config) validate(args *skel.CmdArgs) error {
	switch {
	case c.IPAM.Type == "":
		return plugins.Errorf(types.ErrInvalidNetworkConfig,
			"network %q has no ipam.type: galaxy-veth needs an IPAM to give the pod an address", c.Name)
	case c.MTU < 0 || c.MTU > 65535:
		return plugins.Errorf(types.ErrInvalidNetworkConfig,
			"network %q: mtu is %d, want one from 68 to 65535, or 0 for that of the host", c.Name, c.MTU)
	case args.ContainerID == "":
		return plugins.Errorf(types.ErrInvalidEnvironmentVariables, "CNI_CONTAINERID is empty")
	}
	if err := utils.ValidateInterfaceName(args.IfName); err != nil {
		return err
	}
	return nil
}

func add(ctx context.Context, host plugins.Host, args *skel.CmdArgs) (result *types100.Result, err error) {
	conf, err := parse(args)
	if err != nil {
		return nil, err
	}
	if err := conf.validate(args); err != nil {
		return nil, err
	}
	n, err := pair.Open(args.Netns)
	if err != nil {
		return nil, plugins.In("ADD "+args.ContainerID, types.ErrInvalidNetNS, err)
	}
	defer n.Close()
	// The pair comes first, for its name is the claim: of two ADDs for one interface the later fails here, before it
	// could give back the address of the earlier.
	p, err := n.Create(pair.Spec{ContainerID: args.ContainerID, IfName: args.IfName, MTU: conf.mtu(n.Host),
		Plugin: Name, Network: conf.Name})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			ctx := context.WithoutCancel(ctx)
			err, result = plugins.Undone(err, n.Delete(p), plugins.DelIPAM(ctx, host, conf.IPAM.Type, args)), nil
		}
	}()
	leased, err := plugins.AddIPAM(ctx, host, conf.IPAM.Type, args)
	if err != nil {
		return nil, err
	}
	result = describe(n, p, leased)
	if err := connect(n, p, result, conf.RouteSrc); err != nil {
		return nil, plugins.In(fmt.Sprintf("connect %s of container %s", args.IfName, args.ContainerID),
			plugins.ErrKernel, err)
	}
	return result, nil
}

// describe is the result: the addresses of IPAM as those of the container's end, and the routes of this plugin.
func describe(n *pair.Namespaces, p pair.Pair, leased *types100.Result) *types100.Result {
	result := &types100.Result{CNIVersion: types100.ImplementedSpecVersion, Interfaces: n.Interfaces(p),
		DNS: leased.DNS}
	has := map[family]bool{}
	for _, ip := range leased.IPs {
		addr := plugins.Prefix(ip.Address).Addr()
		f := familyOf(addr)
		result.IPs = append(result.IPs, &types100.IPConfig{
			Interface: types100.Int(1), Address: *host(addr), Gateway: f.gateway().AsSlice(),
		})
		if has[f] {
			continue
		}
		has[f] = true
		if f == v4 {
			result.Routes = append(result.Routes, &types.Route{Dst: *host(f.gateway())})
		}
		result.Routes = append(result.Routes, &types.Route{Dst: f.everywhere(), GW: f.gateway().AsSlice()})
	}
	return result
}

// host is the network of one address.
func host(a netip.Addr) *net.IPNet { return plugins.IPNet(netip.PrefixFrom(a, a.BitLen())) }

func del(ctx context.Context, host plugins.Host, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	remove := func() error {
		if err := pair.Remove(args.ContainerID, args.Netns, args.IfName, forget); err != nil {
			return plugins.In(fmt.Sprintf("DEL %s of container %s", args.IfName, args.ContainerID), plugins.ErrKernel,
				err)
		}
		return nil
	}
	later := host.Later != nil && withdraw(conf, args) == nil
	if !later {
		if err := remove(); err != nil {
			return err
		}
	}
	// Not before nothing leads here any more, so that nobody gets an address that does.
	if err := plugins.DelIPAM(ctx, host, conf.IPAM.Type, args); err != nil {
		return err
	}
	if later {
		host.Later(remove)
	}
	return nil
}

// withdraw deletes the host's routes to the container, which takes no time; what is left then is out of everybody's
// way.
func withdraw(conf config, args *skel.CmdArgs) error {
	result, err := plugins.PrevResult(&conf.PluginConf)
	if err != nil {
		return err // it is not known which they are
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(pair.HostName(args.ContainerID, args.IfName))
	if err != nil {
		return err
	}
	for _, ip := range result.IPs {
		// Of whatever scope: the kernel compares scopes, and says that there is no such route (fib_table_delete).
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: host(plugins.Prefix(ip.Address).Addr()),
			Scope: netlink.SCOPE_NOWHERE}
		if err := h.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
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

// mtu is the configured one, or that of the link by which the host reaches the world.
func (c config) mtu(h *netlink.Handle) int {
	if c.MTU != 0 {
		return c.MTU
	}
	// addresses of nobody, for documentation
	for _, world := range []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")} {
		routes, err := h.RouteGet(world)
		if err != nil || len(routes) == 0 {
			continue
		}
		if out, err := h.LinkByIndex(routes[0].LinkIndex); err == nil && out.Attrs().Flags&net.FlagLoopback == 0 {
			return out.Attrs().MTU
		}
	}
	return 1500
}
