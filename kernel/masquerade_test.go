//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"pgregory.net/rapid"
)

func openMasquerader(t *testing.T, h *host) *Masquerader {
	t.Helper()
	m, err := OpenMasquerader(h.ns)
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skip("there is no nft here: install nftables to run this test")
	}
	check(t, err)
	return m
}

func prefixes(s string) []netip.Prefix { return list(s, netip.MustParsePrefix) }

// masked is a node with a pod behind it and the world before it: a server outside, another node, and a pod of that.
func masked(t *testing.T) (pod, node *host) {
	pod, node = newHost(t), newHost(t)
	world := newHost(t)
	wire(pod, "eth0", node, "pod")
	wire(node, "eth0", world, "eth0")
	pod.address("eth0", "10.244.1.5/24", "10.244.1.6/24", "fd44:0:0:1::5/64", "fd44:0:0:1::6/64")
	node.address("pod", "10.244.1.1/24", "fd44:0:0:1::1/64")
	node.address("eth0", "10.0.0.1/24", "fd00::1/64")
	world.address("eth0", "10.0.0.2/24", "fd00::2/64")
	world.address("lo", "192.0.2.9/32", "10.244.2.5/32", "2001:db8::9/128", "fd44:0:0:2::5/128")
	node.sysctl("net/ipv4/ip_forward", "1")
	node.sysctl("net/ipv6/conf/all/forwarding", "1")
	for _, r := range []struct {
		h              *host
		dst, via, link string
	}{
		{pod, "0.0.0.0/0", "10.244.1.1", "eth0"}, {pod, "::/0", "fd44:0:0:1::1", "eth0"},
		{node, "0.0.0.0/0", "10.0.0.2", "eth0"}, {node, "::/0", "fd00::2", "eth0"},
		{world, "10.244.1.0/24", "10.0.0.1", "eth0"}, {world, "fd44:0:0:1::/64", "fd00::1", "eth0"},
	} {
		check(t, r.h.nl.RouteAdd(&netlink.Route{LinkIndex: r.h.link(r.link).Attrs().Index,
			Dst: toNetlink(netip.MustParsePrefix(r.dst)).IPNet, Gw: netip.MustParseAddr(r.via).AsSlice()}))
	}
	for _, at := range []string{"192.0.2.9", "10.0.0.2", "10.244.2.5", "[2001:db8::9]", "[fd00::2]",
		"[fd44:0:0:2::5]"} {
		world.serve(at + ":7")
	}
	return pod, node
}

func TestMasqueradeHidesPodsFromTheWorld(t *testing.T) {
	t.Parallel()
	pod, node := masked(t)
	m := openMasquerader(t, node)
	const a, b, a6, b6 = "10.244.1.5", "10.244.1.6", "fd44:0:0:1::5", "fd44:0:0:1::6"
	pod.reaches(a, "192.0.2.9:7", a)
	want := Masquerade{
		Overlays: prefixes("10.244.0.0/16,fd44::/32"), Nodes: prefixes("10.0.0.0/24,fd00::2/128"),
		Exempt: list(b+","+b6, netip.MustParseAddr),
	}
	report, err := m.Set(t.Context(), want)
	check(t, err)
	if !report.Rebuilt || report.Added != 6 {
		t.Errorf("the first time: %+v", report)
	}
	report, err = m.Set(t.Context(), want)
	check(t, err)
	if report.Changed() {
		t.Errorf("the second time: %+v, want no change", report)
	}
	pod.reaches(a, "192.0.2.9:7", "10.0.0.1") // to the world: hidden
	pod.reaches(a, "10.0.0.2:7", a)           // to a node
	pod.reaches(a, "10.244.2.5:7", a)         // to a pod
	pod.reaches(b, "192.0.2.9:7", b)          // opted out
	pod.reaches(a6, "[2001:db8::9]:7", "fd00::1")
	pod.reaches(a6, "[fd00::2]:7", a6)
	pod.reaches(a6, "[fd44:0:0:2::5]:7", a6)
	pod.reaches(b6, "[2001:db8::9]:7", b6)

	// Others opt out; only that is written.
	want.Exempt = list(a+","+b6, netip.MustParseAddr)
	report, err = m.Set(t.Context(), want)
	check(t, err)
	if report != (MasqueradeReport{Added: 1, Removed: 1}) {
		t.Errorf("one pod for another: %+v", report)
	}
	pod.reaches(a, "192.0.2.9:7", a)
	pod.reaches(b, "192.0.2.9:7", "10.0.0.1")

	for _, c := range []struct {
		exempt string
		want   MasqueradeReport
	}{{b, MasqueradeReport{Added: 1, Removed: 2}}, {b, MasqueradeReport{}}} {
		report, err = m.SetExempt(t.Context(), list(c.exempt, netip.MustParseAddr))
		check(t, err)
		if report != c.want {
			t.Errorf("nothing but pods: %+v, want %+v", report, c.want)
		}
	}
	pod.reaches(a, "192.0.2.9:7", "10.0.0.1")
	pod.reaches(b, "192.0.2.9:7", b)

	check(t, m.Remove(t.Context()))
	report, err = m.SetExempt(t.Context(), list(a, netip.MustParseAddr))
	if err != nil || report.Changed() {
		t.Errorf("without a table: %+v, %v", report, err)
	}
	pod.reaches(b, "192.0.2.9:7", b)
	check(t, m.Remove(t.Context()))
	if left := nft(t, node, "list ruleset"); left != "" {
		t.Errorf("after the removal there is\n%s", left)
	}
}

func nft(t *testing.T, h *host, command string) string {
	t.Helper()
	var out []byte
	err := inside(h.ns, func() (err error) {
		out, err = exec.CommandContext(t.Context(), "nft", command).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("nft %s: %v: %s", command, err, out)
	}
	return string(out)
}

// What somebody else does to our part is repaired, and his part is left alone.
func TestMasqueradeIsRepaired(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	m := openMasquerader(t, h)
	want := Masquerade{Overlays: prefixes("10.244.0.0/16"), Nodes: prefixes("10.0.0.1/32"),
		Exempt: list("10.244.0.9", netip.MustParseAddr)}
	_, err := m.Set(t.Context(), want)
	check(t, err)
	intact := nft(t, h, "list table inet galaxy")
	nft(t, h, "add table ip foreign; add chain ip foreign c; add chain inet galaxy other; add rule inet galaxy other "+
		"accept")
	for _, damage := range []string{
		"flush chain inet galaxy pods-out",
		"flush chain inet galaxy pods-out; delete chain inet galaxy pods-out",
		"flush set inet galaxy overlay4",
		"add element inet galaxy nodes4 { 172.16.0.0/12 }",
		"add element inet galaxy nodes4 { 172.16.0.1-172.16.0.9 }",
		"insert rule inet galaxy pods-out accept",
		"delete table inet galaxy; add table inet galaxy; add chain inet galaxy other; add rule inet galaxy other " +
			"accept",
		"flush chain inet galaxy pods-out; delete set inet galaxy exempt4",
	} {
		nft(t, h, damage)
		report, err := m.Set(t.Context(), want)
		check(t, err)
		if !report.Changed() {
			t.Errorf("after %q nothing was repaired", damage)
		}
		got := nft(t, h, "list table inet galaxy")
		for line := range strings.Lines(intact) {
			if !strings.Contains(got, line) {
				t.Errorf("after %q the table lacks %s", damage, line)
			}
		}
		if !strings.Contains(got, "chain other") || !strings.Contains(got, "accept") {
			t.Errorf("after %q the chain of another is gone:\n%s", damage, got)
		}
		if report, err = m.Set(t.Context(), want); err != nil || report.Changed() {
			t.Errorf("after %q a second time changes %+v: %v", damage, report, err)
		}
	}
	check(t, m.Remove(t.Context()))
	if got := nft(t, h, "list ruleset"); !strings.Contains(got, "chain other") ||
		!strings.Contains(got, "table ip foreign") || strings.Contains(got, "masquerade") {
		t.Errorf("after the removal there is\n%s", got)
	}
}

// Sets go from any content to any other in one transaction, overlaps and neighbours included.
func TestMasqueradeSetsByDifference(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	m := openMasquerader(t, h)
	for i, step := range []string{
		"10.0.0.0/24,10.0.1.0/24,10.0.2.1/32", "10.0.0.0/23,10.0.2.0/31,10.0.2.2/32,10.0.2.3/32",
		"10.0.0.0/8,10.1.0.0/16,10.0.0.1/32",
		"10.0.0.1/32,fd00::1/128", "10.0.0.1/32,10.0.0.2/32,10.0.0.3/32,fd00::/64,fd00:1::/64", "0.0.0.0/0,::/0", "-",
		"10.0.0.7/32",
	} {
		want := Masquerade{Nodes: prefixes(step)}
		_, err := m.Set(t.Context(), want)
		check(t, err)
		if report, err := m.Set(t.Context(), want); err != nil || report.Changed() {
			t.Fatalf("step %d, %s: a second time changes %+v: %v", i, step, report, err)
		}
	}
	var many []netip.Prefix
	for i := range 5000 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i / 256), byte(i)}), 32))
	}
	report, err := m.Set(t.Context(), Masquerade{Nodes: many})
	check(t, err)
	if report.Added != 5000 || report.Rebuilt {
		t.Errorf("5000 nodes: %+v", report)
	}
	if report, err = m.Set(t.Context(), Masquerade{Nodes: many[1:]}); err != nil || report.Removed != 1 ||
		report.Added != 0 {
		t.Errorf("one node less: %+v, %v", report, err)
	}
}

func TestWidestCoversTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOf(rapid.Custom(func(t *rapid.T) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "host")}),
				rapid.IntRange(24, 32).Draw(t, "bits"))
		})).Draw(t, "prefixes")
		kept := Widest(all)
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			in := func(p netip.Prefix) bool { return p.Contains(a) }
			covered := 0
			for _, p := range kept {
				if in(p) {
					covered++
				}
			}
			if covered > 1 || (covered == 1) != slices.ContainsFunc(all, in) {
				t.Fatalf("%v of %v covers %s %d times", kept, all, a, covered)
			}
		}
	})
}

func BenchmarkMasqueradeUnchanged(b *testing.B) {
	for _, nodes := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			h := newHost(b)
			m, err := OpenMasquerader(h.ns)
			if err != nil {
				b.Skip(err)
			}
			want := Masquerade{Overlays: prefixes("10.244.0.0/16")}
			for i := range nodes {
				want.Nodes = append(want.Nodes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i / 256),
					byte(i)}), 32))
			}
			_, err = m.Set(b.Context(), want)
			check(b, err)
			for b.Loop() {
				report, err := m.Set(b.Context(), want)
				check(b, err)
				if report.Changed() {
					b.Fatalf("%+v", report)
				}
			}
		})
	}
}
