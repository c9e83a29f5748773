//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"galaxy/kernel/dump"
)

// Kernel reads and writes one network namespace. It may be used by several goroutines.
type Kernel struct {
	ns     netns.NsHandle
	handle *netlink.Handle // for links and addresses, which are few
	routes *conn
	apply  sync.Mutex // one Apply at a time
}

// Open opens a namespace; netns.None() is the one of the caller. The handle must stay open as long as the Kernel is
// used.
func Open(ns netns.NsHandle) (*Kernel, error) {
	k := &Kernel{ns: ns}
	var err error
	if ns.IsOpen() {
		k.handle, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	} else {
		k.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if err != nil {
		return nil, fmt.Errorf("open netlink for links: %w", err)
	}
	if k.routes, err = dial(ns); err != nil {
		k.handle.Close()
		return nil, err
	}
	return k, nil
}

// Close ends the use of the namespace and leaves all routes and tunnels as they are.
func (k *Kernel) Close() {
	k.routes.close()
	k.handle.Close()
}

// Read is what of the kernel's state is ours.
func (k *Kernel) Read(ctx context.Context) (State, error) {
	s := State{Routes: map[netip.Prefix]Route{}, Tunnels: map[string]Tunnel{}}
	if err := k.readTunnels(ctx, s.Tunnels); err != nil {
		return State{}, err
	}
	names := map[int]string{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := k.list(ctx, family, Protocol)
		if err != nil {
			return State{}, err
		}
		for _, r := range found {
			if r.tos != 0 {
				continue // for packets with a traffic class only: no route of ours, and in nobody's way
			}
			if r.Link, err = k.linkName(r.link, names); err != nil {
				return State{}, err
			}
			// Of two with one destination the kernel uses the first; the other is nobody's.
			if _, second := s.Routes[r.Dst]; second || r.Metric != 0 {
				s.Strays = append(s.Strays, r.Route)
			} else {
				s.Routes[r.Dst] = r.Route
			}
		}
	}
	return s, nil
}

// list reads the routes of a protocol in the main table; 0 is any protocol.
func (k *Kernel) list(ctx context.Context, family, protocol uint8) ([]read, error) {
	var found []read
	err := k.routes.dump(ctx, listRoutes(family, protocol), func() { found = found[:0] },
		func(kind uint16, body []byte) error {
			if kind != unix.RTM_NEWROUTE {
				return nil
			}
			r, err := parseRoute(body)
			if err == nil && r.table == unix.RT_TABLE_MAIN && (protocol == 0 || r.protocol == protocol) {
				found = append(found, r)
			}
			return err
		})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // a namespace in which there was never a route has no table
	}
	if err != nil {
		return nil, fmt.Errorf("list the routes of protocol %d: %w", protocol, err)
	}
	return found, nil
}

// linkName is the name of a link, or nothing for one that is gone: its routes are on their way out too.
func (k *Kernel) linkName(index int, names map[int]string) (string, error) {
	if name, known := names[index]; known || index == 0 {
		return name, nil
	}
	link, err := k.handle.LinkByIndex(index)
	if errors.As(err, &netlink.LinkNotFoundError{}) || errors.Is(err, unix.ENODEV) {
		names[index] = ""
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read link %d: %w", index, err)
	}
	names[index] = link.Attrs().Name
	return names[index], nil
}

// LocalNetworks are the addresses of this namespace's links with the networks that they reach; links that are down
// count, so that a link that comes and goes does not change what is wanted. Loopback, link-local addresses and our own
// tunnels are left out.
func (k *Kernel) LocalNetworks(ctx context.Context) ([]LocalNetwork, error) {
	links, err := dump.Whole(ctx, k.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list the links: %w", err)
	}
	at := map[int]*netlink.LinkAttrs{}
	for _, link := range links {
		if a := link.Attrs(); a.Flags&net.FlagLoopback == 0 && !ours(a.Name) {
			at[a.Index] = a
		}
	}
	addresses, err := dump.Whole(ctx, func() ([]netlink.Addr,
		error) {
		return k.handle.AddrList(nil, netlink.FAMILY_ALL)
	})
	if err != nil {
		return nil, fmt.Errorf("list the addresses of the links: %w", err)
	}
	var found []LocalNetwork
	for _, a := range addresses {
		link, known := at[a.LinkIndex]
		own := toPrefix(a.IPNet)
		if !known || !own.IsValid() || own.Addr().IsLinkLocalUnicast() {
			continue
		}
		reached := own
		if a.Peer != nil {
			reached = toPrefix(a.Peer) // a point-to-point link
		}
		found = append(found, LocalNetwork{Link: link.Name, MTU: link.MTU, Address: own.Addr(),
			Prefix: reached.Masked()})
	}
	return found, nil
}

func toAddr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func toPrefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(toAddr(n.IP), bits)
}
