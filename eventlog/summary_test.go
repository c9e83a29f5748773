package eventlog_test

import (
	"net/netip"
	"testing"

	"galaxy/eventlog"
)

// A summary says what there is to say, and nothing of what there is not.
func TestSummary(t *testing.T) {
	addr, subnet := netip.MustParseAddr("10.244.0.2"), netip.MustParsePrefix("10.244.0.0/24")
	for _, c := range []struct {
		data eventlog.Data
		want string
	}{
		{&eventlog.AddressAllocated{Address: addr, Subnet: subnet}, "10.244.0.2 of 10.244.0.0/24"},
		{&eventlog.AddressAllocated{Address: addr, Subnet: subnet, ContainerID: "0123456789abcdef0123", IfName: "eth0"},
			"10.244.0.2 of 10.244.0.0/24 for eth0 of container 0123456789abcdef"},
		{&eventlog.FormerObjectsResolved{Source: "galaxy", Outcome: eventlog.FormerImported, Objects: 3},
			"imported: 3 objects of galaxy"},
		{&eventlog.FormerObjectsResolved{Source: "galaxy", Outcome: eventlog.FormerImported, Objects: 3, Left: 1},
			"imported: 3 objects of galaxy; 1 were not taken over"},
		{&eventlog.PoolSized{Pool: "p", Size: 2}, "pool p may hold 2"},
		{&eventlog.PoolSized{Pool: "p", Size: 2, PreAllocate: true}, "pool p may hold 2, reserved in advance"},
		{&eventlog.AddressReleased{Address: addr}, "10.244.0.2"},
	} {
		if got := c.data.Summary(); got != c.want {
			t.Errorf("%s: %q, want %q", c.data.Type(), got, c.want)
		}
	}
}
