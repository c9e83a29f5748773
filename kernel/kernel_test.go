//go:build linux

package kernel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// needRoot skips aloud without root; where CI is set, root is promised.
func needRoot(t testing.TB) {
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root for network namespaces, and CI must give it")
	}
	t.Skip("this test needs root for network namespaces: run it with sudo")
}

// host is a network namespace for one test.
type host struct {
	t  testing.TB
	ns netns.NsHandle
	nl *netlink.Handle
}

func newHost(t testing.TB) *host {
	t.Helper()
	needRoot(t)
	made := make(chan netns.NsHandle)
	go func() {
		// The thread stays locked and dies with the goroutine: it is of no use in a namespace of its own.
		runtime.LockOSThread()
		ns, err := netns.New()
		if err != nil {
			t.Errorf("make a network namespace: %v", err)
		}
		made <- ns
	}()
	h := &host{t: t, ns: <-made}
	if !h.ns.IsOpen() {
		t.FailNow()
	}
	var err error
	h.nl, err = netlink.NewHandleAt(h.ns, unix.NETLINK_ROUTE)
	check(t, err)
	t.Cleanup(func() {
		h.nl.Close()
		_ = h.ns.Close()
	})
	h.up("lo")
	h.sysctl("net/ipv6/conf/default/accept_dad", "0") // or an IPv6 address is of no use for a second
	return h
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *host) link(name string) netlink.Link {
	h.t.Helper()
	l, err := h.nl.LinkByName(name)
	check(h.t, err)
	return l
}

func (h *host) up(name string) { check(h.t, h.nl.LinkSetUp(h.link(name))) }

func (h *host) address(link string, prefixes ...string) {
	h.t.Helper()
	for _, p := range prefixes {
		check(h.t, h.nl.AddrAdd(h.link(link), toNetlink(netip.MustParsePrefix(p))))
	}
}

// wire joins two hosts by a veth pair.
func wire(a *host, an string, b *host, bn string) {
	a.t.Helper()
	check(a.t, a.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: an}, PeerName: bn, PeerNamespace: netlink.NsFd(b.ns),
	}))
	a.up(an)
	b.up(bn)
}

func (h *host) open() *Kernel {
	h.t.Helper()
	k, err := Open(h.ns)
	check(h.t, err)
	h.t.Cleanup(k.Close)
	return k
}

func (h *host) sysctl(path, value string) {
	h.t.Helper()
	check(h.t, inside(h.ns, func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) }))
}

// setting reads a setting of the namespace.
func (h *host) setting(path string) string {
	h.t.Helper()
	var value []byte
	check(h.t, inside(h.ns, func() (err error) { value, err = os.ReadFile("/proc/sys/" + path); return err }))
	return strings.TrimSpace(string(value))
}

// serve answers every UDP packet at an address with the address that it came from.
func (h *host) serve(at string) {
	h.t.Helper()
	var c net.PacketConn
	check(h.t, inside(h.ns, func() (err error) { c, err = net.ListenPacket("udp", at); return err }))
	h.t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 64)
		for {
			_, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(from.(*net.UDPAddr).AddrPort().Addr().String()), from)
		}
	}()
}

// ask sends a packet from an address and returns the source that the far side saw.
func (h *host) ask(from, to string) (string, error) {
	var c net.Conn
	err := inside(h.ns, func() (err error) {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		c, err = d.Dial("udp", to)
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close() //nolint:errcheck // the test is over
	b := make([]byte, 64)
	for range 10 { // a first packet may be lost while the neighbour is asked for
		if _, err = c.Write([]byte("who am I")); err != nil {
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		var n int
		if n, err = c.Read(b); err == nil {
			return string(b[:n]), nil
		}
	}
	return "", err
}

func (h *host) reaches(from, to, seen string) {
	h.t.Helper()
	switch got, err := h.ask(from, to); {
	case err != nil:
		h.t.Errorf("%s does not reach %s: %v", from, to, err)
	case got != seen:
		h.t.Errorf("%s sees packets of %s from %s, want %s", to, from, got, seen)
	}
}

// converge makes a namespace what is wanted and checks that a second time writes nothing.
func converge(t testing.TB, k *Kernel, want State) Report {
	t.Helper()
	ctx := t.Context()
	have, err := k.Read(ctx)
	check(t, err)
	report, err := k.Apply(ctx, Diff(want, have))
	check(t, err)
	check(t, report.Err())
	have, err = k.Read(ctx)
	check(t, err)
	if !have.Equal(want) {
		t.Fatalf("the kernel has\n%swant\n%s", have, want)
	}
	return report
}

// node is a node with its pods' subnets; the first addresses of those stand on its loopback.
func node(t testing.TB, name string, h *host, addresses, subnets string) Node {
	networks, err := h.open().LocalNetworks(t.Context())
	check(t, err)
	return Node{
		Name: name, Addresses: list(addresses, netip.MustParseAddr), Subnets: list(subnets, netip.MustParsePrefix),
		Networks: networks,
	}
}

func TestPlainRoutesCarryPackets(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24", "fd00::1/64")
	b.address("eth0", "10.0.0.2/24", "fd00::2/64")
	a.address("lo", "10.244.1.1/32", "fd44:0:0:1::1/128")
	b.address("lo", "10.244.2.1/32", "fd44:0:0:2::1/128")
	na := node(t, "a", a, "10.0.0.1,fd00::1", "10.244.1.0/24,fd44:0:0:1::/64")
	nb := node(t, "b", b, "10.0.0.2,fd00::2", "10.244.2.0/24,fd44:0:0:2::/64")
	if len(na.Networks) != 2 || na.Networks[0].MTU != 1500 {
		t.Fatalf("the networks of a are %v", na.Networks)
	}
	ka, kb := a.open(), b.open()
	wa, problems := Want(na, []Node{nb}, Config{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	wb, _ := Want(nb, []Node{na}, Config{})
	if r := converge(t, ka, wa); r.Writes != 2 || r.Sends != 1 || r.Applied != 2 {
		t.Errorf("the first time: %+v, want two routes in one send", r)
	}
	converge(t, kb, wb)
	if r := converge(t, ka, wa); r.Writes != 0 || r.Sends != 0 {
		t.Errorf("the second time: %+v, want no writes", r)
	}
	b.serve("10.244.2.1:7")
	b.serve("[fd44:0:0:2::1]:7")
	a.reaches("10.244.1.1", "10.244.2.1:7", "10.244.1.1")
	a.reaches("fd44:0:0:1::1", "[fd44:0:0:2::1]:7", "fd44:0:0:1::1")

	converge(t, ka, State{})
	if _, err := a.ask("10.244.1.1", "10.244.2.1:7"); err == nil {
		t.Error("packets arrive without a route")
	}
}

// All that a route can have is read as it was written, and is replaced in place.
func TestRoutesAreReadAsWritten(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24", "10.0.0.5/24", "fd00::1/64", "fd00::5/64")
	k := a.open()
	for _, text := range []string{
		"route 10.1.0.0/24 via 10.0.0.2 dev eth0\nroute fd01::/64 via fd00::2 dev eth0\n",
		"route 10.1.0.0/24 via 10.0.0.3 dev eth0 mtu 1400\nroute fd01::/64 via fd00::3 dev eth0 mtu 1400\n",
		"route 10.1.0.0/24 via 172.16.0.1 dev eth0 onlink src 10.0.0.5\nroute fd01::/64 via fd99::1 dev eth0 onlink " +
			"src fd00::5\n",
		"route 10.1.0.0/24 dev eth0\nroute fd01::/64 dev eth0\n",
		"route 10.9.0.0/16 via 10.0.0.2 dev eth0\nroute fd01::/64 via fd00::2 dev eth0\n",
		"",
	} {
		converge(t, k, parseState(t, text))
	}
}

// An address of a subnet that the node had before, and another has now, is in the way of the route there: it is named,
// and stays.
func TestAddressOfAFormerSubnet(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	wire(a, "br7", b, "eth1")
	a.address("eth0", "10.0.0.1/24")
	a.address("br7", "10.1.0.1/24")
	k := a.open()
	have, err := k.Read(t.Context())
	check(t, err)
	report, err := k.Apply(t.Context(), Diff(parseState(t, "route 10.1.0.0/24 via 10.0.0.2 dev eth0\n"), have))
	check(t, err)
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), "ip addr show dev br7") ||
		!report.Failures[0].Conflict {
		t.Errorf("the report says %v", err)
	}
}

// Routes of others stay, whatever is wanted; where one is in the way, that is a conflict, and the rest is applied.
func TestForeignRoutesAreKept(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24", "fd00::1/64")
	foreign := func(dst, via string, metric int) *netlink.Route {
		p := netip.MustParsePrefix(dst)
		return &netlink.Route{LinkIndex: a.link("eth0").Attrs().Index, Dst: toNetlink(p).IPNet,
			Gw: net.IP(netip.MustParseAddr(via).AsSlice()), Protocol: 186, Priority: metric}
	}
	for _, r := range []*netlink.Route{
		foreign("10.1.0.0/24", "10.0.0.9", 0), foreign("10.2.0.0/24", "10.0.0.9", 50),
		foreign("10.3.0.0/24", "10.0.0.9", 0),
		foreign("fd01::/64", "fd00::9", 0), foreign("fd03::/64", "fd00::9", 0),
	} {
		check(t, a.nl.RouteAdd(r))
	}
	k := a.open()
	want := parseState(t, "route 10.1.0.0/24 via 10.0.0.2 dev eth0\nroute 10.2.0.0/24 via 10.0.0.2 dev eth0\nroute "+
		"fd01::/64 via fd00::2 dev eth0\n")
	have, err := k.Read(t.Context())
	check(t, err)
	if len(have.Routes) != 0 {
		t.Fatalf("foreign routes are read as ours:\n%s", have)
	}
	changes := append(Diff(want, have),
		Change{Op: DeleteRoute, Route: Route{Dst: netip.MustParsePrefix("10.3.0.0/24")}},
		Change{Op: DeleteRoute, Route: Route{Dst: netip.MustParsePrefix("fd03::/64")}})
	report, err := k.Apply(t.Context(), changes)
	check(t, err)
	if report.Applied != 3 || len(report.Failures) != 2 {
		t.Fatalf("report %+v", report)
	}
	for _, f := range report.Failures {
		if !f.Conflict || !strings.Contains(f.Error(), "via 10.0.0.9 dev eth0 (protocol 186)") &&
			!strings.Contains(f.Error(), "via fd00::9 dev eth0 (protocol 186)") {
			t.Errorf("conflict %v: %v", f.Conflict, f)
		}
	}
	routes, err := a.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: 186}, netlink.RT_FILTER_PROTOCOL)
	check(t, err)
	if len(routes) != 5 {
		t.Errorf("%d of 5 foreign routes are left: %v", len(routes), routes)
	}
}

// The addresses of a host are reported with what they are good for.
func TestHostAddresses(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24", "10.0.0.2/24", "fd00::1/64")
	passing := toNetlink(netip.MustParsePrefix("fd00::abcd/64"))
	passing.PreferedLft, passing.ValidLft, passing.Flags = 0, 1000, unix.IFA_F_NODAD
	check(t, a.nl.AddrAdd(a.link("eth0"), passing))
	check(t, a.nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "docker0"}}))
	a.up("docker0")
	a.address("docker0", "172.17.0.1/16")
	found, err := a.open().HostAddresses(t.Context())
	check(t, err)
	got := map[string]HostAddress{}
	for _, h := range found {
		got[h.Addr.String()] = h
	}
	if len(got) != 5 || !got["172.17.0.1"].Inner || got["10.0.0.1"].Inner || got["10.0.0.2"].Passing ||
		got["fd00::1"].Passing || !got["fd00::abcd"].Passing {
		t.Errorf("%+v", found)
	}
}

// Routes with our number that we would not make are found and repaired.
func TestStraysAreRepaired(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24", "fd00::1/64")
	eth0 := a.link("eth0").Attrs().Index
	for dst, via := range map[string][2]string{"10.1.0.0/24": {"10.0.0.2", "10.0.0.3"},
		"fd01::/64": {"fd00::2", "fd00::3"}} {
		net1 := toNetlink(netip.MustParsePrefix(dst)).IPNet
		check(t, a.nl.RouteAdd(&netlink.Route{LinkIndex: eth0, Dst: net1, Gw: net.ParseIP(via[0]), Protocol: Protocol,
			Priority: 7}))
		check(t, a.nl.RouteAdd(&netlink.Route{Dst: net1, Protocol: Protocol, MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: eth0, Gw: net.ParseIP(via[0])}, {LinkIndex: eth0, Gw: net.ParseIP(via[1])}}}))
	}
	check(t, a.nl.RouteAdd(&netlink.Route{Dst: toNetlink(netip.MustParsePrefix("10.2.0.0/24")).IPNet,
		Protocol: Protocol, Type: unix.RTN_BLACKHOLE}))
	k := a.open()
	have, err := k.Read(t.Context())
	check(t, err)
	if len(have.Strays) != 2 || len(have.Routes) != 3 {
		t.Fatalf("the kernel has\n%s", have)
	}
	converge(t, k, parseState(t, "route 10.1.0.0/24 via 10.0.0.2 dev eth0\nroute 10.2.0.0/24 via 10.0.0.2 dev "+
		"eth0\nroute fd01::/64 via fd00::2 dev eth0\n"))
}

// Of two routes to one destination the kernel uses the first: a second of ours, appended by hand or left by a replace
// that was undone, is removed, and then there is nothing left to do.
func TestSecondRouteIsRemoved(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24")
	eth0 := a.link("eth0").Attrs().Index
	dst := toNetlink(netip.MustParsePrefix("10.1.0.0/24")).IPNet
	for _, via := range []string{"10.0.0.2", "10.0.0.3"} {
		check(t, a.nl.RouteAppend(&netlink.Route{LinkIndex: eth0, Dst: dst, Gw: net.ParseIP(via), Protocol: Protocol}))
	}
	k := a.open()
	have, err := k.Read(t.Context())
	check(t, err)
	if len(have.Strays) != 1 {
		t.Fatalf("the second route is not seen:\n%s", have)
	}
	want := parseState(t, "route 10.1.0.0/24 via 10.0.0.2 dev eth0\n")
	converge(t, k, want)
	routes, err := a.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: dst}, netlink.RT_FILTER_DST)
	check(t, err)
	if len(routes) != 1 || !routes[0].Gw.Equal(net.ParseIP("10.0.0.2")) {
		t.Errorf("routes left: %v", routes)
	}
	if have, err = k.Read(t.Context()); err != nil || len(Diff(want, have)) != 0 {
		t.Errorf("still differs: %v %v", Diff(want, have), err)
	}
}

// One change that fails stops none of the others, and says what to do.
func TestFailuresAreTold(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	wire(a, "eth1", b, "eth1")
	a.address("eth0", "10.0.0.1/24")
	a.address("eth1", "10.5.0.1/24")
	check(t, a.nl.LinkSetDown(a.link("eth1")))
	k := a.open()
	report, err := k.Apply(t.Context(), Diff(parseState(t, `route 10.1.0.0/24 via 10.0.0.2 dev eth0
route 10.2.0.0/24 via 10.0.0.2 dev eth7
route 10.3.0.0/24 via 10.5.0.2 dev eth1
route 10.4.0.0/24 via 192.168.7.7 dev eth0
route 10.6.0.0/24 via 10.0.0.2 dev eth0
`), State{}))
	check(t, err)
	if report.Applied != 2 || len(report.Failures) != 3 {
		t.Fatalf("report %+v", report)
	}
	for i, want := range []string{`no link "eth7"`, "link eth1 is down; set it up",
		"192.168.7.7 is not reached directly through link eth0"} {
		if got := report.Failures[i].Error(); !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Apply(stopped, Changes{{Op: DeleteRoute,
		Route: Route{Dst: netip.MustParsePrefix("10.1.0.0/24")}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context gives %v", err)
	}
}

// A route that is gone before it is replaced is added.
func TestReplaceOfWhatIsGone(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24", "fd00::1/64")
	k := a.open()
	want := parseState(t, "route 10.1.0.0/24 via 10.0.0.2 dev eth0\nroute fd01::/64 via fd00::2 dev eth0\n")
	report, err := k.Apply(t.Context(), Changes{
		{Op: ReplaceRoute, Route: want.Routes[netip.MustParsePrefix("10.1.0.0/24")]},
		{Op: ReplaceRoute, Route: want.Routes[netip.MustParsePrefix("fd01::/64")]},
		{Op: DeleteRoute, Route: Route{Dst: netip.MustParsePrefix("10.7.0.0/24")}},
		{Op: DeleteRoute, Route: Route{Dst: netip.MustParsePrefix("fd07::/64")}},
	})
	check(t, err)
	check(t, report.Err())
	if report.Applied != 4 {
		t.Errorf("report %+v", report)
	}
	converge(t, k, want)
}
