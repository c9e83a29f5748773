//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"

	"github.com/vishvananda/netns"
	"sigs.k8s.io/knftables"
)

// MasqueradeTable is the nftables table with what is ours, of the family inet.
const MasqueradeTable = "galaxy"

// masqueradeChain is not called after what it does: that is a word of nft.
const masqueradeChain = "pods-out"

// Masquerade says which packets of pods leave with the address of the node: those to destinations that are neither pods
// nor nodes. Packets between pods, and from pods to nodes, always keep their source. Multicast does so too.
type Masquerade struct {
	Overlays []netip.Prefix // in which the pods are
	Nodes    []netip.Prefix // addresses of nodes, or networks of them
	Exempt   []netip.Addr   // pods that never hide behind their node
}

// A masqueradeSet is a set in our table.
type masqueradeSet struct {
	name, kind string
	interval   bool
}

func masqueradeSets() []masqueradeSet {
	return []masqueradeSet{
		{"overlay4", "ipv4_addr", true}, {"nodes4", "ipv4_addr", true}, {"exempt4", "ipv4_addr", false},
		{"overlay6", "ipv6_addr", true}, {"nodes6", "ipv6_addr", true}, {"exempt6", "ipv6_addr", false},
	}
}

// masqueradeRules never change; what changes are the sets.
func masqueradeRules() []string {
	const rule = "%[1]s saddr @overlay%[2]s %[1]s saddr != @exempt%[2]s %[1]s daddr != @overlay%[2]s %[1]s daddr != " +
		"@nodes%[2]s %[1]s daddr != %[3]s masquerade fully-random"
	return []string{fmt.Sprintf(rule, "ip", "4", "224.0.0.0/4"), fmt.Sprintf(rule, "ip6", "6", "ff00::/8")}
}

// ruleMark is the comment by which a rule is known again, as nft prints rules in words of its own.
func ruleMark(rule string) string {
	return fmt.Sprintf("galaxy %08x", crc32.ChecksumIEEE([]byte(rule)))
}

// elements are what the sets hold, in order and without what another element covers.
func (m Masquerade) elements() map[string][]string {
	all := map[string][]string{}
	add := func(name string, prefixes []netip.Prefix) {
		for _, p := range Widest(prefixes) {
			if p.Addr().Is4() {
				all[name+"4"] = append(all[name+"4"], p.String())
			} else {
				all[name+"6"] = append(all[name+"6"], p.String())
			}
		}
	}
	add("overlay", m.Overlays)
	add("nodes", m.Nodes)
	var exempt []netip.Prefix
	for _, a := range m.Exempt {
		exempt = append(exempt, netip.PrefixFrom(a, a.BitLen()))
	}
	add("exempt", exempt)
	return all
}

// Widest are the prefixes that no other one covers, in order: a set refuses intervals that overlap.
func Widest(prefixes []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p.IsValid() {
			sorted = append(sorted, p.Masked())
		}
	}
	slices.SortFunc(sorted, comparePrefixes)
	var kept []netip.Prefix
	for _, p := range sorted {
		if n := len(kept); n == 0 || !kept[n-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	return kept
}

// Masquerader keeps the masquerading of a namespace.
type Masquerader struct {
	ns  netns.NsHandle
	nft knftables.Interface
}

// ErrNoNFT is returned where the program nft is missing or cannot work.
var ErrNoNFT = errors.New("nft cannot be used; install nftables 1.0.1 or newer, and run with CAP_NET_ADMIN")

// OpenMasquerader opens a namespace; netns.None() is the one of the caller.
func OpenMasquerader(ns netns.NsHandle) (*Masquerader, error) {
	m := &Masquerader{ns: ns}
	err := inside(ns, func() (err error) {
		m.nft, err = knftables.New(knftables.InetFamily, MasqueradeTable)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoNFT, err)
	}
	return m, nil
}

// MasqueradeReport is what a Set changed.
type MasqueradeReport struct {
	Rebuilt        bool // the sets and rules were missing or others than ours
	Added, Removed int  // elements of sets
}

// Changed says whether anything was written.
func (r MasqueradeReport) Changed() bool { return r.Rebuilt || r.Added+r.Removed > 0 }

// Set makes the table what is wanted, in one transaction, and only if it differs. Connections that exist keep the
// address that they have.
func (m *Masquerader) Set(ctx context.Context, want Masquerade) (report MasqueradeReport, err error) {
	err = inside(m.ns, func() error {
		have, intact, objects, err := m.read(ctx)
		if err != nil {
			return fmt.Errorf("read nftables table %s: %w", MasqueradeTable, err)
		}
		tx := m.nft.NewTransaction()
		if !intact {
			report.Rebuilt = true
			have = nil
			m.rebuild(tx, objects)
		}
		return m.write(ctx, tx, masqueradeSets(), want.elements(), have, &report)
	})
	if err != nil {
		return MasqueradeReport{}, err
	}
	return report, nil
}

// SetExempt changes nothing but which pods never hide behind their node. Where the table is not as we make it nothing
// is done: Set does all.
func (m *Masquerader) SetExempt(ctx context.Context, exempt []netip.Addr) (report MasqueradeReport, err error) {
	err = inside(m.ns, func() error {
		have, intact, _, err := m.read(ctx)
		if err != nil {
			return fmt.Errorf("read nftables table %s: %w", MasqueradeTable, err)
		}
		if !intact {
			return nil
		}
		ofPods := slices.DeleteFunc(masqueradeSets(), func(s masqueradeSet) bool { return s.interval })
		return m.write(ctx, m.nft.NewTransaction(), ofPods, Masquerade{Exempt: exempt}.elements(), have, &report)
	})
	if err != nil {
		return MasqueradeReport{}, err
	}
	return report, nil
}

// Remove takes our sets and rules away. What others have put into the table stays.
func (m *Masquerader) Remove(ctx context.Context) error {
	return inside(m.ns, func() error {
		objects, err := m.objects(ctx)
		if err != nil {
			return fmt.Errorf("read nftables table %s: %w", MasqueradeTable, err)
		}
		tx := m.nft.NewTransaction()
		m.remove(tx, objects)
		if !hasOthers(objects) && objects != nil {
			tx.Delete(&knftables.Table{})
		}
		if tx.NumOperations() == 0 {
			return nil
		}
		if err := m.nft.Run(ctx, tx); err != nil {
			return fmt.Errorf("take our rules from nftables table %s: %w", MasqueradeTable, err)
		}
		return nil
	})
}

// objects are the names in the table by their type; nil without the table.
func (m *Masquerader) objects(ctx context.Context) (map[string][]string, error) {
	objects, err := m.nft.ListAll(ctx)
	if knftables.IsNotFound(err) {
		return nil, nil
	}
	return objects, err
}

// read is what our sets hold, and whether the table is as we make it but for that.
func (m *Masquerader) read(ctx context.Context) (have map[string][]string, intact bool, objects map[string][]string,
	err error) {
	objects, err = m.objects(ctx)
	if err != nil || !slices.Contains(objects["chain"], masqueradeChain) {
		return nil, false, objects, err
	}
	rules, err := m.nft.ListRules(ctx, masqueradeChain)
	if err != nil {
		return nil, false, objects, err
	}
	var marks, wanted []string
	for _, r := range rules {
		if r.Comment == nil {
			return nil, false, objects, nil
		}
		marks = append(marks, *r.Comment)
	}
	for _, r := range masqueradeRules() {
		wanted = append(wanted, ruleMark(r))
	}
	if !slices.Equal(marks, wanted) {
		return nil, false, objects, nil
	}
	have = map[string][]string{}
	for _, set := range masqueradeSets() {
		if !slices.Contains(objects["set"], set.name) {
			return nil, false, objects, nil
		}
		elements, err := m.nft.ListElements(ctx, "set", set.name)
		if err != nil {
			return nil, false, objects, err
		}
		for _, e := range elements {
			p, err := parseElement(e.Key[0])
			if err != nil {
				return nil, false, objects, nil // nothing that we write
			}
			have[set.name] = append(have[set.name], p.String())
		}
	}
	return have, true, objects, nil
}

// parseElement reads an address or a prefix.
func parseElement(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// rebuild makes sets, chain and rules anew; at no moment are they half there, as it is one transaction.
func (m *Masquerader) rebuild(tx *knftables.Transaction, objects map[string][]string) {
	tx.Add(&knftables.Table{})
	m.remove(tx, objects)
	for _, set := range masqueradeSets() {
		s := &knftables.Set{Name: set.name, Type: set.kind}
		if set.interval {
			s.Flags = []knftables.SetFlag{knftables.IntervalFlag}
		}
		tx.Add(s)
	}
	tx.Add(&knftables.Chain{
		Name: masqueradeChain, Type: knftables.PtrTo(knftables.NATType),
		Hook:     knftables.PtrTo(knftables.PostroutingHook),
		Priority: knftables.PtrTo(knftables.SNATPriority),
	})
	for _, rule := range masqueradeRules() {
		tx.Add(&knftables.Rule{Chain: masqueradeChain, Rule: rule, Comment: knftables.PtrTo(ruleMark(rule))})
	}
}

// remove deletes those of our objects that are there.
func (m *Masquerader) remove(tx *knftables.Transaction, objects map[string][]string) {
	if slices.Contains(objects["chain"], masqueradeChain) {
		tx.Flush(&knftables.Chain{Name: masqueradeChain})
		tx.Delete(&knftables.Chain{Name: masqueradeChain})
	}
	for _, set := range masqueradeSets() {
		if slices.Contains(objects["set"], set.name) {
			tx.Delete(&knftables.Set{Name: set.name})
		}
	}
}

// hasOthers says whether the table holds what is not of masquerading.
func hasOthers(objects map[string][]string) bool {
	for kind, names := range objects {
		for _, name := range names {
			ours := kind == "chain" && name == masqueradeChain ||
				kind == "set" && slices.ContainsFunc(masqueradeSets(),
					func(s masqueradeSet) bool { return s.name == name }) ||
				kind == "table"
			if !ours {
				return true
			}
		}
	}
	return false
}

// write makes sets have the elements that are wanted, in one transaction.
func (m *Masquerader) write(ctx context.Context, tx *knftables.Transaction, sets []masqueradeSet, wanted,
	have map[string][]string, report *MasqueradeReport) error {
	for _, set := range sets {
		added, removed := m.change(tx, set, wanted[set.name], have[set.name])
		report.Added += added
		report.Removed += removed
	}
	if !report.Changed() {
		return nil
	}
	if err := m.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("write nftables table %s: %w", MasqueradeTable, err)
	}
	return nil
}

// change adds and removes elements of a set. Removals come first, as what is added may cover what is removed.
func (m *Masquerader) change(tx *knftables.Transaction, set masqueradeSet, want, have []string) (added, removed int) {
	wanted, had := map[string]bool{}, map[string]bool{}
	for _, e := range want {
		wanted[e] = true
	}
	for _, e := range have {
		had[e] = true
		if !wanted[e] {
			tx.Delete(set.element(e))
			removed++
		}
	}
	for _, e := range want {
		if !had[e] {
			tx.Add(set.element(e))
			added++
		}
	}
	return added, removed
}

// element is an element in the words of nft: only an interval set takes a prefix.
func (s masqueradeSet) element(prefix string) *knftables.Element {
	if p := netip.MustParsePrefix(prefix); p.IsSingleIP() {
		prefix = p.Addr().String()
	}
	return &knftables.Element{Set: s.name, Key: []string{prefix}}
}
