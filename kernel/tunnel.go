//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"galaxy/kernel/dump"
)

const (
	// tunnelTTL is for the outer packet: the hops between two nodes have nothing to do with those that the pods see.
	tunnelTTL = 64
	// ignoreEncapLimit is IP6_TNL_F_IGN_ENCAP_LIMIT: without it every packet carries 8 bytes more.
	ignoreEncapLimit = 1
)

// ErrNoTunnels is returned when the kernel knows no tunnels of a mode.
var ErrNoTunnels = errors.New("the kernel knows no such tunnels")

func ours(link string) bool { return strings.HasPrefix(link, TunnelPrefix) }

// readTunnels reads the tunnels that carry our name.
func (k *Kernel) readTunnels(ctx context.Context, into map[string]Tunnel) error {
	links, err := dump.Whole(ctx, k.handle.LinkList)
	if err != nil {
		return fmt.Errorf("list the links: %w", err)
	}
	for _, link := range links {
		t, ok := tunnelOf(link)
		if !ok {
			continue
		}
		addresses, err := k.addressesOf(ctx, link)
		if err != nil {
			return err
		}
		if len(addresses) == 1 {
			t.Addr = addresses[0]
		}
		into[t.Name] = t
	}
	return nil
}

// tunnelOf is a link as a tunnel of ours; false for any other link. A link of another kind with our name is not ours:
// to create a tunnel of that name fails, and says so.
func tunnelOf(link netlink.Link) (Tunnel, bool) {
	a := link.Attrs()
	if !ours(a.Name) {
		return Tunnel{}, false
	}
	t := Tunnel{Name: a.Name, MTU: a.MTU, Down: a.Flags&net.FlagUp == 0}
	asMade := false
	switch l := link.(type) {
	case *netlink.Iptun:
		t.Mode, t.Local = IPIP, toAddr(l.Local)
		asMade = none(l.Remote) && !l.FlowBased && l.EncapType == 0 && l.Ttl == tunnelTTL && l.PMtuDisc == 1 &&
			l.Proto == unix.IPPROTO_IPIP
	case *netlink.Ip6tnl:
		t.Mode, t.Local = IP6Tnl, toAddr(l.Local)
		asMade = none(l.Remote) && !l.FlowBased && l.EncapType == 0 && l.Ttl == tunnelTTL &&
			l.Flags&ignoreEncapLimit != 0 && l.Proto == unix.IPPROTO_IPV6
	default:
		return Tunnel{}, false
	}
	if !asMade {
		t.Mode += " changed by hand"
	}
	return t, true
}

func none(ip net.IP) bool { return ip == nil || ip.IsUnspecified() }

// addressesOf are the addresses of a link, without the link-local one that IPv6 gives it.
func (k *Kernel) addressesOf(ctx context.Context, link netlink.Link) ([]netip.Prefix, error) {
	found, err := dump.Whole(ctx, func() ([]netlink.Addr, error) { return k.handle.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
	}
	var addresses []netip.Prefix
	for _, a := range found {
		if p := toPrefix(a.IPNet); p.IsValid() && !p.Addr().IsLinkLocalUnicast() {
			addresses = append(addresses, p)
		}
	}
	return addresses, nil
}

func deviceOf(t Tunnel) netlink.Link {
	attributes := netlink.LinkAttrs{Name: t.Name, MTU: t.MTU}
	if t.Mode == IP6Tnl {
		return &netlink.Ip6tnl{
			LinkAttrs: attributes, Local: t.Local.AsSlice(), Ttl: tunnelTTL, Flags: ignoreEncapLimit,
			Proto: unix.IPPROTO_IPV6,
		}
	}
	return &netlink.Iptun{LinkAttrs: attributes, Local: t.Local.AsSlice(), Ttl: tunnelTTL, PMtuDisc: 1,
		Proto: unix.IPPROTO_IPIP}
}

// writeTunnel applies a change of a tunnel and counts what it wrote.
func (k *Kernel) writeTunnel(ctx context.Context, c Change, writes *int) error {
	write := func(what string, do func() error) error {
		*writes++
		if err := do(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	if c.Op == AddTunnel {
		err := write("create it", func() error { return k.handle.LinkAdd(deviceOf(c.Tunnel)) })
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			return fmt.Errorf("%w: load the module %s (modprobe %s): %w", ErrNoTunnels, c.Tunnel.Mode, c.Tunnel.Mode,
				err)
		case errors.Is(err, unix.EEXIST):
			return fmt.Errorf("%s: %w", k.inTheWay(ctx, c.Tunnel), err)
		case err != nil:
			return err
		}
	}
	link, err := k.handle.LinkByName(c.Tunnel.Name)
	if err != nil {
		if c.Op == DeleteTunnel && errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		return fmt.Errorf("find it: %w", err)
	}
	if c.Op == DeleteTunnel {
		if _, ok := tunnelOf(link); !ok {
			return fmt.Errorf("it is a %s now, and not ours", link.Type())
		}
		return write("delete it", func() error { return k.handle.LinkDel(link) })
	}
	return k.adjust(ctx, link, c.Tunnel, write)
}

// inTheWay says which device keeps the kernel from making a tunnel: one of its name, or another of the same kind with
// the same ends, such as a former system has left.
func (k *Kernel) inTheWay(ctx context.Context, want Tunnel) string {
	if _, err := k.handle.LinkByName(want.Name); err == nil {
		return "there is a device of that name that is no such tunnel; delete or rename it"
	}
	links, err := dump.Whole(ctx, k.handle.LinkList)
	if err == nil {
		for _, link := range links {
			if sameEnds(link, want) {
				name := link.Attrs().Name
				return fmt.Sprintf("the device %s has the same ends, as a former network plugin leaves it: when "+
					"nothing uses it any more, ip link del %s", name, name)
			}
		}
	}
	return "another tunnel has the same ends"
}

// sameEnds is true for a tunnel that the kernel does not make another one beside.
func sameEnds(link netlink.Link, want Tunnel) bool {
	switch l := link.(type) {
	case *netlink.Iptun:
		return want.Mode == IPIP && toAddr(l.Local) == want.Local && none(l.Remote)
	case *netlink.Ip6tnl:
		return want.Mode == IP6Tnl && toAddr(l.Local) == want.Local && none(l.Remote)
	}
	return false
}

// adjust changes what differs of a tunnel, in place.
func (k *Kernel) adjust(ctx context.Context, link netlink.Link, want Tunnel,
	write func(string, func() error) error) error {
	have, ok := tunnelOf(link)
	if !ok || have.Mode != want.Mode {
		return fmt.Errorf("it is a %s now; read the state again", link.Type())
	}
	if have.Local != want.Local {
		if err := write("set its local address",
			func() error { return k.handle.LinkModify(deviceOf(want)) }); err != nil {
			return err
		}
	}
	if have.MTU != want.MTU {
		if err := write("set its MTU", func() error { return k.handle.LinkSetMTU(link, want.MTU) }); err != nil {
			return err
		}
	}
	if have.Down {
		if err := write("set it up", func() error { return k.handle.LinkSetUp(link) }); err != nil {
			return err
		}
	}
	addresses, err := k.addressesOf(ctx, link)
	if err != nil {
		return err
	}
	if want.Addr.IsValid() && !slices.Contains(addresses, want.Addr) {
		if err := write("add its address", func() error {
			return k.handle.AddrAdd(link,
				toNetlink(want.Addr))
		}); err != nil {
			return err
		}
	}
	for _, a := range addresses {
		if a == want.Addr {
			continue
		}
		if err := write("remove address "+a.String(),
			func() error { return k.handle.AddrDel(link, toNetlink(a)) }); err != nil {
			return err
		}
	}
	return nil
}

// toNetlink is an address of ours, which nobody else has. Without IFA_F_NODAD an IPv6 address is tentative until the
// kernel comes round to it, even on a tunnel, and a route with it as its source is refused until then.
func toNetlink(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}
