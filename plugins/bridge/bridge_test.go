package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"

	"galaxy/plugins"
	"galaxy/plugins/bridge"
	"galaxy/plugins/internal/lab"
	"galaxy/plugins/pair"
)

type harness struct {
	*testing.T
	host *lab.Namespace
	ipam *lab.IPAM
}

func newHarness(t *testing.T) harness {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test makes network namespaces and needs root")
		}
		t.Skip("this test makes network namespaces and needs root; run it with sudo")
	}
	b := harness{T: t, ipam: &lab.IPAM{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24"),
		netip.MustParsePrefix("fd00:1::2/64")}}}
	b.host = b.namespace()
	return b
}

func (b harness) namespace() *lab.Namespace {
	b.Helper()
	n, err := lab.New()
	b.must(err)
	b.Cleanup(func() { _ = n.Close() })
	return n
}

func (b harness) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b harness) environment() plugins.Host { return plugins.Host{IPAM: b.ipam, Log: zap.NewNop()} }

const common = `,"bridge":"br7","isDefaultGateway":true,"hairpinMode":true,"ipMasq":false,"mtu":1420`

func args(container string, n *lab.Namespace, ifName, more string) *skel.CmdArgs {
	conf := `{"cniVersion":"1.1.0","name":"lan","type":"galaxy-bridge","ipam":{"type":"lab"}` + more + `}`
	a := &skel.CmdArgs{ContainerID: container, IfName: ifName, StdinData: []byte(conf)}
	if n != nil {
		a.Netns = n.Path
	}
	return a
}

func (b harness) add(a *skel.CmdArgs) (result *types100.Result, err error) {
	err = b.host.Do(func() (err error) {
		result, err = bridge.Plugin().Add(context.Background(), b.environment(), a)
		return err
	})
	return result, err
}

func (b harness) del(a *skel.CmdArgs) error {
	return b.host.Do(func() error { return bridge.Plugin().Del(context.Background(), b.environment(), a) })
}

func (b harness) check(a *skel.CmdArgs, result *types100.Result) error {
	b.Helper()
	prev, err := json.Marshal(result)
	b.must(err)
	again := *a
	again.StdinData = []byte(strings.TrimSuffix(string(a.StdinData), "}") + `,"prevResult":` + string(prev) + "}")
	return b.host.Do(func() error { return bridge.Plugin().Check(context.Background(), b.environment(), &again) })
}

func (b harness) serve(n *lab.Namespace, result *types100.Result) []netip.AddrPort {
	b.Helper()
	var at []netip.AddrPort
	for _, ip := range result.IPs {
		a := netip.AddrPortFrom(plugins.Prefix(ip.Address).Addr(), 80)
		stop, err := n.Listen(a)
		b.must(err)
		b.Cleanup(stop)
		at = append(at, a)
	}
	return at
}

func (b harness) reach(n *lab.Namespace, to ...netip.AddrPort) {
	b.Helper()
	for _, a := range to {
		if _, err := n.Reach(netip.Addr{}, a); err != nil {
			b.Errorf("reach %s: %v", a, err)
		}
	}
}

func TestPodsOnABridge(t *testing.T) {
	t.Parallel()
	b := newHarness(t)
	one, two := b.namespace(), b.namespace()
	first, err := b.add(args("one", one, "eth0", common))
	b.must(err)
	second, err := b.add(args("two", two, "eth0", common))
	b.must(err)
	atOne := b.serve(one, first)
	b.reach(two, atOne...)
	b.reach(b.host, atOne...)
	b.reach(one, b.serve(two, second)...)
	stop, err := b.host.Listen(netip.MustParseAddrPort("10.1.0.1:80"))
	b.must(err)
	defer stop()
	b.reach(one, netip.MustParseAddrPort("10.1.0.1:80"))
	b.reach(one, atOne...)

	if len(first.Interfaces) != 3 || first.Interfaces[0].Name != "br7" || first.Interfaces[2].Sandbox != one.Path ||
		first.Interfaces[2].Mtu != 1420 {
		t.Errorf("got interfaces %+v", first.Interfaces)
	}
	if got := fmt.Sprint(first.IPs[0].Gateway, first.IPs[1].Gateway, len(first.Routes)); got != "10.1.0.1 fd00:1::1 2" {
		t.Errorf("got gateways and routes %s", got)
	}
	b.must(b.check(args("one", one, "eth0", common), first))
	if err := b.host.Do(func() error {
		link, err := netlink.LinkByName(pair.HostName("one", "eth0"))
		if err != nil {
			return err
		}
		return netlink.LinkSetNoMaster(link)
	}); err != nil {
		t.Fatal(err)
	}
	var known *types.Error
	if err := b.check(args("one", one, "eth0", common), first); !errors.As(err, &known) ||
		known.Code != plugins.ErrChanged || !strings.Contains(err.Error(), "is not in the bridge br7") {
		t.Errorf("got error %v", err)
	}
	for range 2 {
		b.must(b.del(args("one", one, "eth0", common)))
		b.must(b.del(args("two", nil, "eth0", common)))
	}
	links, err := b.host.Links()
	b.must(err)
	if fmt.Sprint(links) != "[br7]" || b.ipam.Held() != 0 {
		t.Errorf("links %v and %d addresses are left", links, b.ipam.Held())
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	b := newHarness(t)
	n := b.namespace()
	fails := func(code uint, want, more string) {
		t.Helper()
		_, err := b.add(args("one", n, "eth0", more))
		var known *types.Error
		if !errors.As(err, &known) || known.Code != code || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want code %d and %q", err, code, want)
		}
		links, err := b.host.Links()
		b.must(err)
		if strings.Contains(strings.Join(links, " "), "v-h") || b.ipam.Held() != 0 {
			t.Errorf("links %v and %d addresses are left", links, b.ipam.Held())
		}
	}
	fails(types.ErrUnsupportedField, "galaxy-bridge does not know promiscMode, vlan: remove it",
		`,"vlan":7,"promiscMode":true`)
	fails(types.ErrInvalidEnvironmentVariables, "interface name is too long", `,"bridge":"a-name-that-is-too-long"`)
	fails(plugins.ErrKernel, "make the bridge lo: there is a device of this name", `,"bridge":"lo"`)
	_, err := b.add(args("zero", n, "eth1", common+`,"vlan":0,"promiscMode":false`)) // what is off needs no knowledge
	b.must(err)
	b.must(b.del(args("zero", n, "eth1", common)))
	b.ipam.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.1.0.2/16")}
	fails(plugins.ErrKernel, "the bridge has the address 10.1.0.1/24, want 10.1.0.1/16: delete it, or set forceAddress",
		common)
	_, err = b.add(args("one", n, "eth0", common+`,"forceAddress":true`))
	b.must(err)
	b.must(b.del(args("one", n, "eth0", common)))
	b.ipam.Fail = errors.New("no more")
	fails(types.ErrInternal, `take an address from IPAM "lab": no more`, common)
}

func TestManyAtOnceMakeOneBridge(t *testing.T) {
	t.Parallel()
	const many = 20
	b := newHarness(t)
	var group sync.WaitGroup
	failed := make([]error, many)
	for i := range many {
		n := b.namespace()
		group.Go(func() {
			a := args(fmt.Sprint("pod", i), n, "eth0", common)
			if _, failed[i] = b.add(a); failed[i] == nil {
				failed[i] = b.del(a)
			}
		})
	}
	group.Wait()
	b.must(errors.Join(failed...))
	links, err := b.host.Links()
	b.must(err)
	if fmt.Sprint(links) != "[br7]" || b.ipam.Held() != 0 {
		t.Errorf("links %v and %d addresses are left", links, b.ipam.Held())
	}
}
