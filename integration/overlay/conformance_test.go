package overlay

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"
)

// cnitool is a container runtime of the CNI project with nothing around it.
type cnitool struct {
	node    *node
	program string
	path    string // CNI_PATH
	dir     string // of configurations
	network string
	env     []string
}

// run runs cnitool on a namespace. What it prints on standard output is the result.
func (c cnitool) run(command string, in *namespace) ([]byte, error) {
	c.node.t.Helper()
	cmd := exec.Command(c.program, command, c.network, in.path())
	cmd.Env = append([]string{
		"NETCONFPATH=" + c.dir, "CNI_PATH=" + c.path, "CNI_IFNAME=eth0", "PATH=" + os.Getenv("PATH"),
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + in.name,
	}, c.env...)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	var err error
	c.node.in(func() error {
		err = cmd.Run()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cnitool %s: %w: %s%s", command, err, said.String(), out.String())
	}
	return []byte(out.String()), nil
}

// conformers are the plugins that are tested, by name, with their configuration as a list of plugins. FOLDER is one of
// the test.
var conformers = map[string]string{
	"sdn":  `{"type":"galaxy-sdn","socket":"FOLDER/galaxy.sock"}`,
	"veth": `{"type":"galaxy-veth","ipam":{"type":"host-local","dataDir":"FOLDER/veth","ranges":[[{"subnet":"10.210.1.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`,
	"bridge": `{"type":"galaxy-bridge","bridge":"conform0","isDefaultGateway":true,
	  "ipam":{"type":"host-local","dataDir":"FOLDER/bridge","ranges":[[{"subnet":"10.210.2.0/24"}]]}}`,
	"flannel": `{"type":"galaxy-flannel","subnetFile":"FOLDER/conform.env","dataDir":"FOLDER/flannel","delegate":{"type":"galaxy-veth"},"ipam":{"dataDir":"FOLDER/flannel-addresses"}}`,
	"chain": `{"type":"galaxy-veth","ipam":{"type":"host-local","dataDir":"FOLDER/chain","ranges":[[{"subnet":"10.210.4.0/24"}]]}},
	  {"type":"tuning","sysctl":{"net.core.somaxconn":"500"}},
	  {"type":"portmap","backend":"nftables","capabilities":{"portMappings":true}}`,
}

// The CNI project's own runtime drives galaxy-sdn and the stand-alone plugins, alone and in a list with the
// reference's, in every version of the specification: ADD, CHECK, STATUS, DEL, DEL again, GC. An ADD comes once.
// Results are those of the version.
func TestConformance(t *testing.T) {
	l := newHarness(t, 1)
	n := l.nodes[0]
	l.converged(0, n)
	theirs, ours := reference(t), t.TempDir()
	if out, err := exec.Command(filepath.Join(l.bin, "galaxy-cni"), "install", ours).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if info, err := os.Lstat(filepath.Join(ours, "galaxy-sdn")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("galaxy-sdn is not the small program: %v, %v", info, err)
	}
	env := "FLANNEL_NETWORK=10.210.0.0/16\nFLANNEL_SUBNET=10.210.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
	if err := os.WriteFile(filepath.Join(n.state, "conform.env"), []byte(env), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("plugins", func(t *testing.T) {
		for name, conf := range conformers {
			if _, err := exec.LookPath("nft"); name == "chain" && err != nil {
				t.Log("NOT RUN: the list, as there is no nft here")
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for _, v := range versionsOf(name) {
					tool := cnitool{
						node: n, program: filepath.Join(theirs, "cnitool"), path: ours + ":" + theirs, dir: t.TempDir(),
						network: "conform-" + name,
						env:     []string{`CAP_ARGS={"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}`},
					}
					text := fmt.Sprintf(`{"cniVersion":%q,"name":%q,"plugins":[%s]}`, v, tool.network,
						strings.ReplaceAll(conf, "FOLDER", n.state))
					if err := os.WriteFile(filepath.Join(tool.dir, "10.conflist"), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
					conform(t, tool, v)
				}
			})
		}
	})
	if s, err := n.status(); err != nil || s.Held != 0 {
		t.Errorf("%d addresses are held at the end: %v", s.Held, err)
	}
	l.verified()
}

// versionsOf are the versions in which a plugin is driven. Lists there are since 0.3.0, and this one forks much.
func versionsOf(name string) []string {
	if name == "chain" {
		return []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}
	}
	return version.All.SupportedVersions()
}

// conform drives one plugin in one version.
func conform(t *testing.T, tool cnitool, v string) {
	t.Helper()
	pod := newNamespace(t, "pod-"+tool.network+"-"+v)
	must := func(command string) {
		t.Helper()
		if _, err := tool.run(command, pod); err != nil {
			t.Errorf("version %s: %v", v, err)
		}
	}
	must("status")
	out, err := tool.run("add", pod)
	if err != nil {
		t.Errorf("version %s: %v", v, err)
		return
	}
	resultOf(t, out, v)
	if _, err := pod.links.LinkByName("eth0"); err != nil {
		t.Errorf("version %s: after ADD: %v", v, err)
	}
	if checks, err := version.GreaterThanOrEqualTo(v, "0.4.0"); err == nil && checks {
		must("check")
	}
	if again, err := tool.run("add", pod); err == nil {
		t.Errorf("version %s: ADD twice is no error: %s", v, again)
	}
	if _, err := pod.links.LinkByName("eth0"); err != nil {
		t.Errorf("version %s: an ADD that was refused has taken what was there: %v", v, err)
	}
	must("del")
	must("del")
	if _, err := pod.links.LinkByName("eth0"); err == nil {
		t.Errorf("version %s: after DEL the link is there", v)
	}
	if _, err := tool.run("add", pod); err != nil {
		t.Errorf("version %s: ADD after DEL: %v", v, err)
	}
	// cnitool names no containers that live, not even that there are none, though the specification asks for that:
	// nobody would be spared.
	if _, err := tool.run("gc", pod); v == "1.1.0" {
		if err == nil || !strings.Contains(err.Error(), "GC needs the list cni.dev/valid-attachments") {
			t.Errorf("version %s: GC without a list: %v", v, err)
		}
	} else if err != nil {
		t.Errorf("version %s: %v", v, err)
	}
	must("del")
	if _, err := pod.links.LinkByName("eth0"); err == nil {
		t.Errorf("version %s: after GC and DEL the link is there", v)
	}
}

// resultOf makes sure that a result is one of its version, in the library's own words.
func resultOf(t *testing.T, out []byte, v string) {
	t.Helper()
	said, err := create.DecodeVersion(out)
	if err != nil || said != v {
		t.Errorf("version %s: the result is of version %q: %v", v, said, err)
	}
	result, err := create.Create(v, out)
	if err != nil {
		t.Errorf("version %s: %v\n%s", v, err, out)
		return
	}
	newest, err := types100.NewResultFromResult(result)
	if err != nil || len(newest.IPs) == 0 {
		t.Errorf("version %s: %v\n%s", v, err, out)
		return
	}
	if old := v == "0.1.0" || v == "0.2.0"; !old &&
		(newest.IPs[0].Interface == nil || len(newest.Interfaces) <= *newest.IPs[0].Interface) {
		t.Errorf("version %s: the address is of no interface\n%s", v, out)
	}
	again, err := newest.GetAsVersion(v)
	if err != nil {
		t.Errorf("version %s: %v", v, err)
		return
	}
	if a, b := plain(t, result), plain(t, again); a != b {
		t.Errorf("version %s: the result is\n%s\nand the library's form of it\n%s", v, a, b)
	}
}

func plain(t *testing.T, r types.Result) string {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// VERSION lists all versions that there are, and every operation refuses others.
func TestVersions(t *testing.T) {
	program := filepath.Join(build(t), "galaxy-cni")
	for _, name := range []string{"galaxy-sdn", "galaxy-veth", "galaxy-bridge", "galaxy-flannel"} {
		call := func(command, conf string) (out []byte, err error) {
			cmd := exec.Command(program, name)
			cmd.Env = []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=c", "CNI_NETNS=/proc/self/ns/net",
				"CNI_IFNAME=eth0", "CNI_PATH=/nowhere"}
			cmd.Stdin = strings.NewReader(conf)
			return cmd.Output()
		}
		out, err := call("VERSION", `{"cniVersion":"1.1.0"}`)
		var info struct{ SupportedVersions []string }
		if err == nil {
			err = json.Unmarshal(out, &info)
		}
		if want := []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}; err != nil ||
			!slices.Equal(info.SupportedVersions, want) {
			t.Errorf("%s supports %v, want %v: %v", name, info.SupportedVersions, want, err)
		}
		out, err = call("ADD", fmt.Sprintf(`{"cniVersion":"9.9.9","name":"x","type":%q}`, name))
		var refused types.Error
		if err == nil || json.Unmarshal(out, &refused) != nil || refused.Code != types.ErrIncompatibleCNIVersion {
			t.Errorf("%s in a version that there is not: %s, %v", name, out, err)
		}
	}
}
