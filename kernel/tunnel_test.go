//go:build linux

package kernel

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// needTunnels skips aloud where the kernel has no module for a tunnel.
func needTunnels(t *testing.T, h *host, mode Mode) {
	t.Helper()
	local := netip.MustParseAddr("10.0.0.1")
	if mode == IP6Tnl {
		local = netip.MustParseAddr("fd00::1")
	}
	k := h.open()
	probe := Tunnel{Name: "galaxy.probe", Mode: mode, Local: local, MTU: 1400}
	report, err := k.Apply(t.Context(), Changes{{Op: AddTunnel, Tunnel: probe}})
	check(t, err)
	if errors.Is(report.Err(), ErrNoTunnels) {
		t.Skipf("the kernel here has no %s: this test runs in a virtual machine, see integration/vm", mode)
	}
	check(t, report.Err())
	report, err = k.Apply(t.Context(), Changes{{Op: DeleteTunnel, Tunnel: probe}})
	check(t, err)
	check(t, report.Err())
}

// routed is two nodes with a router between them: neither is on a link of the other.
func routed(t *testing.T) (a, b *host) {
	a, b = newHost(t), newHost(t)
	r := newHost(t)
	wire(a, "eth0", r, "a")
	wire(b, "eth0", r, "b")
	a.address("eth0", "10.0.0.1/24", "fd00::1/64")
	b.address("eth0", "10.9.0.2/24", "fd09::2/64")
	r.address("a", "10.0.0.254/24", "fd00::fe/64")
	r.address("b", "10.9.0.254/24", "fd09::fe/64")
	r.sysctl("net/ipv4/ip_forward", "1")
	r.sysctl("net/ipv6/conf/all/forwarding", "1")
	for h, via := range map[*host][]string{a: {"10.0.0.254", "fd00::fe"}, b: {"10.9.0.254", "fd09::fe"}} {
		for i, all := range []string{"0.0.0.0/0", "::/0"} {
			check(t, h.nl.RouteAdd(&netlink.Route{LinkIndex: h.link("eth0").Attrs().Index,
				Dst: toNetlink(netip.MustParsePrefix(all)).IPNet,
				Gw:  netip.MustParseAddr(via[i]).AsSlice()}))
		}
	}
	a.address("lo", "10.244.1.1/32", "fd44:0:0:1::1/128")
	b.address("lo", "10.244.2.1/32", "fd44:0:0:2::1/128")
	b.serve("10.244.2.1:7")
	b.serve("[fd44:0:0:2::1]:7")
	return a, b
}

func TestTunnelsCarryPackets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode                                 Mode
		na, nb, sa, sb, tunA, tunB, from, to string
	}{
		{IPIP, "10.0.0.1", "10.9.0.2", "10.244.1.0/24", "10.244.2.0/24", "10.244.1.0", "10.244.2.0", "10.244.1.1",
			"10.244.2.1:7"},
		{IP6Tnl, "fd00::1", "fd09::2", "fd44:0:0:1::/64", "fd44:0:0:2::/64", "fd44:0:0:1::aa", "fd44:0:0:2::aa",
			"fd44:0:0:1::1", "[fd44:0:0:2::1]:7"},
	} {
		t.Run(string(c.mode), func(t *testing.T) {
			needTunnels(t, newHost(t), c.mode)
			a, b := routed(t)
			na, nb := node(t, "a", a, c.na, c.sa), node(t, "b", b, c.nb, c.sb)
			addr := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
			wa, problems := Want(na, []Node{nb}, Config{TunnelAddresses: addr(c.tunA)})
			if len(problems) > 0 || len(wa.Tunnels) != 1 {
				t.Fatalf("%v\n%s", problems, wa)
			}
			wb, _ := Want(nb, []Node{na}, Config{TunnelAddresses: addr(c.tunB)})
			ka, kb := a.open(), b.open()
			converge(t, ka, wa)
			converge(t, kb, wb)
			if r := converge(t, ka, wa); r.Writes != 0 {
				t.Errorf("the second time: %+v, want no writes", r)
			}
			a.reaches(c.from, c.to, c.from)
			a.reaches(c.tunA, c.to, c.tunA) // the node itself

			// The tunnel is repaired in place and its routes come back.
			name := firstTunnel(wa).Name
			check(t, a.nl.LinkSetDown(a.link(name)))
			converge(t, ka, wa)
			a.reaches(c.from, c.to, c.from)

			// Another way: without the tunnel, and back.
			converge(t, ka, State{})
			if _, err := a.ask(c.from, c.to); err == nil {
				t.Error("packets arrive without a tunnel")
			}
			converge(t, ka, wa)
			a.reaches(c.from, c.to, c.from)
		})
	}
}

func firstTunnel(s State) Tunnel {
	for _, t := range s.Tunnels {
		return t
	}
	return Tunnel{}
}

func TestTunnelsAreChangedInPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode            Mode
		one, two, three string
	}{
		{IPIP, `tunnel galaxy.t ipip local 10.0.0.1 mtu 1480
route 10.1.0.0/24 via 10.9.0.2 dev galaxy.t onlink
`, `tunnel galaxy.t ipip local 10.0.0.5 mtu 1400 addr 10.244.1.0/32
route 10.1.0.0/24 via 10.9.0.2 dev galaxy.t onlink src 10.244.1.0
`, `tunnel galaxy.t ipip local 10.0.0.5 mtu 1400 addr 10.244.1.9/32
route 10.1.0.0/24 via 10.9.0.2 dev galaxy.t onlink src 10.244.1.9
`},
		{IP6Tnl, `tunnel galaxy.t ip6tnl local fd00::1 mtu 1460
route fd01::/64 via fd09::2 dev galaxy.t onlink
`, `tunnel galaxy.t ip6tnl local fd00::5 mtu 1400 addr fd44:0:0:1::aa/128
route fd01::/64 via fd09::2 dev galaxy.t onlink src fd44:0:0:1::aa
`, `tunnel galaxy.t ip6tnl local fd00::5 mtu 1400 addr fd44:0:0:1::bb/128
route fd01::/64 via fd09::2 dev galaxy.t onlink src fd44:0:0:1::bb
`},
	} {
		t.Run(string(c.mode), func(t *testing.T) {
			a, b := newHost(t), newHost(t)
			needTunnels(t, a, c.mode)
			wire(a, "eth0", b, "eth0")
			a.address("eth0", "10.0.0.1/24", "10.0.0.5/24", "fd00::1/64", "fd00::5/64")
			k := a.open()
			one, two := parseState(t, c.one), parseState(t, c.two)
			converge(t, k, one)
			index := a.link("galaxy.t").Attrs().Index
			converge(t, k, two)
			converge(t, k, parseState(t, c.three))
			converge(t, k, one)
			if now := a.link("galaxy.t").Attrs().Index; now != index {
				t.Errorf("the tunnel was made anew: link %d, then %d", index, now)
			}
			networks, err := k.LocalNetworks(t.Context())
			check(t, err)
			if slices.ContainsFunc(networks, func(n LocalNetwork) bool { return ours(n.Link) }) {
				t.Errorf("our own tunnel is a local network: %v", networks)
			}

			// A tunnel with a far end is none of those that we make.
			tunnel := firstTunnel(one)
			by := deviceOf(tunnel)
			check(t, a.nl.LinkDel(a.link("galaxy.t")))
			switch by := by.(type) {
			case *netlink.Iptun:
				by.Remote = netip.MustParseAddr("10.9.0.9").AsSlice()
			case *netlink.Ip6tnl:
				by.Remote = netip.MustParseAddr("fd09::9").AsSlice()
			}
			check(t, a.nl.LinkAdd(by))
			have, err := k.Read(t.Context())
			check(t, err)
			if got := have.Tunnels["galaxy.t"].Mode; got == c.mode {
				t.Errorf("a tunnel with a far end reads as %s", got)
			}
			converge(t, k, one)
		})
	}
}

// A device of another kind that has our name is left alone, and named.
func TestForeignDeviceWithOurName(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	needTunnels(t, a, IPIP)
	wire(a, DefaultIPIP, b, "eth0")
	k := a.open()
	have, err := k.Read(t.Context())
	check(t, err)
	report, err := k.Apply(t.Context(), Diff(parseState(t, "tunnel galaxy.ipip ipip local 10.0.0.1 mtu 1480\n"), have))
	check(t, err)
	if report.Err() == nil || !strings.Contains(report.Err().Error(), "no such tunnel") {
		t.Errorf("the report says %v", report.Err())
	}
	if got := a.link(DefaultIPIP).Type(); got != "veth" {
		t.Errorf("the device is a %s now", got)
	}
}

// A tunnel that a former network plugin has left with the same ends keeps the kernel from making ours: it is named, and
// left alone.
func TestTunnelOfAFormerPlugin(t *testing.T) {
	t.Parallel()
	a, _ := routed(t)
	needTunnels(t, a, IPIP)
	check(t, a.nl.LinkAdd(&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "flannel.ipip", MTU: 1480},
		Local: netip.MustParseAddr("10.0.0.1").AsSlice()}))
	k := a.open()
	have, err := k.Read(t.Context())
	check(t, err)
	report, err := k.Apply(t.Context(), Diff(parseState(t, "tunnel galaxy.ipip ipip local 10.0.0.1 mtu 1480\n"), have))
	check(t, err)
	if report.Err() == nil || !strings.Contains(report.Err().Error(), "ip link del flannel.ipip") {
		t.Errorf("the report says %v", report.Err())
	}
	a.link("flannel.ipip")
}

// Without the module the routes beside the tunnel are applied, and the report says what to load.
func TestNoModuleIsTold(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24")
	k := a.open()
	report, err := k.Apply(t.Context(), Diff(parseState(t, `tunnel galaxy.ipip ipip local 10.0.0.1 mtu 1480
route 10.1.0.0/24 via 10.0.0.2 dev eth0
route 10.2.0.0/24 via 10.9.0.2 dev galaxy.ipip onlink
`), State{}))
	check(t, err)
	if report.Err() == nil {
		t.Skip("the kernel here has ipip")
	}
	if !errors.Is(report.Err(), ErrNoTunnels) || !strings.Contains(report.Err().Error(), "modprobe ipip") ||
		report.Applied != 1 || len(report.Failures) != 2 {
		t.Errorf("report %+v", report)
	}
}
