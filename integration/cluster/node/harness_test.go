package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/integration/cluster/binaries"
	"galaxy/integration/cluster/controlplane"
	"galaxy/integration/cluster/node"
)

// nodeName is the one node of the harness, and nodeIP its address.
const (
	nodeName = "n0"
	nodeIP   = "10.99.0.10"
)

// harness is a cluster with galaxy-ipam and one real node, on which the agent runs as deploy/agent says. All parts of
// galaxy have the rights in the cluster that deploy/ gives them, those in etcd that galaxyctl etcd-auth gives them, and
// no others.
type harness struct {
	*controlplane.Cluster
	t       testing.TB
	world   *node.World
	node    *node.Node
	secrets string
	subnets []netip.Prefix // of the node, as the log says
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	node.Need(t)
	l := &harness{t: t, Cluster: controlplane.Start(t, controlplane.Options{
		ServerAddresses: node.Certified(), NodeGrace: 8 * time.Second, Extender: &controlplane.Extender{},
		Arguments: map[string][]string{binaries.APIServer: {"--allow-privileged=true"}},
	})}
	l.world = node.NewWorld(t)
	for _, server := range []string{l.APIServerURL, l.GalaxyEtcdURL} {
		at, err := url.Parse(server)
		if err != nil {
			t.Fatal(err)
		}
		l.world.Forward(at.Host)
	}
	l.secrets = filepath.Join(t.TempDir(), "secrets")
	l.protectEtcd()
	l.publishAPIServer()
	l.startIPAM()
	password := l.password("galaxy-node-" + nodeName)
	l.Apply(l.agentManifests())
	l.node = node.Start(t, l.Cluster, l.world, node.Options{
		Name: nodeName, Address: netip.MustParseAddr(nodeIP), Proxy: "nftables",
		Files: map[string]string{"/etc/galaxy-etcd/password": password},
	})
	start := time.Now()
	l.WaitNodesReady(2*time.Minute, nodeName)
	l.waitAgent()
	t.Logf("the node is ready %s after its kubelet was started", time.Since(start).Round(10*time.Millisecond))
	l.subnets = l.subnetsOfNode()
	return l
}

func (l *harness) in(t *testing.T) *harness {
	inner := *l
	inner.t, inner.Cluster = t, l.Cluster.In(t)
	return &inner
}

// credentials are what a user shows to etcd.
func (l *harness) credentials(user string) []string {
	return []string{"--etcd-user", user, "--etcd-password-file", filepath.Join(l.secrets, user)}
}

func (l *harness) password(user string) string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.secrets, user))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(text)
}

// protectEtcd switches authentication on, as docs/operations.md says.
func (l *harness) protectEtcd() {
	l.t.Helper()
	const secret = "known to few"
	if err := os.MkdirAll(l.secrets, 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.secrets, "root"), []byte(secret), 0o600); err != nil {
		l.t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{l.GalaxyEtcdURL}, Logger: zap.NewNop(),
		DialTimeout: 5 * time.Second})
	if err != nil {
		l.t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // every request was answered
	_, err = client.UserAdd(l.t.Context(), "root", secret)
	if err == nil {
		_, err = client.RoleAdd(l.t.Context(), "root")
	}
	if err == nil || errors.Is(err, rpctypes.ErrRoleAlreadyExist) {
		_, err = client.UserGrantRole(l.t.Context(), "root", "root")
	}
	if err != nil {
		l.t.Fatalf("a root user in etcd: %v", err)
	}
	l.mustGalaxyctl("root", "etcd-auth", "apply", "--nodes", nodeName, "--passwords", l.secrets, "--enable")
}

func (l *harness) mustGalaxyctl(user string, args ...string) string {
	l.t.Helper()
	args = append(append(args, "--etcd-endpoints", l.GalaxyEtcdURL), l.credentials(user)...)
	out, err := l.Galaxyctl(args...)
	if err != nil {
		l.t.Fatalf("galaxyctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// publishAPIServer says where the Service of the API server leads, which it cannot itself at a loopback address.
func (l *harness) publishAPIServer() {
	l.t.Helper()
	at, err := url.Parse(l.APIServerURL)
	if err != nil {
		l.t.Fatal(err)
	}
	host := netip.MustParseAddrPort(at.Host)
	port, name := int32(host.Port()), "https"
	_, err = l.Client.DiscoveryV1().EndpointSlices("default").Create(l.t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes",
			Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{node.Control.String()}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}, metav1.CreateOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
}

// startIPAM runs galaxy-ipam with the networks of deploy/overlay.
func (l *harness) startIPAM() {
	l.t.Helper()
	l.Apply(l.withoutPods("overlay"))
	config, err := filepath.Abs(filepath.Join("..", "..", "..", "deploy", "overlay", "galaxy-ipam.json"))
	if err != nil {
		l.t.Fatal(err)
	}
	l.StartIPAM(controlplane.IPAMOptions{
		Kubeconfig: l.ServiceAccountKubeconfig("kube-system", "galaxy-ipam"),
		Args: append([]string{"--config", config, "--leader-elect-lease-duration", "3s"},
			l.credentials("galaxy-leader")...),
	})
}

var document = regexp.MustCompile(`(?m)^---$`)

// withoutPods is a folder of deploy/ without what makes pods.
func (l *harness) withoutPods(folder string) string {
	l.t.Helper()
	var kept []string
	for _, text := range document.Split(l.Kustomize(folder), -1) {
		if !strings.Contains(text, "\nkind: Deployment\n") && !strings.Contains(text, "\nkind: DaemonSet\n") {
			kept = append(kept, text)
		}
	}
	return strings.Join(kept, "\n---\n")
}

var (
	etcdArgument = regexp.MustCompile(`(?m)^( *)- --etcd-endpoints=.*$`)
	// the harness's etcd wants passwords instead
	etcdFile = regexp.MustCompile(`(?m)^ *- --etcd-(ca|cert|key)=.*\n`)
)

// agentManifests are deploy/agent with what a user edits: image, etcd, and credentials. Times are short.
func (l *harness) agentManifests() string {
	l.t.Helper()
	at, err := url.Parse(l.GalaxyEtcdURL)
	if err != nil {
		l.t.Fatal(err)
	}
	text := l.Kustomize("agent")
	text = strings.ReplaceAll(text, "image: galaxy:latest", "image: "+node.AgentImage)
	text = regexp.MustCompile(`GALAXY_ETCD_ENDPOINTS: .*`).ReplaceAllString(text,
		fmt.Sprintf("GALAXY_ETCD_ENDPOINTS: http://%s:%s", node.Control, at.Port()))
	arguments := []string{"--etcd-endpoints=$$(GALAXY_ETCD_ENDPOINTS)", "--etcd-user=galaxy-node-$$(MY_NODE_NAME)",
		"--etcd-password-file=/etc/galaxy-etcd/password",
		"--lease-ttl=3s", "--resync=5s", "--reuse-delay=1s", "--gc-interval=2s", "--gc-grace=30s"}
	return etcdArgument.ReplaceAllString(etcdFile.ReplaceAllString(text, ""), "$1- "+strings.Join(arguments, "\n$1- "))
}

// waitAgent waits until the agent's pod is ready.
func (l *harness) waitAgent() {
	l.t.Helper()
	l.WaitFor("the agent is ready", 3*time.Minute, func(ctx context.Context) error {
		pods, err := l.Client.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "app=galaxy"})
		if err != nil {
			return err
		}
		for i := range pods.Items {
			if ready(&pods.Items[i]) {
				return nil
			}
		}
		return fmt.Errorf("%d pods, none of them ready", len(pods.Items))
	})
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}

// event is an event of the log, as far as tests look at it.
type event struct {
	Seq  uint64
	Type string
	Data struct {
		Address, Node, Reason, PodUID string
		Subnet                        netip.Prefix
	}
}

// events are those of a stream.
func (l *harness) events(stream string) []event {
	l.t.Helper()
	var all []event
	for line := range strings.Lines(l.mustGalaxyctl("galaxy-auditor", "log", "show", "--stream", stream, "-o",
		"json")) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			l.t.Fatalf("%v: %s", err, line)
		}
		all = append(all, e)
	}
	return all
}

func (l *harness) subnetsOfNode() []netip.Prefix {
	l.t.Helper()
	var subnets []netip.Prefix
	for _, e := range l.events("nodes") {
		if e.Type == "NodeSubnetAssigned" && e.Data.Node == nodeName {
			subnets = append(subnets, e.Data.Subnet)
		}
	}
	if len(subnets) == 0 {
		l.t.Fatal("the log gives the node no subnet")
	}
	return subnets
}

// verified makes sure that the log is right.
func (l *harness) verified() {
	l.t.Helper()
	l.mustGalaxyctl("galaxy-auditor", "log", "verify")
}
