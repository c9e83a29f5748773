package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"galaxy/cmd/internal/cli"
)

// parsed reads a command line as main does, and runs nothing.
func parsed(args ...string) (*options, error) {
	o := &options{}
	cmd := commandOf(o, func(context.Context) error { return nil })
	cmd.SetArgs(args)
	cmd.SetOut(new(strings.Builder))
	cmd.SetErr(new(strings.Builder)) // warnings of flags without effect
	return o, cmd.Execute()
}

// The flags of the contract (section 1.5) have their names and defaults, and may be written with underscores.
func TestContractFlags(t *testing.T) {
	t.Setenv("MY_NODE_NAME", " Worker-1 ")
	o, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if o.config != "/etc/galaxy/galaxy.json" || o.networkDir != "/etc/cni/net.d/" ||
		strings.Join(o.cniPaths, ",") != "/opt/cni/galaxy/bin" || !o.ipForward || !o.bridgeNF {
		t.Errorf("the defaults are %+v", o)
	}
	if o.hostname != "worker-1" {
		t.Errorf("the node is %q, want MY_NODE_NAME in lower case", o.hostname)
	}
	o, err = parsed("--master=https://10.0.0.1", "--kubeconfig=k", "--bridge_nf_call_iptables=false",
		"--ip-forward=false", "--json_config_path=/a", "--network-conf-dir=/b",
		"--cni-paths=/c,/d", "--hostname-override=N2", "--flannel-gc-interval=10s", "--flannel-allocated-ip-dir=/e",
		"--gc-dirs=/f", "--pprof", "-v=4", "--logtostderr")
	if err != nil {
		t.Fatal(err)
	}
	if o.config != "/a" || o.networkDir != "/b" || len(o.cniPaths) != 2 || o.hostname != "n2" || o.ipForward ||
		o.bridgeNF || o.logging.Verbosity != 4 {
		t.Errorf("the flags were read as %+v", o)
	}
}

// What makes no sense is refused with the flag, the value, and what would do; the exit code is 2.
func TestMisuse(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--node-ip=10.0.0", `--node-ip "10.0.0": want an address such as 10.0.0.11`},
		{"--no-masquerade=10.0.0.1", `--no-masquerade "10.0.0.1": want a network such as 10.0.0.0/8`},
		{"--standalone --kubeconfig=x", "--standalone runs without Kubernetes"},
		{"--backend=vxlan", `--backend "vxlan": want host-gw, ipip or cross-subnet`},
		{"--mtu=100", "--mtu 100: want 0, or 576 to 65535"},
		{"--lease-ttl=1s", "--lease-ttl 1s: want 2s to 10m"},
		{"--offline-grace=0s", "--offline-grace 0s: want 1s or more"},
		{"--resync=1ms", "--resync 1ms: want 100ms or more"},
		{"--log-format=xml", `--log-format "xml": want json or console`},
		{"--hostname-override=a/b", `"a/b" is no name for a node`},
		{"--hostname-override=ä", `"ä" is no name for a node`},
		{"--hostname-override=" + strings.Repeat("a", 300), "must be no more than 253"},
	} {
		_, err := parsed(strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		} else if cli.ExitCode(err) != 2 {
			t.Errorf("%s: exit code %d, want 2", c.args, cli.ExitCode(err))
		}
	}
	if code := cli.ExitCode(errors.New("something else")); code != 1 {
		t.Errorf("another error has exit code %d, want 1", code)
	}
}

// Help names every flag that a first run needs, and a whole command line.
func TestHelp(t *testing.T) {
	cmd := newCommand()
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--help"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"galaxy --standalone --etcd-endpoints", "--node-ip", "--json-config-path",
		"--offline-grace", "DaemonSet"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("--help does not tell of %s", want)
		}
	}
}

// A machine keeps the word that was made up for it.
func TestMachineID(t *testing.T) {
	if id, err := machineID("given", t.TempDir()); err != nil || id != "given" {
		t.Errorf("%q, %v", id, err)
	}
	dir := t.TempDir()
	first, err := machineID("", dir)
	if err != nil || first == "" {
		t.Fatalf("%q, %v", first, err)
	}
	if again, err := machineID("", dir); err != nil || again != first {
		t.Errorf("the machine was %q, and is %q: %v", first, again, err)
	}
}
