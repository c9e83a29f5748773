package pair

import (
	"errors"
	"fmt"
	"net/netip"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"galaxy/plugins"
)

// RepairLink finds the host's end of a container's interface and sets it up. It is nil if it is not there, and an error
// if what has its name is not the one that the result of the ADD knows.
func RepairLink(h *netlink.Handle, containerID, ifName string,
	result *types100.Result) (link netlink.Link, wasDown bool, err error) {
	name := HostName(containerID, ifName)
	link, err = h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("find %s: %w", name, err)
	}
	if link.Type() != "veth" {
		return nil, false, fmt.Errorf("%s is a %s, want a veth", name, link.Type())
	}
	for _, want := range result.Interfaces {
		if want.Name == name && want.Mac != "" && want.Mac != link.Attrs().HardwareAddr.String() {
			return nil, false, fmt.Errorf("%s has the hardware address %s, want %s", name, link.Attrs().HardwareAddr,
				want.Mac)
		}
	}
	if link.Attrs().RawFlags&up != 0 {
		return link, false, nil
	}
	if err := h.LinkSetUp(link); err != nil {
		return nil, true, fmt.Errorf("set %s up: %w", name, err)
	}
	return link, true, nil
}

// AddressesAt are the addresses of one interface of a container in a result, whatever path its namespace has.
func AddressesAt(result *types100.Result, ifName string) []netip.Addr {
	sandbox := ""
	for _, at := range result.Interfaces {
		if at.Name == ifName && at.Sandbox != "" {
			sandbox = at.Sandbox
		}
	}
	var found []netip.Addr
	for _, ip := range AddressesOf(result, ifName, sandbox) {
		if a := plugins.Prefix(ip.Address).Addr(); a.IsValid() {
			found = append(found, a)
		}
	}
	return found
}
