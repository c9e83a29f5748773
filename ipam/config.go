package ipam

import (
	"bytes"
	"cmp"
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

// entryError says which entry, field and value of the configuration is wrong, and how to repair it.
func entryError(entry int, field, value, why string) error {
	return fmt.Errorf("floatingips[%d].%s: %.*q %s", entry, field, maxShown, value, why)
}

// ParseConfig reads the value of floatingip-config: a JSON array of subnets. All errors are reported, each with its
// entry, field and value. The subnets come back sorted by gateway, node networks masked and without repeats, ranges
// ascending and merged where they touch.
func ParseConfig(text []byte) ([]Subnet, error) {
	raws, errs, err := decodeConfig(text)
	if err != nil {
		return nil, err
	}
	subnets := make([]Subnet, len(raws))
	for i, raw := range raws {
		if raw != nil {
			var more []error
			subnets[i], more = raw.subnet(i)
			errs[i] = append(errs[i], more...)
		}
	}
	sound := func(entry int) bool { return errs[entry] == nil }
	all := slices.Concat(append(errs, prefixOverlaps(subnets, sound), rangeOverlaps(subnets, sound))...)
	if err := joinFirst(all); err != nil {
		return nil, err
	}
	slices.SortStableFunc(subnets, func(a, b Subnet) int { return a.Gateway.Compare(b.Gateway) })
	return subnets, nil
}

// Bounds of the errors of a configuration, which go into Events and before people.
const (
	maxErrors = 50 // how many are shown
	maxShown  = 80 // characters of a value that is wrong
)

// plain is a text in an error message without quotes: its first characters, those that are not printable escaped.
func plain(text string) string {
	quoted := fmt.Sprintf("%.*q", maxShown, text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// repeated are the names that stand more than once in a JSON object, in lower case and without repeats: encoding/json
// takes names in any case, and of several the last.
func repeated(object []byte) (names []string) {
	decoder, seen := json.NewDecoder(bytes.NewReader(object)), map[string]int{}
	if _, err := decoder.Token(); err != nil {
		return nil
	}
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok || decoder.Decode(new(json.RawMessage)) != nil {
			return names
		}
		name = strings.ToLower(name)
		if seen[name]++; seen[name] == 2 {
			names = append(names, name)
		}
	}
	return names
}

// joinFirst joins the first errors, and says how many more there are.
func joinFirst(all []error) error {
	if len(all) > maxErrors {
		all = append(all[:maxErrors:maxErrors], fmt.Errorf("and %d more", len(all)-maxErrors))
	}
	return errors.Join(all...)
}

// decodeConfig reads the entries. Errors of an entry are no error of decodeConfig: entries that can be read come with
// those of the others.
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
	raws, errs := make([]*rawSubnet, len(entries)), make([][]error, len(entries))
	for i, entry := range entries {
		raws[i], errs[i] = decodeEntry(i, entry)
	}
	return raws, errs, nil
}

// entryForm shows what an entry looks like.
const entryForm = `{"nodeSubnets":["<CIDR>"],"subnet":"<CIDR>","gateway":"<IP>","vlan":<0-4094>,"ips":["<first>~<last>"]}`

// fields are the names of an entry's fields, as they are written.
var fields = []string{"nodeSubnets", "routableSubnet", "ips", "subnet", "gateway", "vlan"}

// decodeEntry reads one entry field by field, so that what is wrong with one hides nothing of the others. As
// encoding/json does, it takes names in any case. It is nil for what is no entry at all.
func decodeEntry(entry int, text []byte) (raw *rawSubnet, errs []error) {
	var written map[string]json.RawMessage
	if err := json.Unmarshal(text, &written); err != nil || written == nil {
		return nil, []error{fmt.Errorf("floatingips[%d]: %s is no entry; want %s", entry, plain(string(text)),
			entryForm)}
	}
	for _, name := range repeated(text) {
		errs = append(errs, fmt.Errorf("floatingips[%d].%s: stands more than once in the entry; leave one of them",
			entry, plain(name)))
	}
	raw = &rawSubnet{}
	into := map[string]any{
		"nodeSubnets": &raw.NodeSubnets, "routableSubnet": &raw.RoutableSubnet, "ips": &raw.IPs, "subnet": &raw.Subnet,
		"gateway": &raw.Gateway, "vlan": &raw.VLAN,
	}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		known := slices.IndexFunc(fields, func(field string) bool { return strings.EqualFold(field, name) })
		if known < 0 {
			errs = append(errs, fmt.Errorf("floatingips[%d].%s: there is no such field; want %s", entry, plain(name),
				strings.Join(fields, ", ")))
			continue
		}
		if err := json.Unmarshal(written[name], into[fields[known]]); err != nil {
			errs = append(errs, entryError(entry, fields[known], string(written[name]),
				"cannot be read: want it as in "+entryForm))
		}
	}
	return raw, errs
}

// subnet validates one entry by itself.
func (raw rawSubnet) subnet(entry int) (Subnet, []error) {
	var s Subnet
	var errs []error
	fail := func(field, value, why string) { errs = append(errs, entryError(entry, field, value, why)) }

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
	var ranges []placed
	for i, text := range raw.IPs {
		field := fmt.Sprintf("ips[%d]", i)
		r, err := ParseRange(text)
		if err != nil {
			fail(field, text, "is not a range of addresses: "+err.Error())
			continue
		}
		if s.Prefix.IsValid() {
			if why := rangeError(r, s); why != "" {
				fail(field, text, why)
				continue
			}
		}
		ranges = append(ranges, placed{r, i})
		s.Ranges = append(s.Ranges, r)
	}
	for _, c := range crossings(ranges) {
		fail(fmt.Sprintf("ips[%d]", c.later.at), raw.IPs[c.later.at],
			fmt.Sprintf("overlaps %s of the same entry", c.earlier.Range))
	}
	s.Ranges = MergeRanges(s.Ranges)
	return s, errs
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
	seen := map[netip.Prefix]bool{}
	for _, text := range texts {
		network, err := parsePrefix(text)
		if err != nil {
			fail(field, text, err.Error())
		} else if network = network.Masked(); !seen[network] {
			seen[network] = true
			networks = append(networks, network)
		}
	}
	return networks
}

// network reads the gateway and the mask. As in the contract, the pod network is the gateway under the mask of
// "subnet", whose own address must agree.
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
	case !forHosts(subnet):
		fail("subnet", raw.Subnet, "is no network for hosts")
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

// rangeError says what is wrong with a range of a subnet, or "".
func rangeError(r Range, s Subnet) string {
	whole := PrefixRange(s.Prefix)
	if r.First.Is4() != whole.First.Is4() {
		return "is not of the same family as the subnet " + s.Prefix.String()
	}
	if !whole.Contains(r.First) || !whole.Contains(r.Last) {
		return "lies outside the subnet " + s.Prefix.String()
	}
	if r.Contains(s.Gateway) {
		return fmt.Sprintf("contains the gateway %s; leave it out, as in %s", s.Gateway,
			strings.Join(without(r, s.Gateway), ", "))
	}
	hostBits := whole.First.BitLen() - s.Prefix.Bits()
	if hostBits < 2 { // RFC 3021 and RFC 6164: on a point-to-point link both addresses are hosts
		return ""
	}
	if r.Contains(whole.First) {
		if whole.First.Is4() {
			return fmt.Sprintf("contains the network address %s", whole.First)
		}
		return fmt.Sprintf("contains %s, the anycast address of the subnet's routers (RFC 4291 section 2.6.1)",
			whole.First)
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

// placed is a range, and where it was written.
type placed struct {
	Range
	at int
}

// crossing is a range that overlaps one that was written before it.
type crossing struct{ earlier, later placed }

// crossings are the ranges that overlap another, each named once. It takes n log n steps, however many overlap.
func crossings(all []placed) (found []crossing) {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b placed) int { return a.First.Compare(b.First) })
	for i, widest := 1, 0; i < len(sorted); i++ {
		if w := sorted[widest]; !w.Last.Less(sorted[i].First) {
			c := crossing{w, sorted[i]}
			if c.later.at < c.earlier.at {
				c.earlier, c.later = c.later, c.earlier
			}
			found = append(found, c)
		}
		if sorted[widest].Last.Less(sorted[i].Last) {
			widest = i
		}
	}
	slices.SortStableFunc(found, func(a, b crossing) int { return a.later.at - b.later.at })
	return found
}

// rangeOverlaps finds addresses that two entries have. Entries that are not sound themselves are passed over.
func rangeOverlaps(subnets []Subnet, sound func(entry int) bool) (errs []error) {
	var all []placed
	for i, s := range subnets {
		for _, r := range s.Ranges {
			if sound(i) {
				all = append(all, placed{r, i})
			}
		}
	}
	for _, c := range crossings(all) {
		errs = append(errs, entryError(c.later.at, "ips", c.later.String(),
			fmt.Sprintf("overlaps %s of floatingips[%d]; an address belongs to one entry", c.earlier.Range,
				c.earlier.at)))
	}
	return errs
}

// prefixOverlaps finds networks that partly overlap, which is a mistake in a mask. Two entries may share a network, as
// two node networks that draw from disjoint ranges of it do.
func prefixOverlaps(subnets []Subnet, sound func(entry int) bool) (errs []error) {
	var entries []int
	for i := range subnets {
		if sound(i) {
			entries = append(entries, i)
		}
	}
	slices.SortStableFunc(entries, func(a, b int) int {
		x, y := subnets[a].Prefix, subnets[b].Prefix
		return cmp.Or(x.Addr().Compare(y.Addr()), x.Bits()-y.Bits())
	})
	for i, widest := 1, 0; i < len(entries); i++ {
		w, next := entries[widest], entries[i]
		switch a, b := subnets[w].Prefix, subnets[next].Prefix; {
		case a == b:
		case a.Overlaps(b):
			earlier, later := min(w, next), max(w, next)
			errs = append(errs, entryError(later, "subnet", subnets[later].Prefix.String(),
				fmt.Sprintf("partly overlaps %s of floatingips[%d]; correct one of the masks", subnets[earlier].Prefix,
					earlier)))
		default:
			widest = i
		}
	}
	return errs
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
