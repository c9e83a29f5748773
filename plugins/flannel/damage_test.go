package flannel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"galaxy/durable"
	"galaxy/plugins"
)

// nodeHarness is a node with a subnet whose delegate writes down what it gets.
type nodeHarness struct {
	plugins.Plugin
	env, folder string
	calls       []string
	fail        error
}

func newNodeHarness(t *testing.T) *nodeHarness {
	t.Helper()
	dir := t.TempDir()
	n := &nodeHarness{env: filepath.Join(dir, "subnet.env"), folder: filepath.Join(dir, "notes")}
	if err := errors.Join(os.WriteFile(n.env, []byte("FLANNEL_SUBNET=172.16.59.1/24\n"), 0o600),
		os.Mkdir(n.folder, 0o700)); err != nil {
		t.Fatal(err)
	}
	note := func(command string) func(context.Context, plugins.Host, *skel.CmdArgs) error {
		return func(_ context.Context, _ plugins.Host, args *skel.CmdArgs) error {
			var conf struct {
				IPAM struct{ Subnet string }
			}
			_ = json.Unmarshal(args.StdinData, &conf)
			n.calls = append(n.calls, fmt.Sprint(command, " ", args.ContainerID, " ", args.IfName, " ",
				conf.IPAM.Subnet))
			return n.fail
		}
	}
	n.Plugin = Plugin(plugins.Plugin{
		Name: "galaxy-veth", Del: note("DEL"), Check: note("CHECK"), Repair: note("REPAIR"),
		Add: func(ctx context.Context, host plugins.Host, args *skel.CmdArgs) (*types100.Result, error) {
			return &types100.Result{}, note("ADD")(ctx, host, args)
		},
	})
	return n
}

func (n *nodeHarness) args(ifName, delegate string) *skel.CmdArgs {
	const form = `{"cniVersion":"1.0.0","name":"n","subnetFile":%q,"dataDir":%q,"delegate":{"type":%q},"prevResult":{"cniVersion":"1.0.0"}}`
	conf := fmt.Appendf(nil, form, n.env, n.folder, delegate)
	return &skel.CmdArgs{ContainerID: "c1", IfName: ifName, StdinData: conf, Path: filepath.Dir(n.env)}
}

// taken is the calls of the delegate since it was asked last.
func (n *nodeHarness) taken() string {
	text := strings.Join(n.calls, ", ")
	n.calls = nil
	return text
}

// spoilt are notes that do not say what the delegate of eth0 got.
func spoilt() map[string]func(path string) error {
	all := map[string]func(path string) error{
		"folder": func(p string) error {
			return errors.Join(os.Mkdir(p, 0o700),
				os.Mkdir(filepath.Join(p, "x"), 0o700))
		},
		"pipe": func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"loop": func(p string) error { return os.Symlink(p, p) },
	}
	for _, text := range []string{
		"", "null", "[]", "{}", "1", `"x"`, "garbage", `{"interfaces":null}`, `{"interfaces":{}}`,
		`{"interfaces":{"eth0":null}}`,
		`{"interfaces":{"eth0":[]}}`, `{"interfaces":{"eth0":"x"}}`, `{"interfaces":{"eth0":{}}}`,
		`{"interfaces":{"eth0":{"type":7}}}`, `{"name":"n"}`,
		`{"interfaces":{"eth0":{"type":"../bin/sh","name":"n"}}}`,
	} {
		all[text] = func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	return all
}

// A damaged note: CHECK and REPAIR say so, a DEL gives the delegate what it would get now and ends, and an ADD goes on.
func TestDamagedNotes(t *testing.T) {
	for name, spoil := range spoilt() {
		t.Run(name, func(t *testing.T) {
			n := newNodeHarness(t)
			path, args := filepath.Join(n.folder, "c1"), n.args("eth0", "galaxy-veth")
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			for what, do := range map[string]func(context.Context, plugins.Host, *skel.CmdArgs) error{"CHECK": n.Check,
				"REPAIR": n.Repair} {
				var known *types.Error
				if err := do(t.Context(), plugins.Host{}, args); !errors.As(err, &known) ||
					known.Code != plugins.ErrChanged {
					t.Errorf("%s: %v", what, err)
				}
			}
			all := n.args("", "galaxy-veth")
			all.StdinData = bytes.Replace(all.StdinData, []byte("{"), []byte(`{"cni.dev/valid-attachments":[],`), 1)
			if err := n.GC(t.Context(), plugins.Host{}, all); err != nil || n.taken() != "" {
				t.Errorf("GC: %v", err)
			}
			n.fail = plugins.Errorf(plugins.ErrKernel, "it is busy")
			if err := n.Del(t.Context(), plugins.Host{}, args); err == nil {
				t.Error("a DEL that failed is a success")
			}
			n.fail = nil
			if err := n.Del(t.Context(), plugins.Host{}, args); err != nil {
				t.Errorf("DEL: %v", err)
			}
			if got := n.taken(); got != "DEL c1 eth0 172.16.59.0/24, DEL c1 eth0 172.16.59.0/24" {
				t.Error(got)
			}
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the note is there still: %v", err)
			}
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			if _, err := n.Add(t.Context(), plugins.Host{}, args); err != nil {
				t.Errorf("ADD: %v", err)
			}
			if err := n.Check(t.Context(), plugins.Host{}, args); err != nil {
				t.Errorf("CHECK after ADD: %v", err)
			}
		})
	}
}

// A damaged note of one interface is not that of another, and a damaged file is that of all.
func TestDamagedNoteOfOneInterface(t *testing.T) {
	n := newNodeHarness(t)
	path := filepath.Join(n.folder, "c1")
	text := `{"interfaces":{"eth0":null,"eth1":{"type":"galaxy-veth","name":"overlay","ipam":{"subnet":"old"}}}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ifName := range []string{"eth0", "eth1"} {
		if err := n.Del(t.Context(), plugins.Host{}, n.args(ifName, "galaxy-veth")); err != nil {
			t.Error(err)
		}
	}
	if got := n.taken(); got != "DEL c1 eth0 172.16.59.0/24, DEL c1 eth1 old" {
		t.Error(got)
	}
	if err := os.WriteFile(path, []byte("cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ifName := range []string{"eth0", "eth1"} {
		if err := n.Del(t.Context(), plugins.Host{}, n.args(ifName, "galaxy-veth")); err != nil {
			t.Error(err)
		}
	}
	if got := n.taken(); got != "DEL c1 eth0 172.16.59.0/24, DEL c1 eth1 172.16.59.0/24" {
		t.Error(got)
	}
	if aside, err := os.ReadFile(filepath.Join(n.folder, durable.Damaged+"c1")); err != nil || string(aside) != "cut" {
		t.Errorf("%q, %v", aside, err)
	}
}

// Where it is not known any more what the delegate would get, a DEL ends all the same.
func TestDamagedNoteWithoutSubnet(t *testing.T) {
	n := newNodeHarness(t)
	if err := errors.Join(os.Remove(n.env), os.WriteFile(filepath.Join(n.folder, "c1"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	n.fail = errors.New("no IP ranges specified")
	if err := n.Del(t.Context(), plugins.Host{}, n.args("eth0", "galaxy-veth")); err != nil ||
		n.taken() != "DEL c1 eth0 " {
		t.Errorf("DEL: %v", err)
	}
}

// A delegate of somebody else's whose result cannot be used has done its work: it is undone, or the note stays for the
// DEL.
func TestUnsoundResultOfDelegate(t *testing.T) {
	for _, c := range []struct{ end, kept string }{{"exit 0", ""}, {"[ $CNI_COMMAND = ADD ]", "c1"}} {
		n := newNodeHarness(t)
		log := filepath.Join(filepath.Dir(n.env), "calls")
		script := "#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND >>" + log +
			"\n[ $CNI_COMMAND != ADD ] || echo '{\"cniVersion\":\"1.0.0\",\"ips\":[null]}'\n" + c.end + "\n"
		if err := os.WriteFile(filepath.Join(filepath.Dir(n.env), "third"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := n.Add(t.Context(), plugins.Host{}, n.args("eth0", "third"))
		if err == nil || !strings.Contains(err.Error(), "delegate third") {
			t.Errorf("ADD: %v", err)
		}
		calls, _ := os.ReadFile(log)
		entries, _ := os.ReadDir(n.folder)
		var kept string
		for _, e := range entries {
			kept += e.Name()
		}
		if string(calls) != "ADD\nDEL\n" || kept != c.kept {
			t.Errorf("%s: called were %q, kept is %q", c.end, calls, kept)
		}
	}
}

// Whatever is in a file, what is taken for a note names a plugin.
func FuzzNotes(f *testing.F) {
	for _, text := range []string{
		`null`, `{"interfaces":{"eth0":null}}`, `{"interfaces":{"eth0":{"type":"galaxy-veth"}}}`,
		`{"type":"bridge","name":"overlay"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := decodeNotes(text)
		if err != nil {
			return
		}
		note, err := n.of("eth0")
		if kind, unknown := typeOf(note); note != nil && (unknown != nil || kind == "") {
			t.Errorf("%s: %v", note, unknown)
		}
		if err != nil && (note != nil || !errors.Is(err, errDamaged)) {
			t.Errorf("%s: %v", note, err)
		}
	})
}
