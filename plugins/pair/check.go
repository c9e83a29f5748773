package pair

import (
	"context"
	"fmt"
	"net/netip"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"galaxy/kernel/dump"
	"galaxy/plugins"
)

// CheckLink finds one end, and compares it with the result of the ADD.
func (n *Namespaces) CheckLink(h *netlink.Handle, name string, result *types100.Result) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	at, sandbox := link.Attrs(), ""
	if h == n.Container {
		sandbox = n.path
	}
	if link.Type() != "veth" {
		return nil, fmt.Errorf("%s is a %s, want a veth", name, link.Type())
	}
	if at.RawFlags&up == 0 {
		return nil, fmt.Errorf("%s is down", name)
	}
	for _, want := range result.Interfaces {
		if want.Name == name && want.Sandbox == sandbox && want.Mac != "" && want.Mac != at.HardwareAddr.String() {
			return nil, fmt.Errorf("%s has the hardware address %s, want %s", name, at.HardwareAddr, want.Mac)
		}
	}
	return link, nil
}

// up is IFF_UP.
const up = 1

// AddressesOf are the addresses of one interface of a container in a result; those that name no interface are taken
// too.
func AddressesOf(result *types100.Result, ifName, sandbox string) []*types100.IPConfig {
	var found []*types100.IPConfig
	for _, ip := range result.IPs {
		if ip.Interface != nil && *ip.Interface >= 0 && *ip.Interface < len(result.Interfaces) {
			if at := result.Interfaces[*ip.Interface]; at.Name != ifName || at.Sandbox != sandbox {
				continue
			}
		}
		found = append(found, ip)
	}
	return found
}

// CheckAddress looks for an address at a link.
func CheckAddress(h *netlink.Handle, link netlink.Link, want netip.Prefix) error {
	family := netlink.FAMILY_V4
	if want.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	have, err := dump.Whole(context.Background(), func() ([]netlink.Addr, error) { return h.AddrList(link, family) })
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
	}
	for _, a := range have {
		if plugins.Prefix(*a.IPNet) == want {
			return nil
		}
	}
	return fmt.Errorf("%s has lost the address %s", link.Attrs().Name, want)
}
