package ipam

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// TestConfig reads configurations and prints what they say, or what is wrong with them.
func TestConfig(t *testing.T) {
	datadriven.RunTest(t, "testdata/config.txt", func(_ *testing.T, d *datadriven.TestData) string {
		subnets, err := ParseConfig([]byte(d.Input))
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		var text strings.Builder
		for _, s := range subnets {
			fmt.Fprintf(&text, "%s gateway %s vlan %d nodes %v ranges %v: %d addresses\n", s.Prefix, s.Gateway, s.VLAN,
				s.NodeNetworks, s.Ranges, s.Len())
		}
		return text.String()
	})
}

func FuzzConfig(f *testing.F) {
	f.Add(`[{"nodeSubnets":["10.1.0.0/16"],"subnet":"10.0.0.0/24","gateway":"10.0.0.1","vlan":3,"ips":["10.0.0.2~10.0.0.9","10.0.0.10"]}]`)
	f.Add(`[{"routableSubnet":"10.1.0.0/16","subnet":"fd00::/64","gateway":"fd00::1","ips":["fd00::2~fd00::ffff:ffff:ffff:ffff"]}]`)
	f.Add(`[{"nodeSubnets":["0.0.0.0/0"],"subnet":"255.255.255.0/24","gateway":"255.255.255.1","ips":["255.255.255.250~255.255.255.255"]}]`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		subnets, err := ParseConfig([]byte(text))
		if err != nil {
			return
		}
		var all []Range
		for _, s := range subnets {
			if len(s.NodeNetworks) == 0 || !s.Prefix.Contains(s.Gateway) || s.Contains(s.Gateway) {
				t.Fatalf("accepted: %+v", s)
			}
			for i, r := range s.Ranges {
				if !s.Prefix.Contains(r.First) || !s.Prefix.Contains(r.Last) || r.Last.Less(r.First) || i > 0 &&
					!s.Ranges[i-1].Last.Next().Less(r.First) {
					t.Fatalf("accepted: %+v", s)
				}
			}
			all = append(all, s.Ranges...)
		}
		for i, r := range all {
			for _, other := range all[:i] {
				if r.Overlaps(other) {
					t.Fatalf("%s and %s overlap", r, other)
				}
			}
		}
	})
}

// TestRangeLaws compares ranges with plain sets of addresses.
func TestRangeLaws(t *testing.T) {
	drawRange := func(t *rapid.T, base netip.Addr, name string) Range {
		first := Plus(base, uint64(rapid.IntRange(0, 30).Draw(t, name)))
		return Range{First: first, Last: Plus(first, uint64(rapid.IntRange(0, 9).Draw(t, name+" length")))}
	}
	set := func(rs ...Range) map[netip.Addr]bool {
		all := map[netip.Addr]bool{}
		for _, r := range rs {
			for a := r.First; r.Contains(a); a = a.Next() {
				all[a] = true
			}
		}
		return all
	}
	rapid.Check(t, func(t *rapid.T) {
		base := netip.MustParseAddr(rapid.SampledFrom([]string{"10.0.0.240", "fd00::fff0", "255.255.255.200"}).Draw(t,
			"base"))
		a, b, c := drawRange(t, base, "a"), drawRange(t, base, "b"), drawRange(t, base, "c")
		if got := uint64(len(set(a))); got != a.Len() {
			t.Fatalf("%s has %d addresses, says %d", a, got, a.Len())
		}
		both, ok := a.Intersect(b)
		for addr := range set(a, b) {
			in := a.Contains(addr) && b.Contains(addr)
			if in != (ok && both.Contains(addr)) {
				t.Fatalf("intersection of %s and %s is %s: %s", a, b, both, addr)
			}
		}
		others := []Range{b}
		if !b.Overlaps(c) {
			others = MergeRanges([]Range{b, c})
		}
		left, gone := set(a.Minus(others)...), set(others...)
		for addr := range set(a) {
			if left[addr] == gone[addr] {
				t.Fatalf("%s minus %v is %v: %s", a, others, a.Minus(others), addr)
			}
		}
		if parsed, err := ParseRange(a.String()); err != nil || parsed != a {
			t.Fatalf("%s is read as %s, %v", a, parsed, err)
		}
	})
}

func TestRangeEnds(t *testing.T) {
	whole := PrefixRange(netip.MustParsePrefix("0.0.0.0/0"))
	if whole.Len() != 1<<32 || whole.Last.String() != "255.255.255.255" {
		t.Errorf("0.0.0.0/0 is %s with %d addresses", whole, whole.Len())
	}
	wide := PrefixRange(netip.MustParsePrefix("fd00::/8"))
	if wide.Len() != ^uint64(0) {
		t.Errorf("fd00::/8 has %d addresses, which is not saturated", wide.Len())
	}
	for _, bad := range []string{"", "~", "10.0.0.9~10.0.0.2", "10.0.0.1~fd00::1", "::ffff:10.0.0.1", "fe80::1%eth0",
		"10.0.0.256", "10.0.0.1~10.0.0.2~10.0.0.3"} {
		if r, err := ParseRange(bad); err == nil {
			t.Errorf("%q is read as %s", bad, r)
		}
	}
}

// However often a configuration says the same thing, its errors are few: they go into Events, and before people.
func TestManyErrors(t *testing.T) {
	entry := func(ips string) string {
		return `{"nodeSubnets":["192.168.0.0/16"],"subnet":"10.0.0.0/8","gateway":"10.0.0.1","ips":[` +
			strings.TrimSuffix(ips, ",") + `]}`
	}
	same := strings.Repeat(`"10.1.0.2~10.1.0.9",`, 40_000)
	for what, text := range map[string]string{
		"one range 40,000 times":     "[" + entry(same) + "]",
		"10,000 ranges that are bad": "[" + entry(strings.Repeat(`"10.1.0.2~10.0.0.9",`, 10_000)) + "]",
		"5,000 entries alike": "[" + strings.TrimSuffix(strings.Repeat(entry(`"10.1.0.2"`)+",", 5000), ",") +
			"]",
	} {
		_, err := ParseConfig([]byte(text))
		if err == nil {
			t.Fatalf("%s is taken", what)
		}
		few(t, what, err)
	}
	networks := strings.TrimSuffix(strings.Repeat(`{"cidr":"10.0.0.0/8"},`, 20_000), ",")
	_, err := ParseOverlay([]byte("[" + networks + "]"))
	if err == nil {
		t.Fatal("an overlay network is taken 20,000 times")
	}
	few(t, "one overlay network 20,000 times", err)
}

// few fails unless an error has as many lines as maxErrors lets through, and they are short.
func few(t *testing.T, what string, err error) {
	t.Helper()
	text := err.Error()
	if lines := strings.Count(text, "\n") + 1; lines != maxErrors+1 || len(text) > 20_000 ||
		!strings.Contains(text, " more") {
		t.Errorf("%s makes %d lines of %d bytes, which end with %q", what, lines, len(text), text[len(text)-40:])
	}
}

// However long a value is, its error is short.
func TestLongValues(t *testing.T) {
	long := strings.Repeat("\x1b", 1<<18)
	quoted := strconv.Quote(strings.Repeat("x", 1<<20))
	for _, text := range []string{
		`[{"nodeSubnets":[` + quoted + `],"subnet":` + quoted + `,"gateway":` + quoted + `,"ips":[` + quoted + `],` +
			quoted + `:1,"vlan":` + quoted + `}]`,
		`[` + quoted + `]`, `[{` + quoted + `:1,` + quoted + `:2}]`, long,
	} {
		for _, parse := range []func([]byte) error{
			func(text []byte) error { _, err := ParseConfig(text); return err },
			func(text []byte) error { _, err := ParseOverlay(text); return err },
		} {
			if err := parse([]byte(text)); err == nil || len(err.Error()) > 3000 {
				t.Errorf("%.40q makes an error of %d bytes", text, len(fmt.Sprint(err)))
			}
		}
	}
	if _, err := ParseOverlay([]byte(`[{"cidr":` + quoted + `}]`)); err == nil || len(err.Error()) > 300 {
		t.Errorf("%d bytes", len(fmt.Sprint(err)))
	}
}

// A configuration of as many networks of nodes as fit into a ConfigMap is read in steps that grow with it, and no
// network is kept twice.
func TestManyNodeNetworks(t *testing.T) {
	var texts []string
	for i := range 60_000 {
		texts = append(texts, fmt.Sprintf(`"10.%d.%d.0/24"`, i/256%100, i%256))
	}
	subnets, err := ParseConfig([]byte(`[{"nodeSubnets":[` + strings.Join(texts, ",") +
		`],"subnet":"10.200.0.0/16","gateway":"10.200.0.1","ips":[]}]`))
	if err != nil || len(subnets[0].NodeNetworks) != 25_600 {
		t.Fatalf("%d subnets: %v", len(subnets), err)
	}
}
