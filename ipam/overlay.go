package ipam

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
)

// OverlayNetwork is a network of pod addresses that is cut into one subnet a node.
type OverlayNetwork struct {
	CIDR netip.Prefix `json:"cidr"`
	// NodePrefix is the length of a node's subnet: 24 gives a node 256 addresses, of which 253 are for pods.
	NodePrefix int `json:"nodePrefix"`
}

// How small the subnet of a node may be: the network's own address, the node's, and the broadcast address are not given
// to pods.
const (
	longestNodePrefix4 = 29
	longestNodePrefix6 = 125
	// mostNodeBits bounds the number of node subnets of a network, as a typing error such as /8 for an IPv6 network
	// gives.
	mostNodeBits = 24
)

// Check fails for a network that no configuration can name.
func (n OverlayNetwork) Check() error {
	if n.NodePrefix == 0 {
		return fmt.Errorf("overlay network %s has no nodePrefix", n.CIDR)
	}
	_, err := parseOverlayNetwork(n.CIDR.String(), n.NodePrefix)
	return err
}

// CheckOverlay fails for networks one of which no configuration can name.
func CheckOverlay(networks []OverlayNetwork) error {
	for _, n := range networks {
		if err := n.Check(); err != nil {
			return err
		}
	}
	return nil
}

// Subnets is how many node subnets the network has.
func (n OverlayNetwork) Subnets() int { return 1 << (n.NodePrefix - n.CIDR.Bits()) }

// Subnet is the i-th node subnet, from 0.
func (n OverlayNetwork) Subnet(i int) netip.Prefix {
	return netip.PrefixFrom(plusShifted(n.CIDR.Addr(), uint64(i), n.CIDR.Addr().BitLen()-n.NodePrefix), n.NodePrefix)
}

// Index is the place of a node subnet in the network; ok is false if it is none of it.
func (n OverlayNetwork) Index(subnet netip.Prefix) (i int, ok bool) {
	if subnet.Bits() != n.NodePrefix || subnet != subnet.Masked() || !n.CIDR.Contains(subnet.Addr()) {
		return 0, false
	}
	full, base := subnet.Addr().As16(), n.CIDR.Addr().As16()
	shift := subnet.Addr().BitLen() - n.NodePrefix
	index := uint64(0)
	for bit := range n.NodePrefix - n.CIDR.Bits() {
		at := shift + bit // from the right
		byteAt, mask := 15-at/8, byte(1)<<(at%8)
		if (full[byteAt]^base[byteAt])&mask != 0 {
			index |= 1 << bit
		}
	}
	return int(index), true
}

// plusShifted is addr + n<<shift.
func plusShifted(addr netip.Addr, n uint64, shift int) netip.Addr {
	b := addr.As16()
	for bit := 0; n>>bit != 0; bit++ {
		if n>>bit&1 != 0 {
			at := shift + bit
			b[15-at/8] |= 1 << (at % 8) // the network's address has zeros here
		}
	}
	sum := netip.AddrFrom16(b)
	if addr.Is4() {
		return sum.Unmap()
	}
	return sum
}

// NodePool is a node's subnet as the configuration of what its pods may get: all addresses but the network's own, the
// first, which is the node's, and for IPv4 the broadcast address.
func NodePool(subnet netip.Prefix) Subnet {
	all := PrefixRange(subnet)
	gateway := all.First.Next()
	pool := Range{First: gateway.Next(), Last: all.Last}
	if subnet.Addr().Is4() {
		pool.Last = all.Last.Prev()
	}
	return Subnet{NodeNetworks: []netip.Prefix{subnet}, Prefix: subnet, Gateway: gateway, Ranges: []Range{pool}}
}

// ParseOverlay reads the overlay networks of a configuration: [{"cidr":"10.244.0.0/16","nodePrefix":24}, …]. It reports
// its first errors, at most maxErrors, with the number of the entry, and how to repair them. Networks are returned in
// the order of their addresses.
func ParseOverlay(text []byte) ([]OverlayNetwork, error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, fmt.Errorf("overlay networks: %w; want %s", err, overlayForm)
	}
	var networks []OverlayNetwork
	var errs []error
	for i, entry := range entries {
		n, err := decodeOverlayNetwork(entry)
		if err != nil {
			errs = append(errs, fmt.Errorf("overlay network %d: %w", i+1, err))
			continue
		}
		networks = append(networks, n)
	}
	slices.SortFunc(networks, func(a, b OverlayNetwork) int {
		return cmp.Or(a.CIDR.Addr().Compare(b.CIDR.Addr()), cmp.Compare(a.CIDR.Bits(), b.CIDR.Bits()))
	})
	for i, widest := 1, 0; i < len(networks); i++ {
		if a, b := networks[widest].CIDR, networks[i].CIDR; a.Overlaps(b) {
			errs = append(errs, fmt.Errorf("overlay networks %s and %s overlap; leave one out", a, b))
		} else {
			widest = i
		}
	}
	if err := joinFirst(errs); err != nil {
		return nil, err
	}
	return networks, nil
}

// overlayForm shows what overlay networks look like.
const overlayForm = `[{"cidr":"10.244.0.0/16","nodePrefix":24}]`

func decodeOverlayNetwork(text []byte) (OverlayNetwork, error) {
	var raw struct {
		CIDR       string `json:"cidr"`
		NodePrefix int    `json:"nodePrefix"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return OverlayNetwork{}, fmt.Errorf("%s is no network; want %s", plain(string(text)), overlayForm)
	}
	if names := repeated(text); len(names) > 0 {
		return OverlayNetwork{}, fmt.Errorf("%s stands more than once; leave one of them", plain(names[0]))
	}
	return parseOverlayNetwork(raw.CIDR, raw.NodePrefix)
}

// oneLink are the networks of which no host beyond one link can have an address (RFC 6890; IPv4-mapped: RFC 4291,
// section 2.5.5.2).
var oneLink = prefixes("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::1/128", "fe80::/10", "ff00::/8",
	"::ffff:0:0/96")

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// forHosts reports whether hosts beyond one link can have all addresses of a network.
func forHosts(prefix netip.Prefix) bool {
	return !slices.ContainsFunc(oneLink, prefix.Overlaps)
}

func parseOverlayNetwork(cidr string, nodePrefix int) (OverlayNetwork, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return OverlayNetwork{}, fmt.Errorf("cidr %.*q: want a network, such as 10.244.0.0/16 or fd00:10:244::/48",
			maxShown, cidr)
	}
	if prefix != prefix.Masked() {
		return OverlayNetwork{}, fmt.Errorf("cidr %q has bits beyond its length; say %s", cidr, prefix.Masked())
	}
	longest, usual := longestNodePrefix4, max(24, prefix.Bits())
	if prefix.Addr().Is6() {
		longest, usual = longestNodePrefix6, max(64, prefix.Bits())
	}
	if nodePrefix == 0 {
		nodePrefix = usual
	}
	switch {
	case !forHosts(prefix):
		return OverlayNetwork{}, fmt.Errorf("cidr %q is no network for hosts", cidr)
	case nodePrefix < prefix.Bits():
		return OverlayNetwork{}, fmt.Errorf("nodePrefix %d is shorter than that of %s; a node's subnet is a part of "+
			"it: say %d", nodePrefix, cidr, usual)
	case nodePrefix > longest:
		return OverlayNetwork{}, fmt.Errorf("nodePrefix %d leaves no room for pods; at most %d", nodePrefix, longest)
	case nodePrefix-prefix.Bits() > mostNodeBits:
		return OverlayNetwork{}, fmt.Errorf("nodePrefix %d cuts %s into more than %d subnets; say at most %d, or "+
			"take a smaller network",
			nodePrefix, cidr, 1<<mostNodeBits, prefix.Bits()+mostNodeBits)
	}
	return OverlayNetwork{CIDR: prefix, NodePrefix: nodePrefix}, nil
}
