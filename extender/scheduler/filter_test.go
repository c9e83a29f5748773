package scheduler_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"galaxy/allocator"
	"galaxy/ipam"
)

// filter asks with node names and with whole nodes, whose responses must agree, and returns the names that pass.
func (b *harness) filter(pod string, nodes ...string) (passed []string, result extenderv1.ExtenderFilterResult) {
	b.T.Helper()
	names, _ := json.Marshal(nodes)
	if code := ask(b.T, http.MethodPost, b.scheduler.URL+"/v1/filter",
		fmt.Sprintf(`{"Pod":%s,"Nodes":null,"NodeNames":%s}`, pod, names), &result); code != http.StatusOK {
		b.T.Fatalf("filter by names: status %d", code)
	}
	if result.Nodes != nil {
		b.T.Errorf("filter by names answers with nodes")
	}
	if result.NodeNames != nil {
		passed = *result.NodeNames
	}
	whole := make([]string, len(nodes))
	for i, name := range nodes {
		whole[i] = nodeText(name, nodeIPs[name])
	}
	var other extenderv1.ExtenderFilterResult
	body := fmt.Sprintf(`{"pod":%s,"nodes":{"metadata":{},"items":[%s]},"nodenames":null}`, pod,
		strings.Join(whole, " , "))
	if code := ask(b.T, http.MethodPost, b.scheduler.URL+"/v1/filter", body, &other); code != http.StatusOK {
		b.T.Fatalf("filter by nodes: status %d", code)
	}
	var otherPassed []string
	if other.Nodes != nil {
		for _, n := range other.Nodes.Items {
			otherPassed = append(otherPassed, n.Name)
			if n.Labels["a"] != "<b>" {
				b.T.Errorf("node %s came back changed", n.Name)
			}
		}
	}
	if !slices.Equal(passed, otherPassed) || result.Error != other.Error ||
		!equalMaps(result.FailedNodes, other.FailedNodes) {
		b.T.Errorf("by names %v %+v, by nodes %v %+v", passed, result, otherPassed, other)
	}
	return passed, result
}

func equalMaps(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func (b *harness) bind(namespace, name, uid, node string) string {
	b.T.Helper()
	var result extenderv1.ExtenderBindingResult
	body := fmt.Sprintf(`{"PodName":%q,"PodNamespace":%q,"PodUID":%q,"Node":%q}`, name, namespace, uid, node)
	if code := ask(b.T, http.MethodPost, b.scheduler.URL+"/v1/bind", body, &result); code != http.StatusOK {
		b.T.Fatalf("bind: status %d", code)
	}
	return result.Error
}

// drain takes both addresses that node1 may use.
func (b *harness) drain() {
	for _, text := range []string{"10.180.154.7", "10.180.154.8"} {
		b.Do(allocator.Reserve{Address: addr(text), Owner: ipam.Owner{Pool: "other"}})
	}
}

var four = []string{"node1", "node2", "node3", "node4"}

func TestFilter(t *testing.T) {
	b := newHarness(t, fixture)
	b.drain()
	b.Objects(`{"kind":"StatefulSet","metadata":{"name":"sts","namespace":"ns1"},"spec":{"replicas":3}}`)

	plain := `{"metadata":{"name":"plain","namespace":"ns1"},"spec":{"containers":[{}]}}`
	if passed, _ := b.filter(plain, four...); !slices.Equal(passed, four) {
		t.Errorf("a pod without the resource passes %v", passed)
	}
	pod := podText("ns1", "sts-0", "StatefulSet/sts", map[string]string{"policy": "immutable"})
	passed, result := b.filter(pod, "node1", "node2", "node3", "node4", "ghost")
	if want := []string{"node3", "node4"}; !slices.Equal(passed, want) {
		t.Errorf("passes %v, want %v", passed, want)
	}
	want := map[string]string{
		"node1": "FloatingIPPlugin:NoFIPLeft", "node2": "FloatingIPPlugin:NoFIPConfigNode",
		"ghost": "FloatingIPPlugin:UnknowNode",
	}
	if !equalMaps(result.FailedNodes, want) {
		t.Errorf("failed %v, want %v", result.FailedNodes, want)
	}
	delete(want, "node1")
	if !equalMaps(result.FailedAndUnresolvableNodes, want) {
		t.Errorf("unresolvable %v, want %v", result.FailedAndUnresolvableNodes, want)
	}
	if failure := b.bind("ns1", "sts-0", "uid-sts-0", "node4"); failure != "" {
		t.Fatal(failure)
	}
	if passed, _ := b.filter(pod, four...); !slices.Equal(passed, []string{"node4"}) {
		t.Errorf("a pod that holds an address of node4 passes %v", passed)
	}
	if got := b.Replica.View().Address(addr("10.173.13.2")); got == nil || got.PodUID != "uid-sts-0" ||
		got.Node != "node4" {
		t.Errorf("bound %+v", got)
	}
}

func TestFilterErrors(t *testing.T) {
	b := newHarness(t, fixture)
	b.Objects(`{"kind":"Deployment","metadata":{"name":"web","namespace":"ns1"},"spec":{"replicas":1}}`)
	_, result := b.filter(podText("ns1", "lone", "", map[string]string{"policy": "immutable"}), four...)
	if !strings.Contains(result.Error, "immutable") || !strings.Contains(result.Error, "lone") {
		t.Errorf("an immutable pod without workload: error %q", result.Error)
	}
	_, result = b.filter(podText("ns1", "p-0", "StatefulSet/p", map[string]string{"args": "{"}), four...)
	if !strings.Contains(result.Error, "args annotation") {
		t.Errorf("bad args: error %q", result.Error)
	}
	first := podText("ns1", "web-1-a", "ReplicaSet/web-1", map[string]string{"policy": "immutable"})
	if passed, _ := b.filter(first, four...); len(passed) == 0 {
		t.Fatal("the first pod of the deployment passes nowhere")
	}
	if failure := b.bind("ns1", "web-1-a", "uid-web-1-a", "node3"); failure != "" {
		t.Fatal(failure)
	}
	_, result = b.filter(podText("ns1", "web-1-b", "ReplicaSet/web-1", map[string]string{"policy": "immutable"}),
		four...)
	if !strings.Contains(result.Error, "wait") {
		t.Errorf("a pod beyond the replicas: error %q", result.Error)
	}
}

func TestFilterClaims(t *testing.T) {
	b := newHarness(t, fixture)
	b.Objects()
	b.Do(allocator.Reserve{Address: addr("10.49.27.216"), Owner: ipam.Owner{Pool: "pool1"}})
	pod := podText("ns1", "web-1-a", "ReplicaSet/web-1", map[string]string{"pool": "pool1"})
	b.Objects(`{"kind":"Deployment","metadata":{"name":"web","namespace":"ns1"},"spec":{"replicas":1}}`)
	if passed, result := b.filter(pod, four...); !slices.Equal(passed, []string{"node3"}) {
		t.Errorf("with an address reserved beside node3: passes %v, %+v", passed, result)
	}
	if a := b.Replica.View().Address(addr("10.49.27.216")); a.State() != "claimed" || a.Owner.Pod != "web-1-a" {
		t.Errorf("the reserved address is %s for %v", a.State(), a.Owner)
	}
}

func TestFilterRanges(t *testing.T) {
	b := newHarness(t, fixture)
	b.Objects()
	six := []string{"node1", "node2", "node3", "node4", "node5", "node6"}
	for ranges, want := range map[string]string{
		`[["10.49.27.205"],["10.49.27.216~10.49.27.218"]]`: "node3",
		`[["10.0.80.2~10.0.80.4"],["10.0.81.2"]]`:          "node5",
		`[["10.0.80.2~10.0.80.4"]]`:                        "node5 node6",
		`[["10.49.27.205"],["10.0.80.2~10.0.80.4"]]`:       "",
		`[["10.49.27.205","10.0.80.2~10.0.80.4"]]`:         "node3 node5 node6",
		`[["10.49.27.216~10.49.27.218","10.0.80.2~10.0.80.4"],["10.49.27.216~10.49.27.218","10.0.80.2~10.0.80.4"]]`: "node3 node5 node6",
	} {
		pod := podText("ns1", "sts-0", "StatefulSet/sts",
			map[string]string{"args": `{"request_ip_range":` + ranges + `}`})
		if passed, result := b.filter(pod, six...); strings.Join(passed, " ") != want {
			t.Errorf("%s: passes %v (%s), want %s", ranges, passed, result.Error, want)
		}
	}
}

func TestBindErrors(t *testing.T) {
	b := newHarness(t, fixture)
	b.Objects(podText("ns1", "sts-0", "StatefulSet/sts", nil),
		`{"kind":"Pod","metadata":{"name":"plain","namespace":"ns1"},"spec":{"containers":[{}]}}`)
	for _, c := range []struct{ name, uid, node, want string }{
		{"ghost", "u", "node3", "not known"},
		{"plain", "", "node3", "does not request"},
		{"sts-0", "another", "node3", "uid"},
		{"sts-0", "uid-sts-0", "ghost", "node ghost is not known"},
		{"sts-0", "uid-sts-0", "node2", "node network"},
	} {
		if failure := b.bind("ns1", c.name, c.uid, c.node); !strings.Contains(failure, c.want) {
			t.Errorf("bind %s %s to %s: %q, want %q in it", c.name, c.uid, c.node, failure, c.want)
		}
	}
	for range 2 { // again is the same
		if failure := b.bind("ns1", "sts-0", "", "node3"); failure != "" {
			t.Error(failure)
		}
	}
	if held := b.Replica.View().Usage(0, b.Replica.Env().Now, 0).Held + b.Replica.View().Usage(5, b.Replica.Env().Now,
		0).Held; held > 1 {
		t.Errorf("%d addresses after the same bind twice", held)
	}
}

func TestSamples(t *testing.T) {
	config := `[{"nodeSubnets":["0.0.0.0/0"],"ips":["10.0.0.2~10.0.0.100"],"subnet":"10.0.0.0/24","gateway":"10.0.0.1"}]`
	b := newHarness(t, config)
	var sent extenderv1.ExtenderArgs
	body := sample(t, "filter-nodeCacheCapable-false.json", &sent)
	var result extenderv1.ExtenderFilterResult
	if code := ask(t, http.MethodPost, b.scheduler.URL+"/v1/filter", body, &result); code != http.StatusOK ||
		result.Error != "" {
		t.Fatalf("status %d, %s", code, result.Error)
	}
	if a, b := asJSON(t, result.Nodes.Items), asJSON(t, sent.Nodes.Items); a != b {
		t.Error("the nodes came back changed")
	}
	documents := make([]string, 0, len(sent.Nodes.Items))
	for _, n := range sent.Nodes.Items {
		documents = append(documents, nodeText(n.Name, n.Status.Addresses[0].Address))
	}
	b.Objects(append(documents, nodeText("kwok-0518", sent.Nodes.Items[0].Status.Addresses[0].Address))...)
	if failure := bindSample(t, b); failure != "" {
		t.Errorf("bind after filter: %s", failure)
	}
	var byName extenderv1.ExtenderFilterResult
	if code := ask(t, http.MethodPost, b.scheduler.URL+"/v1/filter",
		sample(t, "filter-nodeCacheCapable-true.json", nil), &byName); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	for _, f := range byName.FailedNodes {
		if f != "FloatingIPPlugin:UnknowNode" {
			t.Errorf("nodes that the cluster does not know fail with %s", f)
		}
	}
	for _, name := range []string{"preempt-nodeCacheCapable-true.json", "preempt-nodeCacheCapable-false.json"} {
		var result extenderv1.ExtenderPreemptionResult
		if code := ask(t, http.MethodPost, b.scheduler.URL+"/v1/preempt", sample(t, name, nil),
			&result); code != http.StatusOK {
			t.Errorf("%s: status %d", name, code)
		}
	}
}

func bindSample(t *testing.T, b *harness) string {
	var result extenderv1.ExtenderBindingResult
	if code := ask(t, http.MethodPost, b.scheduler.URL+"/v1/bind", sample(t, "bind.json", nil),
		&result); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	return result.Error
}

func sample(t testing.TB, name string, into any) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	return string(text)
}

// TestBindWithoutCluster binds what filter was sent, when nothing else knows of pods and nodes.
func TestBindWithoutCluster(t *testing.T) {
	b := newHarness(t, fixture)
	pod := podText("ns1", "sts-0", "StatefulSet/sts", nil)
	var result extenderv1.ExtenderFilterResult
	ask(t, http.MethodPost, b.scheduler.URL+"/v1/filter",
		fmt.Sprintf(`{"Pod":%s,"Nodes":{"items":[%s]}}`, pod, nodeText("node3", "10.49.27.3")), &result)
	if len(result.Nodes.Items) != 1 {
		t.Fatalf("filter: %+v", result)
	}
	if failure := b.bind("ns1", "sts-0", "another", "node3"); !strings.Contains(failure, "not known") {
		t.Errorf("another pod of that name: %q", failure)
	}
	if failure := b.bind("ns1", "sts-0", "uid-sts-0", "node3"); failure != "" {
		t.Error(failure)
	}
}
