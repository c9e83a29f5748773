package nodeagent

import (
	"net/netip"
	"testing"

	"galaxy/kernel"
)

// Pods have the MTU that their subnets need, also when the node got these after its links were looked at: one that is
// too small for IPv6 would have the kernel refuse their addresses.
func TestPodMTU(t *testing.T) {
	address := netip.MustParseAddr("192.0.2.1")
	four, six := []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")},
		[]netip.Prefix{netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("fd00:244::/64")}
	for _, c := range []struct {
		link              int
		config            kernel.Config
		wantFour, wantSix int
	}{
		{1500, kernel.Config{}, 1480, 1460},
		{1280, kernel.Config{}, 1260, 1280},
		{1500, kernel.Config{Backend: kernel.HostGW}, 1500, 1500},
		{1500, kernel.Config{MTU: 1200}, 1200, 1280},
		{0, kernel.Config{}, 0, 0},
	} {
		self := kernel.Node{Addresses: []netip.Addr{address}, Subnets: four}
		if c.link > 0 {
			self.Networks = []kernel.LocalNetwork{{Address: address, MTU: c.link}}
		}
		s := Status{mtus: [2]int{podMTU(self, c.config, false), podMTU(self, c.config, true)}}
		if s.PodMTU(four) != c.wantFour || s.PodMTU(six) != c.wantSix {
			t.Errorf("a link of %d, %+v: %d and %d, want %d and %d", c.link, c.config, s.PodMTU(four), s.PodMTU(six),
				c.wantFour, c.wantSix)
		}
	}
}
