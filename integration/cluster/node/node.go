package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"galaxy/integration/cluster/binaries"
	"galaxy/integration/cluster/controlplane"
)

// Services is the address of the API server inside of the cluster, the first of kube-apiserver's range.
var Services = netip.MustParseAddr("10.96.0.1")

// Certified are the addresses at which the servers of the cluster are reached from nodes, for Options.ServerAddresses.
func Certified() []net.IP { return []net.IP{Control.AsSlice(), Services.AsSlice()} }

// Options are how a node is made.
type Options struct {
	Name    string
	Address netip.Addr // on the switch
	// Proxy is the mode of kube-proxy, nftables or iptables.
	Proxy string
	// Files are written to the machine before anything runs, by their paths.
	Files map[string]string
}

// Node is a machine with a kubelet, a container runtime and a kube-proxy.
type Node struct {
	Options
	Containerd, Kubelet, KubeProxy *Program

	t            testing.TB
	controlplane *controlplane.Cluster
	machine      *machine
	group        string
}

// Start boots a node and starts all its programs. It does not wait for the node to be ready, which needs a network of
// pods.
func Start(t testing.TB, b *controlplane.Cluster, w *World, o Options) *Node {
	t.Helper()
	if err := prepare(t.Context()); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("packages for nodes: %v", err)
		}
		t.Skipf("NOT RUN: packages for nodes cannot be had here: %v", err)
	}
	n := &Node{Options: o, t: t, controlplane: b}
	root := t.TempDir()
	var err error
	if n.machine, err = newMachine(t, o.Name, root, b.Logs()); err != nil {
		t.Fatal(err)
	}
	n.group = "galaxy-" + o.Name + "-" + fmt.Sprint(n.machine.first.Process.Pid)
	t.Cleanup(n.close)
	if err := w.plug(o.Name, n.machine.net, o.Address); err != nil {
		t.Fatalf("connect %s: %v", o.Name, err)
	}
	if err := makeCgroups(n.group); err != nil {
		t.Fatal(err)
	}
	n.startAll(apiServerFor(t, b))
	return n
}

// apiServerFor is where nodes find the API server.
func apiServerFor(t testing.TB, b *controlplane.Cluster) string {
	t.Helper()
	at, err := url.Parse(b.APIServerURL)
	if err != nil {
		t.Fatal(err)
	}
	return "https://" + net.JoinHostPort(Control.String(), at.Port())
}

func (n *Node) startAll(apiServer string) {
	n.t.Helper()
	kubeconfig, err := os.ReadFile(n.controlplane.KubeconfigAt(controlplane.Admin, apiServer))
	if err != nil {
		n.t.Fatal(err)
	}
	n.Write("/etc/kubeconfig", string(kubeconfig))
	n.Write("/etc/containerd/config.toml", containerdConfig())
	n.Write("/etc/kubelet.json", kubeletConfig(n.group))
	n.Write("/etc/kube-proxy.json", proxyConfig(n.Proxy))
	n.Write("/etc/resolv.conf", "")
	for path, text := range n.Files {
		n.Write(path, text)
	}
	n.Containerd = n.machine.program("containerd", filepath.Join(runtimeDir(), "containerd"), "--config",
		"/etc/containerd/config.toml", "--log-level", "info")
	n.Kubelet = n.machine.program("kubelet", controlplane.Program(binaries.Kubelet), "--config=/etc/kubelet.json",
		"--kubeconfig=/etc/kubeconfig",
		"--hostname-override="+n.Name, "--node-ip="+n.Address.String(), "-v=2")
	n.KubeProxy = n.machine.program("kube-proxy", controlplane.Program(binaries.Proxy), "--config=/etc/kube-proxy.json",
		"--hostname-override="+n.Name, "-v=2")
	n.StartContainerd()
	n.importImages()
	n.KubeProxy.Start()
	n.Kubelet.Start()
}

// StartContainerd starts the container runtime and waits until it answers.
func (n *Node) StartContainerd() {
	n.t.Helper()
	n.Containerd.Start()
	n.controlplane.WaitFor("containerd answers on "+n.Name, 30*time.Second, func(context.Context) error {
		_, err := n.Run("ctr", "version")
		return err
	})
}

// importImages packs the images and gives them to the runtime.
func (n *Node) importImages() {
	n.t.Helper()
	pod, err := busybox()
	var program string
	if err == nil {
		program, err = podProgram(n.machine.root)
	}
	if err == nil {
		err = pod.add("usr/local/bin/pod", program)
	}
	if err != nil {
		n.t.Fatalf("image of pods: %v", err)
	}
	n.importImage(PodImage, pod)
	var programs []string // as deploy/Dockerfile has them
	for _, name := range []string{"galaxy", "galaxy-cni", "galaxy-sdn", "galaxyctl", "host-local", "loopback"} {
		programs = append(programs, controlplane.Galaxy(n.t, name))
	}
	if err := agentFiles(pod, programs...); err != nil {
		n.t.Fatalf("image of the agent: %v", err)
	}
	n.importImage(AgentImage, pod)
}

func (n *Node) importImage(name string, system files) {
	n.t.Helper()
	archive, err := system.archive(name)
	if err != nil {
		n.t.Fatalf("image %s: %v", name, err)
	}
	file := filepath.Join(n.machine.root, "image.tar")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		n.t.Fatal(err)
	}
	defer os.Remove(file) //nolint:errcheck // it goes with the test at the latest
	if _, err := n.Run("ctr", "-n", "k8s.io", "images", "import", file); err != nil {
		n.t.Fatal(err)
	}
}

// UseProxy starts kube-proxy in another mode; what the one before has written is taken away.
func (n *Node) UseProxy(mode string) {
	n.t.Helper()
	n.KubeProxy.Stop()
	if out, err := n.Run(n.KubeProxy.path, "--config=/etc/kube-proxy.json", "--hostname-override="+n.Name,
		"--cleanup"); err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
	n.Proxy = mode
	n.Write("/etc/kube-proxy.json", proxyConfig(mode))
	n.KubeProxy.Start()
}

// Write writes a file of the machine.
func (n *Node) Write(path, text string) {
	n.t.Helper()
	err := onThread(func() error {
		if err := n.machine.enter(); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(text), 0o600)
	})
	if err != nil {
		n.t.Fatalf("%s of %s: %v", path, n.Name, err)
	}
}

// Run runs a command on the machine and gives what it prints.
func (n *Node) Run(name string, args ...string) (string, error) { return n.machine.run(name, args...) }

// Get asks a server from the node itself.
func (n *Node) Get(ctx context.Context, url string) (string, error) {
	return get(ctx, n.machine.net, url)
}

// LoseRuntime has the container runtime fail as hard as it can: it and all containers are killed, and what it kept of
// them while it ran is gone. With its disk it also forgets which sandboxes there were, and all images but ours.
func (n *Node) LoseRuntime(disk bool) {
	n.t.Helper()
	n.Containerd.Kill()
	for _, name := range []string{"containerd-shim-runc-v2", "pod", "galaxy", "sleep"} { // the first process sleeps on
		n.KillInContainer(name)
	}
	folders := []string{"/run/containerd"}
	if disk {
		folders = append(folders, "/var/lib/containerd")
	}
	for _, folder := range folders {
		script := `for at in $(awk -v at="$0/" 'index($5, at) == 1 { print $5 }' /proc/self/mountinfo | sort -r); do
			umount -l "$at"
		done
		rm -rf "$0"/*`
		if _, err := n.Run("sh", "-c", script, folder); err != nil {
			n.t.Fatal(err)
		}
	}
	n.StartContainerd()
	if disk {
		n.importImages()
	}
}

// Off ends all processes of the node at once, as a power cut does.
func (n *Node) Off() { n.machine.stop() }

// KillInContainer kills the processes of a name that run in the node's containers, and says how many there were.
func (n *Node) KillInContainer(name string) int {
	n.t.Helper()
	out, err := n.Run("busybox", "pidof", name)
	if err != nil {
		return 0
	}
	pids := strings.Fields(out)
	if _, err := n.Run("kill", append([]string{"-9"}, pids...)...); err != nil {
		n.t.Fatal(err)
	}
	return len(pids)
}

func (n *Node) close() {
	n.machine.close()
	if err := removeCgroups(n.group); err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Errorf("control groups of %s are left: %v", n.Name, err)
	}
}
