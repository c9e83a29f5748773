package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/integration/cluster/controlplane"
)

const (
	policyKey = "k8s.v1.cni.galaxy.io/release-policy"
	poolKey   = "tke.cloud.tencent.com/eni-ip-pool"
	argsKey   = "k8s.v1.cni.galaxy.io/args"
	netLabel  = "net"
)

// The subnets of most scenarios: two large ones, and one that soon has no address left.
const subnets = `[
 {"nodeSubnets":["10.10.0.0/16"],"ips":["10.20.0.2~10.20.7.250"],"subnet":"10.20.0.0/21","gateway":"10.20.0.1"},
 {"nodeSubnets":["10.11.0.0/16"],"ips":["10.21.0.2~10.21.7.250"],"subnet":"10.21.0.0/21","gateway":"10.21.0.1"},
 {"nodeSubnets":["10.12.0.0/16"],"ips":["10.22.0.2~10.22.0.6"],"subnet":"10.22.0.0/24","gateway":"10.22.0.1"}]`

// lease is short, so that a new leader need not be waited for.
const lease = "3s"

// harness is a cluster with galaxy-ipam in it.
type harness struct {
	*controlplane.Cluster
	t     testing.TB
	ipams []*controlplane.IPAM
	http  *http.Client
	etcd  []string // what galaxyctl needs to reach the log
}

// settings are how a world is made.
type settings struct {
	options  controlplane.Options
	nodes    [3]int // in each node network
	replicas int
	args     []string
	subnets  string
	// each changes how the replicas run, before they are started.
	each func(w *harness, replicas []*controlplane.IPAMOptions)
	// before is what happened before galaxy-ipam was started for the first time; it makes the nodes itself.
	before func(w *harness)
	// waits says that galaxy-ipam does not become ready by itself.
	waits bool
}

// newHarness starts a cluster with as many galaxy-ipam, each with the rights that deploy/ gives it and no others.
// Tests wait most of the time, so that they run beside each other.
func newHarness(t testing.TB, s settings) *harness {
	t.Helper()
	if test, ok := t.(*testing.T); ok {
		test.Parallel()
	}
	if s.options.Extender == nil {
		s.options.Extender = &controlplane.Extender{Accounted: true}
	}
	w := &harness{Cluster: controlplane.Start(t, s.options), t: t, http: http.DefaultClient}
	w.etcd = []string{"--etcd-endpoints", w.GalaxyEtcdURL}
	w.Apply(manifests(t, "serviceaccount.yaml", "rbac.yaml"))
	w.Apply(crds(t))
	if s.subnets == "" {
		s.subnets = subnets
	}
	w.configure(s.subnets)
	var replicas []*controlplane.IPAMOptions
	for i := range max(s.replicas, 1) {
		o := w.replica(i, s.args...)
		replicas = append(replicas, &o)
	}
	if s.each != nil {
		s.each(w, replicas)
	}
	for _, o := range replicas {
		w.ipams = append(w.ipams, w.NewIPAM(*o))
	}
	if s.before != nil {
		s.before(w)
		s.nodes = [3]int{}
	}
	for _, ipam := range w.ipams {
		ipam.Launch()
	}
	if s.waits {
		return w
	}
	for _, ipam := range w.ipams {
		ipam.WaitReady()
	}
	w.WaitFor("the subnets are in force", 20*time.Second, func(ctx context.Context) error {
		if rows, err := w.rows(ctx); err != nil || len(rows) == 0 {
			return fmt.Errorf("%d addresses: %w", len(rows), err)
		}
		return nil
	})
	for network, n := range s.nodes {
		if n > 0 {
			w.MakeNodes(n, nodesOf(network))
		}
	}
	return w
}

// in is the same world, for a part of a test.
func (w *harness) in(t *testing.T) *harness {
	part := *w
	part.Cluster, part.t = w.In(t), t
	return &part
}

func nodesOf(network int) controlplane.NodeOptions {
	return controlplane.NodeOptions{
		Prefix: fmt.Sprintf("n%d-", network), Labels: map[string]string{netLabel: fmt.Sprint(network)},
		Address: func(i int) netip.Addr {
			return netip.AddrFrom4([4]byte{10, byte(10 + network), byte(i / 250), byte(i%250 + 2)})
		},
	}
}

// replica is how one galaxy-ipam runs.
func (w *harness) replica(i int, args ...string) controlplane.IPAMOptions {
	return controlplane.IPAMOptions{
		Name: fmt.Sprintf("galaxy-ipam-%d", i), Kubeconfig: w.ServiceAccountKubeconfig("kube-system", "galaxy-ipam"),
		Args: append([]string{"--leader-elect-lease-duration", lease, "--claim-ttl", "5s", "--reuse-delay", "2s"},
			args...),
	}
}

func (w *harness) configure(subnets string) {
	w.t.Helper()
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "floatingip-config", "namespace": "kube-system"},
		"data":     map[string]any{"floatingips": subnets},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Apply(string(text))
}

// manifests are files of deploy/base, in the namespace that they are meant for.
func manifests(t testing.TB, names ...string) string {
	t.Helper()
	var all []string
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "base", name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.ReplaceAll(string(text), "metadata: {name: galaxy-ipam}",
			"metadata: {name: galaxy-ipam, namespace: kube-system}"))
	}
	return strings.Join(all, "\n---\n")
}

func crds(t testing.TB) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "deploy", "crd", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "CustomResourceDefinition") {
			all = append(all, string(text))
		}
	}
	return strings.Join(all, "\n---\n")
}

// row is an address as the REST interface shows it.
type row struct {
	IP, Namespace, AppName, PodName, PoolName, AppType, State, Node, PodUID string
	Policy                                                                  int
}

// api is the REST port of a replica that runs.
func (w *harness) api() string {
	for _, ipam := range w.ipams {
		if ipam.Running() {
			return ipam.API
		}
	}
	return w.ipams[0].API
}

func (w *harness) rows(ctx context.Context) (map[string]row, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.api()+"/v1/ip?size=9999", nil)
	if err != nil {
		return nil, err
	}
	response, err := w.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	var page struct {
		Content []row
		Last    bool
	}
	if err := json.NewDecoder(response.Body).Decode(&page); err != nil {
		return nil, err
	}
	if !page.Last {
		return nil, errors.New("there are more addresses than fit in a page")
	}
	all := map[string]row{}
	for _, r := range page.Content {
		all[r.IP] = r
	}
	return all, nil
}

// held are the addresses that somebody holds, and that a test may be interested in.
func (w *harness) held(wanted func(row) bool) []row {
	w.t.Helper()
	rows, err := w.rows(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var held []row
	for _, r := range rows {
		if r.State != "free" && r.State != "cooling" && wanted(r) {
			held = append(held, r)
		}
	}
	slices.SortFunc(held, func(a, b row) int { return netip.MustParseAddr(a.IP).Compare(netip.MustParseAddr(b.IP)) })
	return held
}

// ofApp is what is held for a workload, or its pods.
func (w *harness) ofApp(name string) []row {
	w.t.Helper()
	return w.held(func(r row) bool { return r.AppName == name })
}

// waitHeld waits until just so many addresses are held for a workload.
func (w *harness) waitHeld(app string, n int) []row {
	w.t.Helper()
	var held []row
	w.WaitFor(fmt.Sprintf("%s holds %d addresses", app, n), 30*time.Second, func(context.Context) error {
		if held = w.ofApp(app); len(held) != n {
			return fmt.Errorf("it holds %d: %+v", len(held), held)
		}
		return nil
	})
	return held
}

func ips(rows []row) []string {
	all := make([]string, len(rows))
	for i, r := range rows {
		all[i] = r.IP
	}
	return all
}

// addressesOf are the addresses that a pod's annotation says it has.
func addressesOf(p *corev1.Pod) []string {
	var args struct {
		Common struct {
			IPInfos []struct{ IP netip.Prefix } `json:"ipinfos"`
		} `json:"common"`
	}
	if json.Unmarshal([]byte(p.Annotations[argsKey]), &args) != nil {
		return nil
	}
	var all []string
	for _, info := range args.Common.IPInfos {
		all = append(all, info.IP.Addr().String())
	}
	return all
}

// addressesByUID are the addresses of pods, by the pods' uids.
func addressesByUID(pods []corev1.Pod) map[string]string {
	all := map[string]string{}
	for i := range pods {
		all[string(pods[i].UID)] = fmt.Sprint(addressesOf(&pods[i]))
	}
	return all
}

// agree waits until the objects and the log say the same: every running pod that asks for an address has one, which no
// other pod has, and which the log says is bound to this very pod on this very node; and every bound address has its
// pod. The log itself must be right, too.
func (w *harness) agree() {
	w.t.Helper()
	w.WaitFor("the API server and the log agree", 40*time.Second, func(ctx context.Context) error {
		rows, err := w.rows(ctx)
		if err != nil {
			return err
		}
		pods, err := w.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		return compare(rows, pods.Items)
	})
	if out, err := w.Galaxyctl(append([]string{"log", "verify"}, w.etcd...)...); err != nil {
		w.t.Errorf("the log is not right: %v\n%s", err, out)
	}
}

func compare(rows map[string]row, pods []corev1.Pod) error {
	var errs []error
	owners := map[string]string{}
	uids := map[string]bool{}
	for i := range pods {
		p := &pods[i]
		if !wants(p) || p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded ||
			p.Status.Phase == corev1.PodFailed {
			continue
		}
		uids[string(p.UID)] = true
		addresses := addressesOf(p)
		if len(addresses) == 0 {
			errs = append(errs, fmt.Errorf("pod %s runs without an address", p.Name))
		}
		for _, ip := range addresses {
			if other := owners[ip]; other != "" {
				errs = append(errs, fmt.Errorf("pods %s and %s both have %s", other, p.Name, ip))
			}
			owners[ip] = p.Name
			if r := rows[ip]; r.State != "bound" || r.PodUID != string(p.UID) || r.Node != p.Spec.NodeName {
				errs = append(errs, fmt.Errorf("pod %s, uid %s, on %s has %s; the log says %+v", p.Name, p.UID,
					p.Spec.NodeName, ip, r))
			}
		}
	}
	for ip, r := range rows {
		if r.State == "bound" && !uids[r.PodUID] {
			errs = append(errs, fmt.Errorf("%s is bound to %s/%s, uid %s, which is not there", ip, r.Namespace,
				r.PodName, r.PodUID))
		}
	}
	return errors.Join(errs...)
}

func wants(p *corev1.Pod) bool {
	_, ok := p.Spec.Containers[0].Resources.Requests[controlplane.Resource]
	return ok
}

// immutable pods keep their addresses as long as their workload wants them.
func immutable() controlplane.PodEdit { return controlplane.WithAnnotation(policyKey, "immutable") }

// inNetwork lets pods run only in one node network.
func inNetwork(n int) controlplane.PodEdit {
	return controlplane.WithNodeSelector(netLabel, fmt.Sprint(n))
}

// rest writes over REST as an administrator with rights, and gives what is answered.
func (w *harness) rest(method, path, body string) (int, string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, w.api()+path, bytes.NewReader([]byte(body)))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+w.RESTConfig.BearerToken)
	response, err := w.http.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// namespace makes a namespace for a scenario.
func (w *harness) namespace(name string) string {
	w.t.Helper()
	if _, err := w.Client.CoreV1().Namespaces().Create(w.t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.WaitFor("the namespace has its service account", 20*time.Second, func(ctx context.Context) error {
		_, err := w.Client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return name
}

// running waits for the pods of a workload.
func (w *harness) running(namespace, app string, n int) []corev1.Pod {
	w.t.Helper()
	return w.WaitPodsRunning(namespace, controlplane.Selector(app), n, time.Minute)
}

// events are all that were shown.
func (w *harness) events(ctx context.Context) ([]corev1.Event, error) {
	list, err := w.Client.CoreV1().Events("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}
