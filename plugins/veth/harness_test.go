package veth_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"go.uber.org/zap"

	"galaxy/plugins"
	"galaxy/plugins/internal/lab"
	"galaxy/plugins/veth"
)

// harness is a host with an IPAM.
type harness struct {
	*testing.T
	host *lab.Namespace
	ipam *lab.IPAM
}

func newHarness(t *testing.T, prefixes ...string) harness {
	t.Helper()
	needRoot(t)
	ipam := &lab.IPAM{}
	for _, p := range prefixes {
		ipam.Prefixes = append(ipam.Prefixes, netip.MustParsePrefix(p))
	}
	b := harness{T: t, ipam: ipam}
	b.host = b.namespace()
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/rp_filter",
		"net/ipv4/conf/default/rp_filter"} {
		b.must(b.host.Sysctl(name, "1")) // strict filters: what is answered came by the right way
	}
	b.must(b.host.AddAddress(netip.MustParseAddr("192.168.7.9"))) // what the host itself sends comes from here
	return b
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test makes network namespaces and needs root")
	}
	t.Skip("this test makes network namespaces and needs root; run it with sudo")
}

func (b harness) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b harness) namespace() *lab.Namespace {
	b.Helper()
	n, err := lab.New()
	b.must(err)
	b.Cleanup(func() { _ = n.Close() })
	return n
}

func args(container string, n *lab.Namespace, ifName string, more ...string) *skel.CmdArgs {
	path := ""
	if n != nil {
		path = n.Path
	}
	conf := `{"cniVersion":"1.1.0","name":"overlay","type":"galaxy-veth","ipam":{"type":"lab"}` +
		strings.Join(more, "") + `}`
	return &skel.CmdArgs{ContainerID: container, Netns: path, IfName: ifName, StdinData: []byte(conf)}
}

func (b harness) environment() plugins.Host {
	return plugins.Host{IPAM: b.ipam, Log: zap.NewNop()}
}

func (b harness) add(a *skel.CmdArgs) (result *types100.Result, err error) {
	err = b.host.Do(func() (err error) {
		result, err = veth.Plugin().Add(context.Background(), b.environment(), a)
		return err
	})
	return result, err
}

func (b harness) del(a *skel.CmdArgs) error {
	return b.host.Do(func() error { return veth.Plugin().Del(context.Background(), b.environment(), a) })
}

func (b harness) check(a *skel.CmdArgs, result *types100.Result) error {
	b.Helper()
	prev, err := json.Marshal(result)
	b.must(err)
	again := *a
	again.StdinData = []byte(strings.TrimSuffix(string(a.StdinData), "}") + `,"prevResult":` + string(prev) + "}")
	return b.host.Do(func() error { return veth.Plugin().Check(context.Background(), b.environment(), &again) })
}

// pod adds a container and lets something listen at its addresses.
func (b harness) pod(container string) (*lab.Namespace, *types100.Result) {
	b.Helper()
	n := b.namespace()
	result, err := b.add(args(container, n, "eth0"))
	b.must(err)
	for _, ip := range result.IPs {
		b.listen(n, plugins.Prefix(ip.Address).Addr())
	}
	return n, result
}

func (b harness) listen(n *lab.Namespace, a netip.Addr) {
	b.Helper()
	stop, err := n.Listen(netip.AddrPortFrom(a, 80))
	b.must(err)
	b.Cleanup(stop)
}

func (b harness) reach(n *lab.Namespace, from netip.Addr, to netip.Addr) netip.Addr {
	b.Helper()
	local, err := n.Reach(from, netip.AddrPortFrom(to, 80))
	if err != nil {
		b.Fatalf("reach %s: %v", to, err)
	}
	return local
}

// nothing is left of containers on the host.
func (b harness) nothing() {
	b.Helper()
	links, err := b.host.Links()
	b.must(err)
	if len(links) > 0 || b.ipam.Held() > 0 {
		b.Errorf("links %v and %d addresses are left", links, b.ipam.Held())
	}
}

func addrOf(result *types100.Result, i int) netip.Addr {
	return plugins.Prefix(result.IPs[i].Address).Addr()
}
