package veth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"

	"galaxy/plugins"
	"galaxy/plugins/internal/lab"
	"galaxy/plugins/pair"
	"galaxy/plugins/veth"
)

func TestPodsAndHostReachEachOther(t *testing.T) {
	t.Parallel()
	for name, prefixes := range map[string][]string{
		"ipv4": {"10.1.0.2/24"}, "ipv6": {"fd00:1::2/64"}, "both": {"10.1.0.2/24", "fd00:1::2/64"},
		"two of a family": {"10.1.0.2/24", "10.2.0.2/24"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newHarness(t, prefixes...)
			one, first := b.pod("one")
			two, second := b.pod("two")
			var none netip.Addr
			for i := range prefixes {
				if local := b.reach(one, addrOf(first, i), addrOf(second, i)); local != addrOf(first, i) {
					t.Errorf("reached from %s", local)
				}
				b.reach(two, none, addrOf(first, i))
				b.reach(b.host, none, addrOf(first, i))
			}
			b.must(b.check(args("one", one, "eth0"), first))
			b.must(b.del(args("one", one, "eth0")))
			b.must(b.del(args("two", two, "eth0")))
			b.nothing()
		})
	}
}

// A host that has no source of its own in a family reaches pods by what routeSrc says.
func TestRouteSrc(t *testing.T) {
	t.Parallel()
	b := newHarness(t, "10.1.0.2/24")
	src := netip.MustParseAddr("192.168.7.1")
	n := b.namespace()
	conf := `,"routeSrc":"192.168.7.1","mtu":1400`
	_, err := b.add(args("one", n, "eth0", conf))
	if err == nil || !strings.Contains(err.Error(), "is routeSrc an address of this host?") {
		t.Fatalf("got error %v", err)
	}
	b.nothing()
	b.must(b.host.AddAddress(src))
	result, err := b.add(args("one", n, "eth0", conf))
	b.must(err)
	b.listen(n, addrOf(result, 0))
	if local := b.reach(b.host, netip.Addr{}, addrOf(result, 0)); local != src {
		t.Errorf("the host came from %s, want %s", local, src)
	}
	if result.Interfaces[0].Mtu != 1400 || result.Interfaces[1].Mtu != 1400 {
		t.Errorf("got MTUs %+v %+v", result.Interfaces[0], result.Interfaces[1])
	}
}

func TestResult(t *testing.T) {
	t.Parallel()
	b := newHarness(t, "10.1.0.2/24", "fd00:1::2/64")
	n := b.namespace()
	result, err := b.add(args("one", n, "eth0"))
	b.must(err)
	got, err := json.MarshalIndent(result, "", " ")
	b.must(err)
	text := string(got)
	for _, mac := range []string{result.Interfaces[0].Mac, result.Interfaces[1].Mac} {
		text = strings.Replace(text, mac, "MAC", 1)
	}
	text = strings.NewReplacer(n.Path, "NETNS", pair.HostName("one", "eth0"), "HOST").Replace(text)
	path := filepath.Join("testdata", "result.json")
	if os.Getenv("REWRITE") != "" {
		b.must(os.WriteFile(path, []byte(text+"\n"), 0o644))
	}
	want, err := os.ReadFile(path)
	b.must(err)
	if text+"\n" != string(want) {
		t.Errorf("got %s\nwant %s", text, want)
	}
}

func TestDel(t *testing.T) {
	t.Parallel()
	b := newHarness(t, "10.1.0.2/24", "fd00:1::2/64")
	n, _ := b.pod("one")
	for range 3 {
		b.must(b.del(args("one", n, "eth0")))
		b.nothing()
	}
	b.must(b.del(args("never", n, "eth0")))
	// The runtime has lost the namespace, or unmounted it and left the file; the pair is still there.
	_, err := b.add(args("two", n, "eth0"))
	b.must(err)
	b.must(b.del(args("two", nil, "eth0")))
	b.nothing()
	file := filepath.Join(t.TempDir(), "netns")
	b.must(os.WriteFile(file, nil, 0o600))
	for _, path := range []string{file, file + "-gone"} {
		_, err = b.add(args("two", n, "eth0"))
		b.must(err)
		gone := args("two", n, "eth0")
		gone.Netns = path
		b.must(b.del(gone))
		b.nothing()
	}
}

// Where work may be put off, DEL answers when no route leads to the container and its addresses are given back; the
// pair goes later. What had no result before is deleted at once.
func TestDelPutsOffTheLink(t *testing.T) {
	t.Parallel()
	b := newHarness(t, "10.1.0.2/24", "fd00:1::2/64")
	var later []func() error
	host := b.environment()
	host.Later = func(work func() error) { later = append(later, work) }
	del := func(a *skel.CmdArgs) {
		t.Helper()
		b.must(b.host.Do(func() error { return veth.Plugin().Del(context.Background(), host, a) }))
	}
	n, result := b.pod("one")
	prev, err := json.Marshal(result)
	b.must(err)
	del(args("one", n, "eth0", `,"prevResult":`+string(prev)))
	if links, err := b.host.Links(); err != nil || len(links) != 1 || len(later) != 1 || b.ipam.Held() != 0 {
		t.Errorf("links %v, %v, %d works put off, %d addresses are held: want the pair, and one work", links, err,
			len(later), b.ipam.Held())
	}
	b.must(b.host.Do(func() error {
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := netlink.RouteList(nil, family)
			for _, r := range routes {
				for _, ip := range result.IPs {
					if r.Dst != nil && r.Dst.IP.Equal(ip.Address.IP) {
						t.Errorf("a route leads to it still: %s", r)
					}
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
	for _, work := range later {
		b.must(b.host.Do(work))
	}
	b.nothing()
	later = nil
	n, _ = b.pod("two")
	del(args("two", n, "eth0"))
	if len(later) > 0 {
		t.Error("the routes were not known, and the work was put off")
	}
	b.nothing()
}

// A name that a release before this one gave to the host's end does not hinder.
func TestDelFindsForeignNames(t *testing.T) {
	t.Parallel()
	b := newHarness(t, "10.1.0.2/24")
	n, _ := b.pod("one")
	b.must(b.host.Do(func() error {
		link, err := netlink.LinkByName(pair.HostName("one", "eth0"))
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetDown(link), netlink.LinkSetName(link, "v-hone"))
	}))
	b.must(b.del(args("one", n, "eth0")))
	b.nothing()
}

// A name proves nothing: a DEL whose path leads to another pod's namespace by now, and an ADD that finds the name
// taken, leave alone what is there.
func TestDelLeavesWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	b := newHarness(t, "10.1.0.2/24")
	n, result := b.pod("live")
	b.must(b.del(args("gone", n, "eth0")))
	if _, err := b.add(args("other", n, "eth0")); err == nil {
		t.Error("a taken name is taken twice")
	}
	b.must(b.del(args("other", n, "eth0")))
	b.must(b.check(args("live", n, "eth0"), result))
	b.must(b.host.Do(func() error { return pair.RemoveLost("liv", "") }))
	b.must(b.check(args("live", n, "eth0"), result))
	b.must(b.host.Do(func() error { return pair.RemoveLost("live", "") }))
	if err := b.check(args("live", n, "eth0"), result); err == nil {
		t.Error("what is noted at a link is not found")
	}
}

func TestFailedAddLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newHarness(t, "10.1.0.2/24")
	n := b.namespace()
	fails := func(code uint, want string, a *skel.CmdArgs) {
		t.Helper()
		result, err := b.add(a)
		var known *types.Error
		if result != nil || !errors.As(err, &known) || known.Code != code || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, error %v, want code %d and %q", result, err, code, want)
		}
	}
	b.ipam.Fail = types.NewError(types.ErrTryAgainLater, "the pool is empty", "blue")
	fails(types.ErrTryAgainLater, `take an address from IPAM "lab": the pool is empty; blue`, args("one", n, "eth0"))
	b.nothing()
	b.ipam.Fail = nil

	// The address that comes next is routed to something else already.
	b.must(b.host.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index,
			Dst: plugins.IPNet(netip.MustParsePrefix("10.1.0.3/32")), Scope: netlink.SCOPE_LINK})
	}))
	b.must(b.del(args("zero", n, "eth0")))
	_, err := b.add(args("zero", n, "eth0"))
	b.must(err)
	fails(plugins.ErrKernel, "the host routes 10.1.0.3 to lo already", args("one", n, "eth1"))
	if b.ipam.Held() != 1 {
		t.Errorf("%d addresses are held", b.ipam.Held())
	}
	// A second ADD of what is there fails, and takes nothing from the first.
	fails(plugins.ErrExists, "container zero has interface eth0 already", args("zero", n, "eth0"))
	fails(plugins.ErrExists, "there is an interface eth0 in "+n.Path+" already", args("other", n, "eth0"))
	if b.ipam.Held() != 1 {
		t.Errorf("%d addresses are held", b.ipam.Held())
	}
	b.must(b.del(args("zero", n, "eth0")))
	b.nothing()

	gone := args("one", nil, "eth0")
	fails(types.ErrInvalidNetNS, "there is no network namespace", gone)
	gone.Netns = "/nowhere/at/all"
	fails(types.ErrInvalidNetNS, "there is no network namespace at /nowhere/at/all", gone)
	fails(types.ErrInvalidNetNS, "is the namespace of the host", args("one", b.host, "eth0"))
	fails(types.ErrInvalidNetworkConfig, "has no ipam.type", &skel.CmdArgs{StdinData: []byte(`{"name":"a"}`)})
	fails(types.ErrInvalidNetworkConfig, "mtu is -1", args("one", n, "eth0", `,"mtu":-1`))
	fails(types.ErrDecodingFailure, "read the network configuration", args("one", n, "eth0", `,"routeSrc":"me"`))
	fails(types.ErrInvalidEnvironmentVariables, "interface name is too long", args("one", n, "a-name-that-is-too-long"))
	other := args("one", n, "eth0")
	other.StdinData = []byte(strings.Replace(string(other.StdinData), `"lab"`, `"nobody"`, 1))
	fails(types.ErrInvalidNetworkConfig, `there is no plugin "nobody"`, other)
	b.nothing()
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	const many = 50
	b := newHarness(t, "10.1.0.2/24", "fd00:1::2/64")
	namespaces := make([]*lab.Namespace, many)
	for i := range namespaces {
		namespaces[i] = b.namespace()
	}
	all := func(f func(a *skel.CmdArgs) error) {
		t.Helper()
		var group sync.WaitGroup
		failed := make([]error, many)
		for i, n := range namespaces {
			group.Go(func() { failed[i] = f(args(fmt.Sprintf("c80a215010aa-%d", i), n, "eth0")) })
		}
		group.Wait()
		b.must(errors.Join(failed...))
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	all(func(a *skel.CmdArgs) error {
		result, err := b.add(a)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		seen[result.Interfaces[0].Name] = true
		return nil
	})
	if links, err := b.host.Links(); err != nil || len(links) != many || len(seen) != many {
		t.Errorf("%d links with %d names, %v", len(links), len(seen), err)
	}
	all(b.del)
	b.nothing()
	all(b.del)
}

func TestTwoNetworksOfOneType(t *testing.T) {
	t.Parallel()
	b := newHarness(t, "10.1.0.2/24", "fd00:1::2/64")
	n, first := b.pod("one")
	second, err := b.add(args("one", n, "eth1"))
	b.must(err)
	for i := range 2 {
		b.listen(n, addrOf(second, i))
		b.reach(b.host, netip.Addr{}, addrOf(second, i))
		b.reach(b.host, netip.Addr{}, addrOf(first, i))
	}
	b.must(b.check(args("one", n, "eth0"), first))
	b.must(b.check(args("one", n, "eth1"), second))
	other, _ := b.pod("two")
	for i := range 2 {
		b.reach(other, netip.Addr{}, addrOf(second, i))
	}
	b.must(b.del(args("one", n, "eth1")))
	b.reach(other, netip.Addr{}, addrOf(first, 0))
	b.must(n.Do(func() error {
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			rules, err := netlink.RuleList(family)
			if err != nil {
				return err
			}
			for _, rule := range rules {
				if rule.Table >= 10000 && rule.Table < 20000 {
					return fmt.Errorf("rule %s is left", rule)
				}
			}
		}
		return nil
	}))
	b.must(b.del(args("one", n, "eth0")))
	b.must(b.del(args("two", other, "eth0")))
	b.nothing()
}

// Some runtimes switch IPv6 off where they think that nobody wants it.
func TestIPv6SwitchedOff(t *testing.T) {
	t.Parallel()
	b := newHarness(t, "fd00:1::2/64")
	n := b.namespace()
	for _, at := range []*lab.Namespace{n, b.host} {
		b.must(at.Sysctl("net/ipv6/conf/default/disable_ipv6", "1"))
	}
	result, err := b.add(args("one", n, "eth0"))
	b.must(err)
	b.listen(n, addrOf(result, 0))
	b.reach(b.host, netip.Addr{}, addrOf(result, 0))
}

func TestCheckSeesWhatIsLost(t *testing.T) {
	t.Parallel()
	route := func(dst string) func() error {
		return func() error {
			p := netip.MustParsePrefix(dst)
			return netlink.RouteDel(&netlink.Route{Dst: plugins.IPNet(p), Scope: netlink.SCOPE_NOWHERE})
		}
	}
	eth0 := func(f func(link netlink.Link) error) func() error {
		return func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return f(link)
		}
	}
	for name, c := range map[string]struct {
		onHost bool
		harm   func() error
		want   string
	}{
		"nothing":       {false, func() error { return nil }, ""},
		"default route": {false, route("0.0.0.0/0"), "lost the route to 0.0.0.0/0"},
		"default six":   {false, route("::/0"), "lost the route to ::/0"},
		"link route":    {false, route("169.254.1.1/32"), "lost the route to 169.254.1.1/32"},
		"host route":    {true, route("10.1.0.2/32"), "the host does not route 10.1.0.2"},
		"host six":      {true, route("fd00:1::2/128"), "the host does not route fd00:1::2"},
		"address": {false, eth0(func(link netlink.Link) error {
			return netlink.AddrDel(link, &netlink.Addr{IPNet: plugins.IPNet(netip.MustParsePrefix("10.1.0.2/32"))})
		}), "eth0 has lost the address 10.1.0.2/32"},
		"neighbour": {false, eth0(func(link netlink.Link) error {
			return netlink.NeighDel(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: []byte{169, 254, 1, 1}})
		}), "as the gateway 169.254.1.1"},
		"hardware address": {false, eth0(func(link netlink.Link) error {
			return netlink.LinkSetHardwareAddr(link, []byte{2, 0, 0, 0, 0, 1})
		}), "eth0 has the hardware address 02:00:00:00:00:01"},
		"link up": {false, eth0(netlink.LinkSetDown), "eth0 is down"},
		"link":    {false, eth0(netlink.LinkDel), "find v-h"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newHarness(t, "10.1.0.2/24", "fd00:1::2/64")
			n, result := b.pod("one")
			at := n
			if c.onHost {
				at = b.host
			}
			b.must(at.Do(c.harm))
			err := b.check(args("one", n, "eth0"), result)
			if c.want == "" {
				b.must(err)
				return
			}
			var known *types.Error
			if !errors.As(err, &known) || known.Code != plugins.ErrChanged || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}

func TestGCDeletesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	b := newHarness(t, "10.1.0.2/24")
	for _, container := range []string{"one", "two"} {
		b.pod(container)
	}
	n := b.namespace()
	other := args("three", n, "eth0")
	other.StdinData = []byte(strings.Replace(string(other.StdinData), "overlay", "another", 1))
	_, err := b.add(other)
	b.must(err)
	err = b.host.Do(func() error {
		return veth.Plugin().GC(context.Background(), b.environment(),
			args("", nil, "", ""))
	})
	if all, _ := b.host.Links(); err == nil || !strings.Contains(err.Error(), "cni.dev/valid-attachments") ||
		len(all) != 3 {
		t.Fatalf("a GC without a list, which spares nobody, leaves %v: %v", all, err)
	}
	gc := args("", nil, "", `,"cni.dev/valid-attachments":[{"containerID":"one","ifname":"eth0"}]`)
	for range 2 {
		b.must(b.host.Do(func() error { return veth.Plugin().GC(context.Background(), b.environment(), gc) }))
	}
	links, err := b.host.Links()
	b.must(err)
	for _, container := range []string{"one", "three"} {
		if name := pair.HostName(container, "eth0"); !strings.Contains(strings.Join(links, " "), name) ||
			len(links) != 2 {
			t.Errorf("%v are left, want %s", links, name)
		}
	}
}

func BenchmarkAddDel(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("this benchmark makes network namespaces and needs root")
	}
	host, err := lab.New()
	if err != nil {
		b.Fatal(err)
	}
	defer host.Close() //nolint:errcheck // the end
	n, err := lab.New()
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close() //nolint:errcheck // the end
	for name, prefixes := range map[string][]netip.Prefix{
		"ipv4": {netip.MustParsePrefix("10.0.0.2/8")},
		"both": {netip.MustParsePrefix("10.0.0.2/8"), netip.MustParsePrefix("fd00::2/64")},
	} {
		b.Run(name, func(b *testing.B) {
			environment := plugins.Host{IPAM: &lab.IPAM{Prefixes: prefixes}, Log: zap.NewNop()}
			a := args("one", n, "eth0")
			err := host.Do(func() error {
				b.StopTimer()
				for range b.N {
					b.StartTimer()
					_, err := veth.Plugin().Add(b.Context(), environment, a)
					b.StopTimer()
					if err != nil {
						return err
					}
					if err := veth.Plugin().Del(b.Context(), environment, a); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
