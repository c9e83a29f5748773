package reconciler

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"galaxy/ipam"
)

// Two nodes that announce one address are both reported, once, with the name of the other; who has addresses of its own
// is not.
func TestSharedAddresses(t *testing.T) {
	var reports []string
	n := &Nodes{Log: zap.NewNop(), Report: func(node, reason, message string) {
		reports = append(reports, node+" "+reason+" "+message)
	}}
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	alive := map[string]ipam.Announcement{
		"a": {Addresses: []netip.Addr{one, one}}, "b": {Addresses: []netip.Addr{two, one}}, "c": {Addresses: []netip.Addr{
			netip.MustParseAddr("192.0.2.3")}},
	}
	n.showShared(sharedAddresses(alive))
	n.showShared(sharedAddresses(alive))
	slices.Sort(reports)
	if len(reports) != 2 || !strings.HasPrefix(reports[0], "a NodeAddressShared ") || !strings.Contains(reports[0],
		"192.0.2.1 (also node b)") || !strings.Contains(reports[1], "192.0.2.1 (also node a)") {
		t.Errorf("reports are %q", reports)
	}
	delete(alive, "a")
	if left := slices.Collect(maps.Keys(sharedAddresses(alive))); len(left) != 0 {
		t.Errorf("shared by %q", left)
	}
}
