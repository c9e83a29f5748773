package flannel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"galaxy/plugins"
	"galaxy/plugins/flannel"
)

// delegate remembers its calls.
type delegate struct {
	calls []string
	last  map[string]any
	fail  error
}

func (d *delegate) plugin(name string) plugins.Plugin {
	note := func(operation string) func(context.Context, plugins.Host, *skel.CmdArgs) error {
		return func(_ context.Context, _ plugins.Host, args *skel.CmdArgs) error {
			d.calls = append(d.calls, operation+" "+args.ContainerID+" "+args.IfName)
			d.last = map[string]any{}
			if err := json.Unmarshal(args.StdinData, &d.last); err != nil {
				return err
			}
			return d.fail
		}
	}
	return plugins.Plugin{
		Name: name, Del: note("DEL"), Check: note("CHECK"),
		Add: func(ctx context.Context, host plugins.Host, args *skel.CmdArgs) (*types100.Result, error) {
			return &types100.Result{}, note("ADD")(ctx, host, args)
		},
	}
}

// harness is a node with a subnet, whose plugin keeps notes in a folder.
type harness struct {
	*testing.T
	delegate    delegate
	env, folder string
}

const node4 = "FLANNEL_NETWORK=172.16.0.0/13\nFLANNEL_SUBNET=172.16.59.1/24\nFLANNEL_MTU=1480\nFLANNEL_IPMASQ=false\n"

func newHarness(t *testing.T, text string) *harness {
	t.Helper()
	dir := t.TempDir()
	b := &harness{T: t, env: filepath.Join(dir, "subnet.env"), folder: filepath.Join(dir, "state")}
	if err := os.WriteFile(b.env, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *harness) args(container, ifName, fields string) *skel.CmdArgs {
	conf := fmt.Sprintf(`{"cniVersion":"0.4.0","name":"overlay","type":"galaxy-flannel","subnetFile":%q,"dataDir":%q%s}`, b.env, b.folder, fields)
	return &skel.CmdArgs{ContainerID: container, IfName: ifName, StdinData: []byte(conf)}
}

func (b *harness) do(operation string, args *skel.CmdArgs) error {
	p := flannel.Plugin(b.delegate.plugin("galaxy-veth"), b.delegate.plugin("galaxy-bridge"))
	switch operation {
	case "DEL":
		return p.Del(b.Context(), plugins.Host{}, args)
	case "CHECK":
		return p.Check(b.Context(), plugins.Host{}, args)
	case "GC":
		return p.GC(b.Context(), plugins.Host{}, args)
	case "STATUS":
		return p.Status(b.Context(), plugins.Host{}, args)
	}
	_, err := p.Add(b.Context(), plugins.Host{}, args)
	return err
}

func (b *harness) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *harness) kept() string {
	b.Helper()
	entries, err := os.ReadDir(b.folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestFill(t *testing.T) {
	for name, c := range map[string]struct{ subnet, fields, want string }{
		"veth": {node4, `,"delegate":{"type":"galaxy-veth"}`,
			`{"cniVersion":"0.4.0","name":"overlay","type":"galaxy-veth","ipMasq":true,"mtu":1480,
			"ipam":{"type":"host-local","subnet":"172.16.59.0/24","routes":[{"dst":"172.16.0.0/13"}]}}`},
		"bridge keeps what is said": {strings.Replace(node4, "IPMASQ=false", "IPMASQ=true", 1),
			`,"ipam":{"dataDir":"/x","routes":[{"dst":"0.0.0.0/0"}]},"delegate":{"type":"galaxy-bridge","mtu":9000,"ipam":{"type":"galaxy"}}`,
			`{"cniVersion":"0.4.0","name":"overlay","type":"galaxy-bridge","ipMasq":false,"mtu":9000,"isGateway":true,
			"ipam":{"type":"galaxy","dataDir":"/x","subnet":"172.16.59.0/24","routes":[{"dst":"0.0.0.0/0"},{"dst":"172.16.0.0/13"}]}}`},
		"both families": {"FLANNEL_NETWORK=172.16.0.0/13,10.0.0.0/8\nFLANNEL_SUBNET=\"172.16.59.1/24\"\nFLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:7::1/64\nFLANNEL_IPMASQ=true\n",
			`,"delegate":{"type":"galaxy-veth"}`,
			`{"cniVersion":"0.4.0","name":"overlay","type":"galaxy-veth","ipMasq":false,
			"ipam":{"type":"host-local","ranges":[[{"subnet":"172.16.59.0/24"}],[{"subnet":"fd00:0:0:7::/64"}]],
			"routes":[{"dst":"172.16.0.0/13"},{"dst":"10.0.0.0/8"},{"dst":"fd00::/48"}]}}`},
		"only IPv6": {"FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:7::1/64\n",
			`,"delegate":{"type":"galaxy-veth"}`,
			`{"cniVersion":"0.4.0","name":"overlay","type":"galaxy-veth","ipMasq":true,
			"ipam":{"type":"host-local","subnet":"fd00:0:0:7::/64","routes":[{"dst":"fd00::/48"}]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newHarness(t, c.subnet)
			b.must(b.do("ADD", b.args("c1", "eth0", c.fields)))
			var want map[string]any
			b.must(json.Unmarshal([]byte(c.want), &want))
			if !reflect.DeepEqual(b.delegate.last, want) {
				t.Errorf("got %v\nwant %v", b.delegate.last, want)
			}
		})
	}
}

func TestAddFails(t *testing.T) {
	const veth = `,"delegate":{"type":"galaxy-veth"}`
	for name, c := range map[string]struct {
		subnet, fields string
		code           uint
		want           string
	}{
		"no subnet": {"FLANNEL_NETWORK=10.0.0.0/8\n", veth, types.ErrInvalidNetworkConfig,
			"want FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET"},
		"bad subnet": {"FLANNEL_SUBNET=10.0.0.1\n", veth, types.ErrInvalidNetworkConfig,
			"FLANNEL_SUBNET=10.0.0.1: netip.ParsePrefix"},
		"bad mtu": {"FLANNEL_MTU=7\n", veth, types.ErrInvalidNetworkConfig, "want an MTU from 68"},
		"delegate's name": {node4, `,"delegate":{"name":"x"}`, types.ErrInvalidNetworkConfig,
			"the delegate may not have a name"},
		"delegate's type": {node4, `,"delegate":{"type":1}`, types.ErrInvalidNetworkConfig,
			"the delegate's type is 1"},
		"no such delegate": {node4, ``, types.ErrInvalidNetworkConfig, `there is no plugin "bridge"`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newHarness(t, c.subnet)
			err := b.do("ADD", b.args("c1", "eth0", c.fields))
			var known *types.Error
			if !errors.As(err, &known) || known.Code != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want code %d and %q", err, c.code, c.want)
			}
			if b.kept() != "" {
				t.Errorf("%s is left", b.kept())
			}
		})
	}
	b := newHarness(t, node4)
	b.must(os.Remove(b.env))
	var known *types.Error
	if err := b.do("ADD", b.args("c1", "eth0", veth)); !errors.As(err, &known) ||
		known.Code != types.ErrTryAgainLater || !strings.Contains(err.Error(), "is not there yet") {
		t.Errorf("got error %v", err)
	}
	if err := b.do("STATUS", b.args("", "", veth)); !errors.As(err, &known) ||
		known.Code != types.ErrPluginNotAvailable {
		t.Errorf("got error %v", err)
	}
	if err := b.do("ADD", b.args("../c1", "eth0", veth)); !errors.As(err, &known) ||
		known.Code != types.ErrInvalidEnvironmentVariables {
		t.Errorf("got error %v", err)
	}
}

func TestNotes(t *testing.T) {
	const veth = `,"delegate":{"type":"galaxy-veth"}`
	b := newHarness(t, node4)
	b.must(b.do("ADD", b.args("c1", "eth0", veth)))
	b.must(b.do("ADD", b.args("c1", "eth1", `,"delegate":{"type":"galaxy-bridge"}`)))
	b.must(b.do("ADD", b.args("c2", "eth0", veth)))
	if b.kept() != "c1 c2" {
		t.Fatalf("kept %q", b.kept())
	}
	// The node has another subnet by now, or none; the DEL gets the old one.
	b.must(os.Remove(b.env))
	b.delegate.fail = errors.New("busy")
	if err := b.do("DEL", b.args("c1", "eth0", "")); err == nil {
		t.Error("a DEL that failed is no success")
	}
	b.delegate.fail = nil
	b.must(b.do("CHECK", b.args("c1", "eth0", `,"prevResult":{"cniVersion":"0.4.0"}`)))
	if b.delegate.last["prevResult"] == nil || b.delegate.last["type"] != "galaxy-veth" {
		t.Errorf("CHECK got %v", b.delegate.last)
	}
	b.must(b.do("DEL", b.args("c1", "eth0", "")))
	if ipam := b.delegate.last["ipam"].(map[string]any); ipam["subnet"] != "172.16.59.0/24" {
		t.Errorf("DEL got %v", ipam)
	}
	b.must(b.do("DEL", b.args("c1", "eth1", "")))
	if b.delegate.last["type"] != "galaxy-bridge" || b.kept() != "c2" {
		t.Errorf("DEL got %v, and %q is kept", b.delegate.last, b.kept())
	}
	calls := len(b.delegate.calls)
	b.must(b.do("DEL", b.args("c1", "eth1", "")))
	if len(b.delegate.calls) != calls {
		t.Error("a second DEL asked the delegate")
	}
	if err := b.do("GC", b.args("", "", "")); err == nil ||
		!strings.Contains(err.Error(), "cni.dev/valid-attachments") {
		t.Errorf("a GC without a list, which spares nobody: %v", err)
	}
	b.must(b.do("GC", b.args("", "", `,"cni.dev/valid-attachments":[{"containerID":"c2","ifname":"eth0"}]`)))
	if b.kept() != "c2" {
		t.Errorf("kept %q", b.kept())
	}
	b.must(b.do("GC", b.args("", "", `,"cni.dev/valid-attachments":[]`)))
	if b.kept() != "" || b.delegate.calls[len(b.delegate.calls)-1] != "DEL c2 eth0" {
		t.Errorf("kept %q, calls %v", b.kept(), b.delegate.calls)
	}
}

// What the reference kept is deleted, too.
func TestNoteOfTheReference(t *testing.T) {
	b := newHarness(t, node4)
	b.must(os.MkdirAll(b.folder, 0o700))
	old := `{"cniVersion":"0.2.0","ipMasq":false,"ipam":{"type":"host-local"},"mtu":1450,"name":"overlay","type":"galaxy-veth"}`
	b.must(os.WriteFile(filepath.Join(b.folder, "c1"), []byte(old), 0o600))
	b.must(b.do("DEL", b.args("c1", "eth0", "")))
	if b.delegate.last["mtu"] != 1450.0 || b.kept() != "" {
		t.Errorf("DEL got %v, and %q is kept", b.delegate.last, b.kept())
	}
}

// An ADD that failed leaves no note, but one for an interface that is there leaves that of the first.
func TestFailedAddKeepsTheFirstNote(t *testing.T) {
	const veth = `,"delegate":{"type":"galaxy-veth"}`
	b := newHarness(t, node4)
	b.delegate.fail = errors.New("no")
	if err := b.do("ADD", b.args("c1", "eth0", veth)); err == nil || b.kept() != "" {
		t.Errorf("error %v, kept %q", err, b.kept())
	}
	b.delegate.fail = nil
	b.must(b.do("ADD", b.args("c1", "eth0", veth)))
	b.delegate.fail = errors.New("exists")
	if err := b.do("ADD", b.args("c1", "eth0", veth)); err == nil || b.kept() != "c1" {
		t.Errorf("error %v, kept %q", err, b.kept())
	}
}
