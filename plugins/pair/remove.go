package pair

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"galaxy/nodeagent/kernel/dump"
)

// maxAlias is what the kernel takes as the note at a link.
const maxAlias = 256

// Note is what stands at the host's end of a pair: whose it is.
func Note(plugin, network, containerID, ifName string) string {
	return strings.Join([]string{plugin, network, containerID, ifName}, "/")
}

// Remove deletes the pair of an interface, from whichever end is there. It may be called in the host's namespace only, and
// succeeds when there is nothing, or when the container is gone. before, if not nil, sees the container's end while it is
// still there.
func Remove(containerID, netns, ifName string, before func(n *Namespaces, link netlink.Link)) error {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink of the host: %w", err)
	}
	defer host.Close()
	inside, err := removeInside(containerID, netns, ifName, before)
	if inside || err != nil {
		return err
	}
	link, err := host.LinkByName(HostName(containerID, ifName))
	if notFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the host's end of %s of container %s: %w", ifName, containerID, err)
	}
	return removeLink(host, link)
}

// removeInside deletes the container's end, and with it the other one. It finds also a pair whose host's end has a foreign
// name, as of a release before this one.
func removeInside(containerID, netns, ifName string, before func(n *Namespaces, link netlink.Link)) (bool, error) {
	n, err := Open(netns)
	if errors.Is(err, ErrNoNamespace) {
		return false, nil // the kernel has deleted what was in it, or does so now
	}
	if err != nil {
		return false, err
	}
	defer n.Close()
	link, err := n.Container.LinkByName(ifName)
	if notFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find %s of container %s in %s: %w", ifName, containerID, netns, err)
	}
	if link.Type() != "veth" {
		return false, nil // it is not ours
	}
	if before != nil {
		before(n, link)
	}
	return true, removeLink(n.Container, link)
}

// Collect deletes the pairs that a plugin made for a network and that belong to no valid attachment.
func Collect(plugin, network string, valid []types.GCAttachment) error {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink of the host: %w", err)
	}
	defer host.Close()
	links, err := dump.Whole(context.Background(), host.LinkList)
	if err != nil {
		return fmt.Errorf("list the links of the host: %w", err)
	}
	keep := map[string]bool{}
	for _, a := range valid {
		keep[HostName(a.ContainerID, a.IfName)] = true
	}
	var failed []error
	for _, link := range links {
		at := link.Attrs()
		if link.Type() == "veth" && !keep[at.Name] && strings.HasPrefix(at.Alias, plugin+"/"+network+"/") {
			failed = append(failed, removeLink(host, link))
		}
	}
	return errors.Join(failed...)
}

func notFound(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing)
}
