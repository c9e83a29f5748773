package scenarios

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"galaxy/integration/cluster/controlplane"
)

// TestWorkloads plays what users do with their workloads, in one cluster of 200 nodes in three node networks.
func TestWorkloads(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{100, 95, 5}, replicas: 2})
	for _, s := range []struct {
		name string
		play func(*testing.T, *harness, string)
	}{
		{"Deployment", deployment},
		{"NodesAreLeftAlone", nodesAreLeftAlone},
		{"RolloutWithSurge", rolloutWithSurge},
		{"RolloutStrict", rolloutStrict},
		{"RolloutRecreate", rolloutRecreate},
		{"RolloutOfPool", rolloutOfPool},
		{"ScaleDownAndUp", scaleDownAndUp},
		{"Never", never},
		{"Ranges", ranges},
		{"CustomWorkload", customWorkload},
		{"PoolByREST", poolByREST},
		{"RunsDryAndRecovers", runsDryAndRecovers},
		{"NamespaceDeleted", namespaceDeleted},
		{"FinishedPod", finishedPod},
		{"UnknownKeysOfTheUser", unknownKeys},
	} {
		t.Run(s.name, func(t *testing.T) {
			here := w.in(t)
			namespace := here.namespace(strings.ToLower(s.name))
			s.play(t, here, namespace)
			if err := here.Client.CoreV1().Namespaces().Delete(t.Context(), namespace,
				metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
			here.WaitPodsGone(namespace, "", time.Minute)
			here.agree()
		})
		if t.Failed() {
			return
		}
	}
}

// Fifty pods without a policy each get an address of the node network where they run, and give it back.
func deployment(_ *testing.T, w *harness, ns string) {
	web := controlplane.NewDeployment(ns, "web", 50, controlplane.WithAddress())
	w.Create(web)
	w.running(ns, "web", 50)
	w.agree()
	w.Scale(web, 0)
	w.waitHeld("web", 0)
}

// Nodes that show what they should are not written again and again.
func nodesAreLeftAlone(t *testing.T, w *harness, _ string) {
	written := func() float64 {
		text, err := w.Client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, m := range families(t, bytes.NewReader(text))["apiserver_request_total"].GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["resource"] == "nodes" && labels["subresource"] == "status" && labels["verb"] == "PATCH" {
				sum += m.GetCounter().GetValue()
			}
		}
		return sum
	}
	before := written()
	time.Sleep(4 * time.Second)
	if n := written() - before; n > 20 { // the nodes' own heartbeats are some
		t.Errorf("in 4 s nothing has happened, and 200 nodes were written %g times", n)
	}
}

// edit changes the template of a Deployment, which begins a rollout.
func (w *harness) edit(d *appsv1.Deployment, value string) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"labels":{"version":%q}}}}}`, value)
	if _, err := w.Client.AppsV1().Deployments(d.Namespace).Patch(w.t.Context(), d.Name, types.StrategicMergePatchType,
		[]byte(patch), metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// rolledOut waits until all pods are of a version.
func (w *harness) rolledOut(d *appsv1.Deployment, version string, n int) {
	w.t.Helper()
	w.WaitPodsRunning(d.Namespace, controlplane.Selector(d.Name)+",version="+version, n, time.Minute)
	w.WaitPodsRunning(d.Namespace, controlplane.Selector(d.Name), n, time.Minute)
}

func kept(before, after []row) int {
	n := 0
	for _, ip := range ips(after) {
		if slices.Contains(ips(before), ip) {
			n++
		}
	}
	return n
}

// A sticky Deployment that may take no old pod away first rolls out although every address of its set is in use, where
// the reference waits for ever: its set grows by the surge, once, and is the same after every other rollout.
func rolloutWithSurge(t *testing.T, w *harness, ns string) {
	web := controlplane.NewDeployment(ns, "surge", 3, controlplane.WithAddress(), immutable())
	w.Create(web)
	w.running(ns, "surge", 3)
	before := w.waitHeld("surge", 3)
	w.edit(web, "two")
	w.rolledOut(web, "two", 3)
	set := w.waitHeld("surge", 4)
	if kept(before, set) != 3 {
		t.Errorf("of %v, the first rollout has left %v", ips(before), ips(set))
	}
	for _, version := range []string{"three", "four"} {
		w.edit(web, version)
		w.rolledOut(web, version, 3)
		if after := w.waitHeld("surge", 4); kept(set, after) != 4 {
			t.Errorf("the set was %v, and is %v", ips(set), ips(after))
		}
	}
	w.agree()
}

// Who asks for the strict behaviour gets it: with no pod that may be missing, the new pod waits.
func rolloutStrict(t *testing.T, w *harness, ns string) {
	web := controlplane.Annotate(controlplane.NewDeployment(ns, "strict", 2, controlplane.WithAddress(), immutable()),
		map[string]string{"k8s.v1.cni.galaxy.io/rollout": "strict"})
	none, one := intstr.FromInt32(0), intstr.FromInt32(1)
	web.Spec.Strategy = appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none,
		MaxSurge: &one}}
	w.Create(web)
	w.running(ns, "strict", 2)
	before := w.waitHeld("strict", 2)
	w.edit(web, "two")
	w.WaitFor("the new pod is refused for its set is in use", 30*time.Second, func(ctx context.Context) error {
		events, err := w.Client.CoreV1().Events(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if strings.Contains(e.Message, "uses 2 addresses") {
				return nil
			}
		}
		return errors.New("nobody says so")
	})
	if after := w.waitHeld("strict", 2); kept(before, after) != 2 {
		t.Errorf("the set was %v, and is %v", ips(before), ips(after))
	}
}

func rolloutRecreate(t *testing.T, w *harness, ns string) {
	web := controlplane.NewDeployment(ns, "recreate", 3, controlplane.WithAddress(), immutable())
	web.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	w.Create(web)
	w.running(ns, "recreate", 3)
	before := w.waitHeld("recreate", 3)
	w.edit(web, "two")
	w.rolledOut(web, "two", 3)
	if after := w.waitHeld("recreate", 3); kept(before, after) != 3 {
		t.Errorf("the set was %v, and is %v", ips(before), ips(after))
	}
	w.agree()
}

// Two Deployments share a pool; one rolls out pod by pod. The pool never holds more than its size.
func rolloutOfPool(t *testing.T, w *harness, ns string) {
	if status, text := w.rest("POST", "/v1/pool", `{"name":"rolling","size":4}`); status != 200 {
		t.Fatalf("make the pool: %d %s", status, text)
	}
	one, none := intstr.FromInt32(1), intstr.FromInt32(0)
	pooled := func(name string) *appsv1.Deployment {
		d := controlplane.NewDeployment(ns, name, 2, controlplane.WithAddress(),
			controlplane.WithAnnotation(poolKey, "rolling"))
		d.Spec.Strategy = appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &one,
			MaxSurge: &none}}
		return d
	}
	a, b := pooled("pool-a"), pooled("pool-b")
	w.Create(a, b)
	w.running(ns, "pool-a", 2)
	w.running(ns, "pool-b", 2)
	inPool := func() []row { return w.held(func(r row) bool { return r.PoolName == "rolling" }) }
	before := inPool()
	if len(before) != 4 {
		t.Errorf("the pool holds %v, want 4", ips(before))
	}
	w.edit(a, "two")
	w.rolledOut(a, "two", 2)
	if after := inPool(); len(after) != 4 || kept(before, after) != 4 {
		t.Errorf("the pool held %v, and holds %v", ips(before), ips(after))
	}
	w.agree()
	if status, text := w.rest("DELETE", "/v1/pool/rolling", ""); status != 200 {
		t.Errorf("delete the pool: %d %s", status, text)
	}
}

func scaleDownAndUp(t *testing.T, w *harness, ns string) {
	web := controlplane.NewDeployment(ns, "scaled", 4, controlplane.WithAddress(), immutable())
	db := controlplane.NewStatefulSet(ns, "db", 3, controlplane.WithAddress(), immutable())
	w.Create(web, db)
	w.running(ns, "scaled", 4)
	w.running(ns, "db", 3)
	before := w.waitHeld("scaled", 4)
	w.Scale(web, 2)
	w.Scale(db, 1)
	two := w.waitHeld("scaled", 3) // and the spare that a rollout of two needs: see rolloutWithSurge
	first := w.waitHeld("db", 1)
	if kept(before, two) != 3 || first[0].PodName != "db-0" {
		t.Errorf("scaled down, %v are left of %v, and %+v of db", ips(two), ips(before), first)
	}
	w.Scale(web, 4)
	w.Scale(db, 3)
	w.running(ns, "scaled", 4)
	w.running(ns, "db", 3)
	w.waitHeld("scaled", 4)
	if again := w.waitHeld("db", 3); kept(first, again) != 1 {
		t.Errorf("db-0 had %v, and is not among %+v", ips(first), again)
	}
	// A pod of a StatefulSet that is deleted comes back with its address.
	was := w.ofApp("db")
	if err := w.Client.CoreV1().Pods(ns).Delete(t.Context(), "db-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.WaitFor("db-1 is another pod", 30*time.Second, func(ctx context.Context) error {
		p, err := w.Client.CoreV1().Pods(ns).Get(ctx, "db-1", metav1.GetOptions{})
		if err == nil && (string(p.UID) == was[1].PodUID || p.Status.Phase != corev1.PodRunning) {
			err = errors.New("it is not")
		}
		return err
	})
	w.agree()
	if now := w.waitHeld("db", 3); fmt.Sprint(ips(now)) != fmt.Sprint(ips(was)) {
		t.Errorf("db had %v, and has %v", ips(was), ips(now))
	}
}

// What is kept for ever is kept with no pod left, and even with no workload.
func never(t *testing.T, w *harness, ns string) {
	db := controlplane.NewStatefulSet(ns, "forever", 2, controlplane.WithAddress(),
		controlplane.WithAnnotation(policyKey, "never"))
	w.Create(db)
	w.running(ns, "forever", 2)
	before := w.waitHeld("forever", 2)
	if err := w.Client.AppsV1().StatefulSets(ns).Delete(t.Context(), "forever", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.WaitPodsGone(ns, controlplane.Selector("forever"), time.Minute)
	time.Sleep(2 * time.Second)
	if after := w.waitHeld("forever", 2); kept(before, after) != 2 {
		t.Errorf("it had %v, and has %v", ips(before), ips(after))
	}
	for _, r := range before {
		body := fmt.Sprintf(`{"ips":[{"ip":%q,"namespace":%q,"appName":"forever","appType":"statefulset","podName":%q}]}`, r.IP, ns, r.PodName)
		if status, text := w.rest("POST", "/v1/ip", body); status != 200 {
			t.Errorf("release %s: %d %s", r.IP, status, text)
		}
	}
	w.waitHeld("forever", 0)
}

// A pod asks for two addresses, each of its own ranges, which only nodes of one network can serve.
func ranges(t *testing.T, w *harness, ns string) {
	w.Create(controlplane.NewPod(ns, "two", controlplane.WithAddress(),
		controlplane.WithAnnotation(argsKey,
			`{"request_ip_range":[["10.20.5.7~10.20.5.9","10.21.5.1"],["10.20.6.6"]]}`)))
	pods := w.WaitPodsRunning(ns, controlplane.Selector("two"), 1, time.Minute)
	if got := fmt.Sprint(addressesOf(&pods[0])); got != "[10.20.5.7 10.20.6.6]" ||
		!strings.HasPrefix(pods[0].Spec.NodeName, "n0-") {
		t.Errorf("it runs on %s with %s", pods[0].Spec.NodeName, got)
	}
	if !strings.Contains(pods[0].Annotations[argsKey],
		`"request_ip_range":[["10.20.5.7~10.20.5.9","10.21.5.1"],["10.20.6.6"]]`) {
		t.Errorf("the request is gone from %s", pods[0].Annotations[argsKey])
	}
	w.agree()
}

const thing = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clusterthings.scenario.test}
spec:
  group: scenario.test
  scope: Namespaced
  names: {kind: ClusterThing, listKind: ClusterThingList, plural: clusterthings, singular: clusterthing}
  versions:
    - name: v3beta7
      served: true
      storage: true
      subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {spec: {type: object, properties: {size: {type: integer}}}, status: {type: object, properties: {size: {type: integer}}}}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: galaxy-ipam-clusterthings, labels: {galaxy.k8s.io/aggregate-to-galaxy-ipam: "true"}}
rules:
  - {apiGroups: [scenario.test], resources: [clusterthings], verbs: [list, watch]}
  - {apiGroups: [scenario.test], resources: [clusterthings/scale], verbs: [get]}
`

// A custom kind of any group and version keeps addresses by its scale subresource.
func customWorkload(t *testing.T, w *harness, ns string) {
	w.Apply(thing)
	w.Apply(fmt.Sprintf("{apiVersion: scenario.test/v3beta7, kind: ClusterThing, metadata: {name: box, namespace: "+
		"%s}, spec: {size: 2}}", ns))
	things := w.Dynamic.Resource(schema.GroupVersionResource{Group: "scenario.test", Version: "v3beta7",
		Resource: "clusterthings"}).Namespace(ns)
	owner, err := things.Get(t.Context(), "box", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	make := func(i int) {
		t.Helper()
		p := controlplane.NewPod(ns, fmt.Sprintf("box-%d", i), controlplane.WithAddress(), immutable(),
			controlplane.WithLabel(controlplane.AppLabel, "box"))
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner,
			schema.FromAPIVersionAndKind("scenario.test/v3beta7", "ClusterThing"))}
		w.Create(p)
	}
	drop := func(i int) {
		t.Helper()
		if err := w.Client.CoreV1().Pods(ns).Delete(t.Context(), fmt.Sprintf("box-%d", i),
			metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	make(0)
	make(1)
	w.WaitPodsRunning(ns, controlplane.Selector("box"), 2, time.Minute)
	before := w.waitHeld("box", 2)
	drop(0)
	w.WaitPodsRunning(ns, controlplane.Selector("box"), 1, time.Minute)
	make(0)
	w.WaitPodsRunning(ns, controlplane.Selector("box"), 2, time.Minute)
	if after := w.waitHeld("box", 2); kept(before, after) != 2 {
		t.Errorf("it had %v, and has %v", ips(before), ips(after))
	}
	scale := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "autoscaling/v1", "kind": "Scale",
		"metadata": map[string]any{"name": "box"}, "spec": map[string]any{"replicas": int64(1)}}}
	patch, err := scale.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := things.Patch(t.Context(), "box", types.MergePatchType, patch, metav1.PatchOptions{},
		"scale"); err != nil {
		t.Fatal(err)
	}
	drop(1)
	drop(0)
	if left := w.waitHeld("box", 1); left[0].PodName != "box-0" {
		t.Errorf("scaled to 1, it keeps %+v", left)
	}
	if err := things.Delete(t.Context(), "box", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.waitHeld("box", 0)
}

// A pool is filled in advance, and bounds all that is in it.
func poolByREST(t *testing.T, w *harness, ns string) {
	if status, text := w.rest("POST", "/v1/pool", `{"name":"fixed","size":2,"preAllocateIP":true}`); status != 200 ||
		!strings.Contains(text, `"realPoolSize":2`) {
		t.Fatalf("make the pool: %d %s", status, text)
	}
	var waiting []row
	w.WaitFor("a replica that follows knows the pool", 30*time.Second, func(context.Context) error {
		if waiting = w.held(func(r row) bool { return r.PoolName == "fixed" }); len(waiting) != 2 {
			return fmt.Errorf("it has %v", ips(waiting))
		}
		return nil
	})
	web := controlplane.NewDeployment(ns, "fixed", 3, controlplane.WithAddress(),
		controlplane.WithAnnotation(poolKey, "fixed"))
	w.Create(web)
	w.WaitFor("two pods of three run", time.Minute, func(context.Context) error {
		if n := runningIn(w.Pods(ns, "")); n != 2 {
			return fmt.Errorf("%d run", n)
		}
		return nil
	})
	if used := w.waitHeld("fixed", 2); kept(waiting, used) != 2 {
		t.Errorf("the pool had %v, and the pods use %v", ips(waiting), ips(used))
	}
	if status, text := w.rest("POST", "/v1/pool", `{"name":"fixed","size":3}`); status != 200 {
		t.Fatalf("grow the pool: %d %s", status, text)
	}
	w.running(ns, "fixed", 3)
	if status, text := w.rest("DELETE", "/v1/pool/fixed", ""); status != 200 {
		t.Errorf("delete the pool: %d %s", status, text)
	}
}

func runningIn(pods []corev1.Pod) int {
	n := 0
	for i := range pods {
		if pods[i].Status.Phase == corev1.PodRunning {
			n++
		}
	}
	return n
}

// The last address of a node network is used, the next pods wait, and run as soon as others have ended.
func runsDryAndRecovers(_ *testing.T, w *harness, ns string) {
	first := controlplane.NewDeployment(ns, "first", 5, controlplane.WithAddress(), inNetwork(2))
	second := controlplane.NewDeployment(ns, "second", 2, controlplane.WithAddress(), inNetwork(2))
	w.Create(first)
	w.running(ns, "first", 5)
	w.WaitFor("the nodes show that no address is left", 20*time.Second, func(ctx context.Context) error {
		nodes, err := w.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: netLabel + "=2"})
		if err != nil {
			return err
		}
		sum := int64(0)
		for i := range nodes.Items {
			quantity := nodes.Items[i].Status.Capacity[controlplane.Resource]
			sum += quantity.Value()
		}
		if sum != 5 {
			return fmt.Errorf("together they show %d, want as many as they run", sum)
		}
		return nil
	})
	w.Create(second)
	time.Sleep(3 * time.Second)
	if n := runningIn(w.Pods(ns, controlplane.Selector("second"))); n != 0 {
		w.t.Errorf("%d pods run with no address left", n)
	}
	w.Scale(first, 2)
	w.running(ns, "second", 2)
	w.agree()
}

func namespaceDeleted(t *testing.T, w *harness, ns string) {
	other := w.namespace(ns + "-other")
	w.Create(controlplane.NewStatefulSet(other, "doomed", 3, controlplane.WithAddress(), immutable()),
		controlplane.NewDeployment(other, "doomed-too", 3, controlplane.WithAddress(), immutable()))
	w.running(other, "doomed", 3)
	w.running(other, "doomed-too", 3)
	if err := w.Client.CoreV1().Namespaces().Delete(t.Context(), other, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.waitHeld("doomed", 0)
	w.waitHeld("doomed-too", 0)
}

// A pod that has finished gives its address back although its object stays.
func finishedPod(t *testing.T, w *harness, ns string) {
	w.Create(controlplane.NewPod(ns, "once", controlplane.WithAddress()))
	w.WaitPodsRunning(ns, controlplane.Selector("once"), 1, time.Minute)
	patch := []byte(`{"status":{"phase":"Succeeded"}}`)
	if _, err := w.Client.CoreV1().Pods(ns).Patch(t.Context(), "once", types.MergePatchType, patch,
		metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	w.WaitFor("its address is free", 20*time.Second, func(context.Context) error {
		if held := w.held(func(r row) bool { return r.PodName == "once" }); len(held) > 0 {
			return fmt.Errorf("it holds %v", ips(held))
		}
		return nil
	})
}

// What the user has written into the annotation and we do not know is still there after bind.
func unknownKeys(t *testing.T, w *harness, ns string) {
	w.Create(controlplane.NewPod(ns, "keys", controlplane.WithAddress(),
		controlplane.WithAnnotation(argsKey, `{"mine":{"a":1},"common":{"bandwidth":"1G"}}`)))
	pods := w.WaitPodsRunning(ns, controlplane.Selector("keys"), 1, time.Minute)
	for _, want := range []string{`"mine":{"a":1}`, `"bandwidth":"1G"`, `"ipinfos":[`} {
		if args := pods[0].Annotations[argsKey]; !strings.Contains(args, want) {
			t.Errorf("%s is not in %s", want, args)
		}
	}
}
