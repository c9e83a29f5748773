//go:build linux

package kernel

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// AdvertisedLinks are the links on which this host has learned routes from router advertisements (RFC 4861). A host
// that forwards hears no more advertisements unless accept_ra is 2 (Linux Documentation/networking/ip-sysctl.rst), and
// would lose those routes, its default route among them.
func AdvertisedLinks(ns netns.NsHandle) (names []string, err error) {
	err = inside(ns, func() error {
		routes, err := netlink.RouteListFiltered(unix.AF_INET6, &netlink.Route{Protocol: unix.RTPROT_RA},
			netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return fmt.Errorf("list the routes that routers have advertised: %w", err)
		}
		for _, r := range routes {
			links := []int{r.LinkIndex}
			for _, hop := range r.MultiPath {
				links = append(links, hop.LinkIndex)
			}
			for _, index := range links {
				link, err := netlink.LinkByIndex(index)
				if err == nil && !slices.Contains(names, link.Attrs().Name) {
					names = append(names, link.Attrs().Name)
				}
			}
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}
