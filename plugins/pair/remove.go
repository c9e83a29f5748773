package pair

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"galaxy/kernel/dump"
)

// maxAlias is what the kernel takes as the note at a link.
const maxAlias = 256

// Note is what stands at the host's end of a pair: whose it is.
func Note(plugin, network, containerID, ifName string) string {
	return strings.Join([]string{plugin, network, containerID, ifName}, "/")
}

// Remove deletes the pair of an interface, and nothing else: what proves that a link is its own is the host's end, by
// its name, which is a digest of the container and the interface, or by its note. What only has the name of the
// interface in a namespace is left alone: by now the path may lead to another pod's, and the interface may be
// anybody's. It may be called in the host's namespace only, and succeeds when there is nothing, or when the container
// is gone. before, if not nil, sees the container's end while it is still there.
func Remove(containerID, netns, ifName string, before func(n *Namespaces, link netlink.Link)) error {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink of the host: %w", err)
	}
	defer host.Close()
	link, err := hostEnd(host, containerID, netns, ifName)
	if link == nil || err != nil {
		return err
	}
	if before != nil {
		err := withInside(netns, ifName, func(n *Namespaces, inside netlink.Link) {
			if joined(inside, link) {
				before(n, inside)
			}
		})
		if err != nil {
			return err
		}
	}
	return removeLink(host, link)
}

// hostEnd finds the host's end of the pair of an interface, or nil. One that a release before this one or the reference
// has named otherwise is found from the container's end, and is ours if its note or its name says so.
func hostEnd(host *netlink.Handle, containerID, netns, ifName string) (netlink.Link, error) {
	link, err := host.LinkByName(HostName(containerID, ifName))
	switch {
	case err == nil && link.Type() == "veth":
		return link, nil
	case err != nil && !notFound(err):
		return nil, fmt.Errorf("find the host's end of %s of container %s: %w", ifName, containerID, err)
	}
	var found netlink.Link
	err = withInside(netns, ifName, func(_ *Namespaces, inside netlink.Link) {
		link, err := host.LinkByIndex(inside.Attrs().ParentIndex)
		if err == nil && joined(inside, link) && isEarlier(link.Attrs(), containerID, ifName) {
			found = link
		}
	})
	return found, err
}

// isEarlier reports whether a host's end was made for an interface, as its note says, or a name of the reference
// (contract section 8.1).
func isEarlier(at *netlink.LinkAttrs, containerID, ifName string) bool {
	const prefix, digits = "v-h", 9
	return strings.HasSuffix(at.Alias, "/"+containerID+"/"+ifName) || len(containerID) >= digits &&
		at.Name == prefix+containerID[:digits]
}

func joined(a, b netlink.Link) bool {
	return a.Type() == "veth" && b.Type() == "veth" && a.Attrs().ParentIndex == b.Attrs().Index &&
		b.Attrs().ParentIndex == a.Attrs().Index
}

// withInside hands on an interface of a container, if both are there.
func withInside(netns, ifName string, to func(n *Namespaces, link netlink.Link)) error {
	n, err := Open(netns)
	var known *types.Error
	if errors.Is(err, ErrNoNamespace) || errors.As(err, &known) && known.Code == types.ErrInvalidNetNS {
		return nil // the kernel has deleted what was in it, or the path leads to the host by now
	}
	if err != nil {
		return err
	}
	defer n.Close()
	link, err := n.Container.LinkByName(ifName)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", ifName, netns, err)
	}
	to(n, link)
	return nil
}

// RemoveLost deletes the pairs of a container of which nothing else is known than what stands at them: of one
// interface, or with ifName "" of all.
func RemoveLost(containerID, ifName string) error {
	if ifName != "" {
		return Remove(containerID, "", ifName, nil)
	}
	return removeNoted(func(link netlink.Link) bool {
		note := strings.Split(link.Attrs().Alias, "/")
		return len(note) == 4 && note[2] == containerID && link.Attrs().Name == HostName(note[2], note[3])
	})
}

// Collect deletes the pairs that a plugin made for a network and that belong to no valid attachment.
func Collect(plugin, network string, valid []types.GCAttachment) error {
	keep := map[string]bool{}
	for _, a := range valid {
		keep[HostName(a.ContainerID, a.IfName)] = true
	}
	return removeNoted(func(link netlink.Link) bool {
		return !keep[link.Attrs().Name] && strings.HasPrefix(link.Attrs().Alias, plugin+"/"+network+"/")
	})
}

// removeNoted deletes the host's ends that somebody's note, or name, says to be gone.
func removeNoted(gone func(netlink.Link) bool) error {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink of the host: %w", err)
	}
	defer host.Close()
	links, err := dump.Whole(context.Background(), host.LinkList)
	if err != nil {
		return fmt.Errorf("list the links of the host: %w", err)
	}
	var failed []error
	for _, link := range links {
		if link.Type() == "veth" && gone(link) {
			failed = append(failed, removeLink(host, link))
		}
	}
	return errors.Join(failed...)
}

func notFound(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing)
}
