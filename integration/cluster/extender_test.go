package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	extender "k8s.io/kube-scheduler/extender/v1"

	"galaxy/integration/cluster/controlplane"
)

// oneNode is an extender that sends all pods to one node.
type oneNode struct {
	t            *testing.T
	controlplane *controlplane.Cluster
	node         string

	mu    sync.Mutex
	calls map[string]int
}

func (o *oneNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.calls[r.URL.Path]++
	o.mu.Unlock()
	var result any
	switch r.URL.Path {
	case "/v1/filter":
		result = extender.ExtenderFilterResult{NodeNames: &[]string{o.node}}
	case "/v1/prioritize":
		result = extender.HostPriorityList{{Host: o.node, Score: extender.MaxExtenderPriority}}
	case "/v1/bind":
		result = o.bind(r)
	default:
		http.NotFound(w, r)
		return
	}
	if err := json.NewEncoder(w).Encode(result); err != nil {
		o.t.Errorf("%s: %v", r.URL.Path, err)
	}
}

// asked is how often it was asked what.
func (o *oneNode) asked() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.calls)
}

func (o *oneNode) bind(r *http.Request) extender.ExtenderBindingResult {
	var args extender.ExtenderBindingArgs
	if err := json.NewDecoder(r.Body).Decode(&args); err != nil {
		return extender.ExtenderBindingResult{Error: err.Error()}
	}
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: args.PodNamespace, Name: args.PodName, UID: args.PodUID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: args.Node},
	}
	if err := o.controlplane.Client.CoreV1().Pods(args.PodNamespace).Bind(r.Context(), binding,
		metav1.CreateOptions{}); err != nil {
		return extender.ExtenderBindingResult{Error: err.Error()}
	}
	return extender.ExtenderBindingResult{}
}

// kube-scheduler asks the extender for pods that want an address, and for no others.
func TestExtenderIsAsked(t *testing.T) {
	o := &oneNode{t: t, calls: map[string]int{}}
	server := httptest.NewUnstartedServer(o)
	t.Cleanup(server.Close)
	b := controlplane.Start(t, controlplane.Options{Extender: &controlplane.Extender{URL: "http://" +
		server.Listener.Addr().String() + "/v1"}})
	o.controlplane, o.node = b, b.MakeNodes(10, controlplane.NodeOptions{})[7]
	server.Start()
	b.Create(controlplane.NewDeployment("default", "plain", 5))
	b.WaitPodsRunning("default", controlplane.Selector("plain"), 5, time.Minute)
	if asked := o.asked(); len(asked) > 0 {
		t.Errorf("for pods without an address, the extender was asked %v", asked)
	}
	b.Create(controlplane.NewDeployment("default", "web", 5, controlplane.WithAddress()))
	pods := b.WaitPodsRunning("default", controlplane.Selector("web"), 5, time.Minute)
	if nodes := nodesOf(pods); len(nodes) != 1 || !nodes[o.node] {
		t.Errorf("pods with an address are on %v, want %s", nodes, o.node)
	}
	if asked := o.asked(); asked["/v1/filter"] < 5 || asked["/v1/bind"] != 5 {
		t.Errorf("the extender was asked %v, want 5 times to filter and 5 to bind", asked)
	}
}

// The replicas of galaxy-ipam come and go behind one URL.
func TestReplicasBehindBalancer(t *testing.T) {
	b := controlplane.Start(t, controlplane.Options{Extender: &controlplane.Extender{}})
	objects := filepath.Join(t.TempDir(), "objects.yaml")
	text := `{apiVersion: v1, kind: Node, metadata: {name: n0, uid: n0}, status: {addresses: [{type: InternalIP, address: 10.10.0.5}]}}`
	if err := os.WriteFile(objects, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	standalone := func(name string) controlplane.IPAMOptions {
		return controlplane.IPAMOptions{Name: name, Kubeconfig: controlplane.NoKubeconfig,
			Args: []string{"--standalone", "--objects", objects}}
	}
	one := b.StartIPAM(standalone("galaxy-ipam-1"))
	two := b.StartIPAM(standalone("galaxy-ipam-2"))
	answers := func(want ...string) {
		t.Helper()
		b.WaitFor(fmt.Sprintf("%v stand behind the balancer", want), 10*time.Second, func(context.Context) error {
			if ready := b.Balancer.Ready(); fmt.Sprint(ready) != fmt.Sprint(want) {
				return fmt.Errorf("ready are %v", ready)
			}
			return nil
		})
		response, err := http.Get(b.Balancer.URL() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		if _ = response.Body.Close(); response.StatusCode != http.StatusOK {
			t.Errorf("the replicas %v say %s", want, response.Status)
		}
	}
	answers("galaxy-ipam-1", "galaxy-ipam-2")
	one.Kill()
	http.DefaultClient.CloseIdleConnections()
	answers("galaxy-ipam-2")
	timed(t, "galaxy-ipam started", one.Start)
	answers("galaxy-ipam-1", "galaxy-ipam-2")
	two.Stop()
	http.DefaultClient.CloseIdleConnections()
	answers("galaxy-ipam-1")
}
