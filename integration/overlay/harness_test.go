package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// programs are built once for all tests.
var programs struct {
	sync.Once
	dir string
	err error
}

// Programs names a folder with programs that were built before; in a virtual machine nothing can be built.
const Programs = "GALAXY_OVERLAY_PROGRAMS"

func build(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv(Programs); dir != "" {
		return dir
	}
	programs.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "galaxy-overlay"); programs.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", programs.dir, "galaxy/cmd/galaxy", "galaxy/cmd/galaxy-ipam",
			"galaxy/cmd/galaxyctl", "galaxy/cmd/galaxy-cni", "galaxy/cmd/galaxy-sdn").CombinedOutput()
		if err != nil {
			programs.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return programs.dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(programs.dir) // it may not be there
	os.Exit(code)
}

// The address plan of all labs: a switch that all are on, with the control plane at its own address.
const (
	control = "10.99.0.1"
	etcdURL = "http://" + control + ":2379"
	overlay = `{"overlay":{"networks":[{"cidr":"10.244.0.0/16","nodePrefix":24},{"cidr":"fd00:244::/48","nodePrefix":64}],"keepLostNodes":"1h"}}`
)

// harness is a control plane and some nodes on one switch.
type harness struct {
	t      testing.TB
	bin    string
	dir    string
	wires  *namespace
	ipam   *process
	nodes  []*node
	config string // of galaxy-ipam
}

func newHarness(t testing.TB, nodes int) *harness {
	t.Helper()
	return newLabOf(t, nodes, overlay)
}

// newLabOf is newLab with another configuration of galaxy-ipam.
func newLabOf(t testing.TB, nodes int, config string) *harness {
	t.Helper()
	needRoot(t)
	l := &harness{t: t, bin: build(t), dir: t.TempDir(), config: config}
	l.wires = newNamespace(t, "switch")
	l.wires.bridge(near.bridge, near.address(1, 24), near.address6(1, 64))
	l.wires.bridge(far.bridge, far.address(1, 24), far.address6(1, 64))
	l.wires.sysctl("net/ipv4/ip_forward", "1")
	l.wires.sysctl("net/ipv6/conf/all/forwarding", "1")
	l.startIPAM()
	for i := range nodes {
		l.addNode(fmt.Sprintf("n%d", i), i)
	}
	return l
}

// segment is a link that nodes are on. The switch routes between the two that there are.
type segment struct{ bridge, prefix4, prefix6 string }

var near, far = segment{"br0", "10.99.0.", "fd99::"}, segment{"br1", "10.98.0.", "fd98::"}

func (s segment) address(host, bits int) string { return fmt.Sprintf("%s%d/%d", s.prefix4, host, bits) }
func (s segment) address6(host, bits int) string {
	return fmt.Sprintf("%s%x/%d", s.prefix6, host, bits)
}

func bare(prefix string) string {
	addr, _, _ := strings.Cut(prefix, "/")
	return addr
}

// startIPAM runs galaxy-ipam with an etcd of its own.
func (l *harness) startIPAM() {
	l.t.Helper()
	file := filepath.Join(l.dir, "galaxy-ipam.json")
	if err := os.WriteFile(file, []byte(l.config), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.ipam = &process{t: l.t, where: l.wires, name: "galaxy-ipam", path: filepath.Join(l.bin, "galaxy-ipam"),
		log: filepath.Join(l.dir, "galaxy-ipam.log"), args: []string{
			"--standalone", "--insecure-ports", "--config", file, "--embedded-etcd", filepath.Join(l.dir, "etcd"),
			"--embedded-etcd-client-url", etcdURL,
			"--bind", control, "--leader-elect-lease-duration", "2s", "--log-format", "console",
		}}
	l.ipam.start()
	l.t.Cleanup(l.ipam.finish)
}

// node is a namespace with an agent in it.
type node struct {
	*namespace
	harness *harness
	agent   *process
	socket  string
	state   string
}

// addNode joins a node to the switch and starts its agent.
func (l *harness) addNode(name string, i int, more ...string) *node {
	l.t.Helper()
	n := l.bareNode(near, name, i, more...)
	n.agent.start()
	return n
}

// bareNode joins a node to a segment, and does not start its agent.
func (l *harness) bareNode(on segment, name string, i int, more ...string) *node {
	l.t.Helper()
	n := &node{namespace: newNamespace(l.t, name), harness: l, state: filepath.Join(l.dir, name)}
	n.wire("eth0", l.wires, on.bridge, on.address(10+i, 24), on.address6(16+i, 64))
	n.ip("route", "add", "default", "via", bare(on.address(1, 24)))
	n.ip("-6", "route", "add", "default", "via", bare(on.address6(1, 64)))
	if _, err := exec.LookPath("nft"); err != nil {
		l.t.Logf("there is no nft: %s does not masquerade", name)
		more = append(more, "--masquerade=false")
	}
	if err := os.MkdirAll(n.state, 0o700); err != nil {
		l.t.Fatal(err)
	}
	n.socket = filepath.Join(n.state, "galaxy.sock")
	n.agent = &process{t: l.t, where: n.namespace, name: "galaxy on " + name, path: filepath.Join(l.bin, "galaxy"),
		log: filepath.Join(l.dir, name+".log"), args: append([]string{
			"--standalone", "--etcd-endpoints", etcdURL, "--etcd-timeout", "2s", "--hostname-override", name,
			"--machine-id", "machine-" + name,
			"--node-ip", bare(on.address(10+i, 24)) + "," + bare(on.address6(16+i, 64)), "--socket", n.socket,
			"--state-dir", filepath.Join(n.state, "lib"), "--cni-state-dir", filepath.Join(n.state, "cni"),
			"--notes-dir", filepath.Join(n.state, "notes"),
			"--subnet-file", filepath.Join(n.state, "subnet.env"), "--json-config-path",
			filepath.Join(n.state, "galaxy.json"), "--lease-ttl", "4s", "--resync", "5s",
			"--log-format", "console", "--reuse-delay", "1s",
		}, more...)}
	if err := os.WriteFile(filepath.Join(n.state, "galaxy.json"), []byte(defaultNetworks), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(n.agent.finish)
	l.nodes = append(l.nodes, n)
	return n
}

const defaultNetworks = `{"NetworkConf":[{"name":"galaxy","type":"galaxy-veth","ipam":{"type":"galaxy-ipam"}}],"DefaultNetworks":["galaxy"]}`

// status asks the node's agent how it is.
func (n *node) status() (s struct {
	Subnets []netip.Prefix
	Held    int
	Waiting int
	Ready   string
	Settled uint64
	Routes  struct {
		Position       uint64
		Routes, Writes int
		Problems       []string
	}
	Announced struct{ Problems []string }
	Wanted    []string
	Differs   []string
}, err error) {
	client := http.Client{Timeout: 5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", n.socket)
			}}}
	response, err := client.Get("http://agent/v1/status")
	if err != nil {
		return s, err
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	if response.StatusCode != http.StatusOK {
		return s, errors.New(response.Status)
	}
	return s, json.NewDecoder(response.Body).Decode(&s)
}

// converged waits until every node takes pods, and has routes to the subnets of so many other nodes.
func (l *harness) converged(peers int, nodes ...*node) {
	l.t.Helper()
	for _, n := range nodes {
		eventually(l.t, n.name+" has its routes", 30*time.Second, func() error {
			s, err := n.status()
			if err == nil && (s.Ready != "" || s.Routes.Routes != 2*peers || len(s.Differs) > 0 ||
				s.Settled < s.Routes.Position) {
				err = fmt.Errorf("%+v", s)
			}
			return err
		})
	}
}

// galaxyctl runs galaxyctl beside the etcd.
func (l *harness) galaxyctl(args ...string) (string, error) {
	l.t.Helper()
	var out []byte
	var err error
	l.wires.in(func() error {
		out, err = exec.Command(filepath.Join(l.bin, "galaxyctl"),
			append(args, "--etcd-endpoints", etcdURL)...).CombinedOutput()
		return nil
	})
	return string(out), err
}

// verified makes sure that the log is right.
func (l *harness) verified() {
	l.t.Helper()
	if out, err := l.galaxyctl("log", "verify"); err != nil {
		l.t.Errorf("log verify: %v\n%s", err, out)
	}
}

// process is a program inside a namespace.
type process struct {
	t     testing.TB
	where *namespace
	name  string
	path  string
	args  []string
	log   string
	cmd   *exec.Cmd
	ended chan struct{}
}

func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the program has its own descriptor
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	p.where.start(cmd)
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // whoever waits for the end looks at what it means
		close(ended)
	}()
	p.cmd, p.ended = cmd, ended
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// stop ends it with SIGTERM, which must do.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		p.t.Fatalf("%s does not end after SIGTERM", p.name)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s after SIGTERM: exit code %d", p.name, code)
	}
}

// finish ends it with the test, and shows what it said if that has failed.
func (p *process) finish() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
	if p.t.Failed() {
		text, _ := os.ReadFile(p.log)
		p.t.Logf("=== %s said last:\n%s", p.name, text[max(0, len(text)-5000):])
	}
}

func eventually(t testing.TB, what string, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %s: %v", what, within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// pod is a namespace that got its network from galaxy-sdn.
type pod struct {
	*namespace
	on        *node
	container string
	addresses []netip.Addr
}

// cni runs galaxy-sdn on a node as a container runtime does.
func (n *node) cni(command, container, name, netns string) ([]byte, error) {
	n.t.Helper()
	conf := fmt.Sprintf(`{"cniVersion":"1.1.0","name":"galaxy-sdn","type":"galaxy-sdn","socket":%q,"notes":%q}`,
		n.socket, filepath.Join(n.state, "notes"))
	cmd := exec.Command(filepath.Join(n.harness.bin, "galaxy-sdn"))
	cmd.Env = []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + container, "CNI_NETNS=" + netns, "CNI_IFNAME=eth0", "CNI_PATH=" +
			n.harness.bin,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + name + ";K8S_POD_UID=uid-" + name,
	}
	var out strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(conf), &out, &out
	var err error
	n.in(func() error {
		err = cmd.Run()
		return nil
	})
	return []byte(out.String()), err
}

// addPod makes a pod on the node.
func (n *node) addPod(name string) *pod {
	n.t.Helper()
	p, err := n.tryPod(name)
	if err != nil {
		n.t.Fatal(err)
	}
	return p
}

func (n *node) tryPod(name string) (*pod, error) {
	n.t.Helper()
	p := &pod{namespace: newNamespace(n.t, name), on: n, container: "container-of-" + name}
	out, err := n.cni("ADD", p.container, name, p.path())
	if err != nil {
		return nil, fmt.Errorf("ADD of %s on %s: %w: %s", name, n.name, err, out)
	}
	if p.addresses = addressesIn(out); len(p.addresses) == 0 {
		return nil, fmt.Errorf("ADD of %s on %s: %s", name, n.name, out)
	}
	return p, nil
}

// addressesIn are those of a result.
func addressesIn(out []byte) (all []netip.Addr) {
	var result struct {
		IPs []struct{ Address netip.Prefix }
	}
	if json.Unmarshal(out, &result) != nil {
		return nil
	}
	for _, ip := range result.IPs {
		all = append(all, ip.Address.Addr())
	}
	return all
}

// remove takes the pod's network away.
func (p *pod) remove() {
	p.t.Helper()
	if out, err := p.on.cni("DEL", p.container, p.name, p.path()); err != nil {
		p.t.Fatalf("DEL of %s: %v: %s", p.name, err, out)
	}
}
