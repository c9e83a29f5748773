//go:build linux

package kernel

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"galaxy/kernel/dump"
)

// HostAddress is an address of a link of this host at which others may reach it.
type HostAddress struct {
	Addr netip.Addr
	Link string
	// Inner is a link that is there for what runs on this host, as a bridge of containers.
	Inner bool
	// Passing is an address that goes away by itself: a temporary one (RFC 8981), or one whose time is nearly up.
	Passing bool
}

// inner are the kinds of links that lead to what runs on this host.
var inner = map[string]bool{"bridge": true, "tun": true, "dummy": true, "ipip": true, "ip6tnl": true, "vxlan": true,
	"sit": true, "wireguard": true, "ifb": true, "nlmon": true}

// HostAddresses are the global addresses of the links that are no loopback and not ours, in the kernel's order.
func (k *Kernel) HostAddresses(ctx context.Context) ([]HostAddress, error) {
	links, err := dump.Whole(ctx, k.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list the links: %w", err)
	}
	at := map[int]netlink.Link{}
	for _, link := range links {
		if a := link.Attrs(); a.Flags&net.FlagLoopback == 0 && !ours(a.Name) {
			at[a.Index] = link
		}
	}
	addresses, err := dump.Whole(ctx, func() ([]netlink.Addr,
		error) {
		return k.handle.AddrList(nil, netlink.FAMILY_ALL)
	})
	if err != nil {
		return nil, fmt.Errorf("list the addresses of the links: %w", err)
	}
	var found []HostAddress
	for _, a := range addresses {
		link, known := at[a.LinkIndex]
		addr := toPrefix(a.IPNet).Addr()
		if !known || !addr.IsGlobalUnicast() || addr.Is6() && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			continue
		}
		// For IPv4 the bit of IFA_F_TEMPORARY says that an address is the second of its network (linux/if_addr.h).
		passing := addr.Is6() && a.Flags&(unix.IFA_F_TEMPORARY|unix.IFA_F_DEPRECATED) != 0
		found = append(found, HostAddress{Addr: addr, Link: link.Attrs().Name, Inner: inner[link.Type()],
			Passing: passing})
	}
	return found, nil
}
