package ipam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// rawSubnet is an entry of floatingip-config as people write it (contract section 3).
type rawSubnet struct {
	NodeSubnets    []string `json:"nodeSubnets"`
	RoutableSubnet string   `json:"routableSubnet"`
	IPs            []string `json:"ips"`
	Subnet         string   `json:"subnet"`
	Gateway        string   `json:"gateway"`
	VLAN           *int64   `json:"vlan"`
}

// entryError says which entry, field and value of the configuration is at fault, and how to mend it.
func entryError(entry int, field, value, why string) error {
	return fmt.Errorf("floatingips[%d].%s: %q %s", entry, field, value, why)
}

// ParseConfig reads the value of floatingip-config: a JSON array of subnets. All faults are reported, each with its entry,
// field and value. The subnets come back sorted by gateway, node networks masked and without repeats, ranges ascending
// and merged where they touch.
func ParseConfig(text []byte) ([]Subnet, error) {
	raws, faults, err := decodeConfig(text)
	if err != nil {
		return nil, err
	}
	subnets := make([]Subnet, len(raws))
	for i, raw := range raws {
		if raw != nil {
			var more []error
			subnets[i], more = raw.subnet(i)
			faults[i] = append(faults[i], more...)
		}
	}
	all := slices.Concat(faults...)
	for i := range subnets {
		for j := range i {
			if faults[i] == nil && faults[j] == nil {
				all = append(all, overlaps(subnets, j, i)...)
			}
		}
	}
	if err := errors.Join(all...); err != nil {
		return nil, err
	}
	slices.SortStableFunc(subnets, func(a, b Subnet) int { return a.Gateway.Compare(b.Gateway) })
	return subnets, nil
}

// decodeConfig reads the entries. Faults of an entry are no error of its own: entries that can be read come with those of the others.
func decodeConfig(text []byte) ([]*rawSubnet, [][]error, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	var entries []json.RawMessage
	if err := decoder.Decode(&entries); err != nil {
		at := decoder.InputOffset()
		var syntax *json.SyntaxError
		switch {
		case errors.As(err, &syntax):
			at = syntax.Offset
		case errors.Is(err, io.ErrUnexpectedEOF):
			at = int64(len(text))
		}
		return nil, nil, fmt.Errorf("floatingips: %w at byte %d; want a JSON array of %s", err, at, entryForm)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("floatingips: something follows the array at byte %d", decoder.InputOffset())
	}
	if entries == nil {
		return nil, nil, errors.New("floatingips: null; write [] for no addresses")
	}
	raws, faults := make([]*rawSubnet, len(entries)), make([][]error, len(entries))
	for i, entry := range entries {
		raws[i], faults[i] = decodeEntry(i, entry)
	}
	return raws, faults, nil
}

// entryForm shows what an entry looks like.
const entryForm = `{"nodeSubnets":["<CIDR>"],"subnet":"<CIDR>","gateway":"<IP>","vlan":<0-4094>,"ips":["<first>~<last>"]}`

// fields are the names of an entry's fields, as they are written.
var fields = []string{"nodeSubnets", "routableSubnet", "ips", "subnet", "gateway", "vlan"}

// decodeEntry reads one entry field by field, so that what is wrong with one hides nothing of the others. As encoding/json does, it takes
// names in any case.
// It is nil for what is no entry at all.
func decodeEntry(entry int, text []byte) (raw *rawSubnet, faults []error) {
	var written map[string]json.RawMessage
	if err := json.Unmarshal(text, &written); err != nil || written == nil {
		return nil, []error{fmt.Errorf("floatingips[%d]: %.60s is no entry; want %s", entry, text, entryForm)}
	}
	raw = &rawSubnet{}
	into := map[string]any{
		"nodeSubnets": &raw.NodeSubnets, "routableSubnet": &raw.RoutableSubnet, "ips": &raw.IPs, "subnet": &raw.Subnet, "gateway": &raw.Gateway, "vlan": &raw.VLAN,
	}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		known := slices.IndexFunc(fields, func(field string) bool { return strings.EqualFold(field, name) })
		if known < 0 {
			faults = append(faults, fmt.Errorf("floatingips[%d].%s: there is no such field; want %s", entry, name, strings.Join(fields, ", ")))
			continue
		}
		if err := json.Unmarshal(written[name], into[fields[known]]); err != nil {
			faults = append(faults, entryError(entry, fields[known], string(written[name]), "cannot be read: want it as in "+entryForm))
		}
	}
	return raw, faults
}

// subnet validates one entry by itself.
func (raw rawSubnet) subnet(entry int) (Subnet, []error) {
	var s Subnet
	var faults []error
	fail := func(field, value, why string) { faults = append(faults, entryError(entry, field, value, why)) }

	s.NodeNetworks = raw.nodeNetworks(fail)
	s.Gateway, s.Prefix = raw.network(fail)
	if raw.VLAN != nil {
		if *raw.VLAN < 0 || *raw.VLAN > 4094 {
			fail("vlan", fmt.Sprint(*raw.VLAN), "is not a VLAN id; want 1 to 4094, or 0 for untagged")
		} else {
			s.VLAN = uint16(*raw.VLAN)
		}
	}
	if raw.IPs == nil {
		fail("ips", "", "is missing; write [] for a subnet without addresses")
	}
	var ranges []Range
	for i, text := range raw.IPs {
		field := fmt.Sprintf("ips[%d]", i)
		r, err := ParseRange(text)
		if err != nil {
			fail(field, text, "is not a range of addresses: "+err.Error())
			continue
		}
		if s.Prefix.IsValid() {
			if why := rangeFault(r, s); why != "" {
				fail(field, text, why)
				continue
			}
		}
		for j, earlier := range ranges {
			if r.Overlaps(earlier) {
				fail(field, text, fmt.Sprintf("overlaps %s of the same entry", ranges[j]))
			}
		}
		ranges = append(ranges, r)
	}
	s.Ranges = MergeRanges(ranges)
	return s, faults
}

func (raw rawSubnet) nodeNetworks(fail func(field, value, why string)) []netip.Prefix {
	texts, field := raw.NodeSubnets, "nodeSubnets"
	if raw.RoutableSubnet != "" {
		texts, field = []string{raw.RoutableSubnet}, "routableSubnet"
	}
	if len(texts) == 0 {
		fail("nodeSubnets", "", "is empty; name the CIDRs of the nodes whose pods may use this subnet")
	}
	var networks []netip.Prefix
	for _, text := range texts {
		network, err := parsePrefix(text)
		if err != nil {
			fail(field, text, err.Error())
		} else if !slices.Contains(networks, network.Masked()) {
			networks = append(networks, network.Masked())
		}
	}
	return networks
}

// network reads the gateway and the mask. As in the contract, the pod network is the gateway under the mask of "subnet",
// whose own address must agree.
func (raw rawSubnet) network(fail func(field, value, why string)) (gateway netip.Addr, prefix netip.Prefix) {
	gateway, err := ParseAddr(raw.Gateway)
	if err != nil {
		fail("gateway", raw.Gateway, "is not a plain IP address")
	}
	subnet, err := parsePrefix(raw.Subnet)
	if err != nil {
		fail("subnet", raw.Subnet, err.Error())
	}
	switch {
	case !gateway.IsValid() || !subnet.IsValid():
		return gateway, netip.Prefix{}
	case gateway.Is4() != subnet.Addr().Is4():
		fail("gateway", raw.Gateway, "is not of the same family as the subnet "+raw.Subnet)
		return gateway, netip.Prefix{}
	case !subnet.Contains(gateway):
		fail("gateway", raw.Gateway, "lies outside the subnet "+raw.Subnet)
		return gateway, netip.Prefix{}
	}
	return gateway, subnet.Masked()
}

// rangeFault says what is wrong with a range of a subnet, or "".
func rangeFault(r Range, s Subnet) string {
	whole := PrefixRange(s.Prefix)
	if r.First.Is4() != whole.First.Is4() {
		return "is not of the same family as the subnet " + s.Prefix.String()
	}
	if !whole.Contains(r.First) || !whole.Contains(r.Last) {
		return "lies outside the subnet " + s.Prefix.String()
	}
	if r.Contains(s.Gateway) {
		return fmt.Sprintf("contains the gateway %s; leave it out, as in %s", s.Gateway, strings.Join(without(r, s.Gateway), ", "))
	}
	hostBits := whole.First.BitLen() - s.Prefix.Bits()
	if hostBits < 2 { // RFC 3021 and RFC 6164: on a point-to-point link both addresses are hosts
		return ""
	}
	if r.Contains(whole.First) {
		if whole.First.Is4() {
			return fmt.Sprintf("contains the network address %s", whole.First)
		}
		return fmt.Sprintf("contains %s, the anycast address of the subnet's routers (RFC 4291 section 2.6.1)", whole.First)
	}
	if whole.First.Is4() && r.Contains(whole.Last) {
		return fmt.Sprintf("contains the broadcast address %s", whole.Last)
	}
	return ""
}

// without is the range less one address, as text for an error message.
func without(r Range, addr netip.Addr) []string {
	var parts []string
	if r.First.Less(addr) {
		parts = append(parts, Range{First: r.First, Last: addr.Prev()}.String())
	}
	if addr.Less(r.Last) {
		parts = append(parts, Range{First: addr.Next(), Last: r.Last}.String())
	}
	if parts == nil {
		return []string{"[]"}
	}
	return parts
}

// overlaps finds what the later entry disputes with the earlier one. Two entries may share a network (as two node
// networks that draw from disjoint ranges of it do); networks that only partly overlap are a mistake in a mask.
func overlaps(subnets []Subnet, earlier, later int) []error {
	a, b := subnets[earlier], subnets[later]
	if a.Prefix != b.Prefix && a.Prefix.Overlaps(b.Prefix) {
		return []error{entryError(later, "subnet", b.Prefix.String(), fmt.Sprintf("partly overlaps %s of floatingips[%d]; correct one of the masks", a.Prefix, earlier))}
	}
	var faults []error
	for _, r := range b.Ranges {
		for _, other := range a.Ranges {
			if r.Overlaps(other) {
				faults = append(faults, entryError(later, "ips", r.String(), fmt.Sprintf("overlaps %s of floatingips[%d]; an address belongs to one entry", other, earlier)))
			}
		}
	}
	return faults
}

// MergeRanges sorts disjoint ranges and joins those that touch.
func MergeRanges(ranges []Range) []Range {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b Range) int { return a.First.Compare(b.First) })
	merged := make([]Range, 0, len(sorted))
	for _, r := range sorted {
		if n := len(merged); n > 0 && merged[n-1].Last.Next() == r.First {
			merged[n-1].Last = r.Last
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("is not a CIDR such as 10.0.0.0/24 or fd00::/64")
	}
	return prefix, nil
}
