package ipam

import (
	"net/netip"
	"slices"
)

// Subnet is one entry of floatingip-config: a slice of the data-centre network whose addresses pods may use, and the
// node networks whose nodes can route to it.
//
// A Subnet that comes from ParseConfig holds: at least one node network, a gateway inside Prefix, and Ranges ascending,
// disjoint, not adjacent, inside Prefix, without its network, broadcast and gateway addresses.
type Subnet struct {
	NodeNetworks []netip.Prefix `json:"nodeNetworks"`
	Prefix       netip.Prefix   `json:"prefix"` // the gateway's network under the configured mask
	Gateway      netip.Addr     `json:"gateway"`
	VLAN         uint16         `json:"vlan,omitzero"` // 0 is untagged
	Ranges       []Range        `json:"ranges"`
}

// Contains reports whether the subnet hands out addr.
func (s Subnet) Contains(addr netip.Addr) bool {
	i, found := slices.BinarySearchFunc(s.Ranges, addr, func(r Range, a netip.Addr) int {
		if r.Contains(a) {
			return 0
		}
		return r.First.Compare(a)
	})
	return found && s.Ranges[i].Contains(addr)
}

// Len is the number of addresses in the subnet's ranges, or math.MaxUint64 when there are more than that.
func (s Subnet) Len() uint64 {
	var total uint64
	for _, r := range s.Ranges {
		if total += r.Len(); total < r.Len() {
			return ^uint64(0)
		}
	}
	return total
}

// Serves reports whether nodes of the network may run pods with addresses of this subnet.
func (s Subnet) Serves(nodeNetwork netip.Prefix) bool {
	return slices.Contains(s.NodeNetworks, nodeNetwork)
}
