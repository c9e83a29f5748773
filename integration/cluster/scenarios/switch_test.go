package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"galaxy/integration/cluster/controlplane"
)

// former plays what a 1.0.8 did: it binds pods by hand, and keeps its addresses in FloatingIP objects.
type former struct {
	*harness
	next    int
	objects map[string]map[string]any // specs by name, as they were left
}

const formerSubnets = `[{"nodeSubnets":["10.10.0.0/16"],"ips":["192.168.64.2~192.168.64.99"],"subnet":"192.168.64.0/24","gateway":"192.168.64.1"}]`

// keep leaves an object that holds an address: the next one, or a certain one.
func (f *former) keep(key string, policy int, node, uid, ip string, labels map[string]any) string {
	f.t.Helper()
	if ip == "" {
		ip = fmt.Sprintf("192.168.64.%d", f.next)
		f.next++
	}
	spec := map[string]any{
		"key": key, "policy": int64(policy), "attribute": fmt.Sprintf(`{"NodeName":%q,"Uid":%q}`, node, uid),
		"updateTime": "2026-11-20T08:00:00Z", "subnet": "10.10.0.0/16",
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP",
		"metadata": map[string]any{"name": ip, "labels": labels}, "spec": spec,
	}}
	if _, err := f.Dynamic.Resource(floatingIPs).Create(f.t.Context(), object, metav1.CreateOptions{}); err != nil {
		f.t.Fatal(err)
	}
	f.objects[ip] = spec
	return ip
}

// bind puts a pod on a node with an address, as 1.0.8 did it; with an object, if it has a key.
func (f *former) bind(p *corev1.Pod, prefix string, policy int) {
	f.t.Helper()
	node := fmt.Sprintf("n0-%d", f.next%3)
	ip := ""
	if prefix != "" {
		ip = f.keep(prefix+p.Name, policy, node, string(p.UID), "", nil)
	} else {
		ip = fmt.Sprintf("192.168.64.%d", f.next)
		f.next++
	}
	args := fmt.Sprintf(`{"common":{"ipinfos":[{"ip":"%s/24","vlan":0,"gateway":"192.168.64.1"}]}}`, ip)
	err := f.Client.CoreV1().Pods(p.Namespace).Bind(f.t.Context(), &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID,
			Annotations: map[string]string{argsKey: args}},
		Target: corev1.ObjectReference{Kind: "Node", Name: node},
	}, metav1.CreateOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
}

// podsOf waits until a workload has so many pods, bound or not, by name.
func (f *former) podsOf(namespace, app string, n int) []*corev1.Pod {
	f.t.Helper()
	var pods []*corev1.Pod
	f.WaitFor(fmt.Sprintf("%s has %d pods", app, n), 30*time.Second, func(context.Context) error {
		pods = nil
		for _, p := range f.Pods(namespace, controlplane.Selector(app)) {
			pods = append(pods, &p)
		}
		if len(pods) != n {
			return fmt.Errorf("it has %d", len(pods))
		}
		return nil
	})
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods
}

// leave makes what the contract's operators had: 36 objects and 2 pools, and the workloads that they are of.
func (f *former) leave() {
	f.t.Helper()
	shop := func(name string, replicas int32, bound int, prefix string, policy int, edits ...controlplane.PodEdit) {
		edits = append(edits, controlplane.WithAddress(), inNetwork(0))
		numbered := strings.HasPrefix(prefix, "sts_")
		if numbered {
			f.Create(controlplane.NewStatefulSet("shop", name, replicas, edits...))
		} else {
			f.Create(controlplane.NewDeployment("shop", name, replicas, edits...))
		}
		if replicas == 0 {
			return
		}
		for i, p := range f.podsOf("shop", name, int(replicas)) {
			if i < bound {
				f.bind(p, prefix, policy)
			}
		}
	}
	never, pooled := controlplane.WithAnnotation(policyKey, "never"),
		controlplane.WithAnnotation("tke.cloud.tencent.com/eni-ip-pool", "blue")
	shop("web", 3, 3, "dp_shop_web_", 1, immutable())
	shop("cart", 3, 1, "dp_shop_cart_", 1, immutable())
	shop("vip", 2, 2, "dp_shop_vip_", 2, never)
	shop("blue", 2, 2, "pool__blue_dp_shop_blue_", 2, pooled)
	shop("plain", 2, 2, "dp_shop_plain_", 0)
	shop("mysql", 3, 2, "sts_shop_mysql_", 1, immutable())
	shop("all", 3, 0, "dp_shop_all_", 1, immutable())
	shop("zero", 0, 0, "dp_shop_zero_", 1, immutable())
	shop("idle", 0, 0, "sts_shop_idle_", 2, never)
	shop("db", 2, 0, "sts_shop_db_", 1, immutable())
	for _, kept := range []struct {
		key    string
		policy int
	}{
		{"dp_shop_cart_", 1}, {"dp_shop_cart_", 1}, {"dp_shop_all_", 1}, {"dp_shop_all_", 1}, {"dp_shop_all_", 1},
		{"dp_shop_zero_", 1},
		{"dp_shop_vip_", 2}, {"dp_shop_vip_", 2}, {"dp_shop_gone_", 2}, {"sts_shop_idle_idle-0", 2},
		{"sts_shop_idle_idle-1", 2},
		{"sts_shop_idle_idle-2", 2}, {"sts_shop_lost_lost-0", 2}, {"sts_shop_db_db-0", 1}, {"sts_shop_db_db-1", 1},
		{"sts_shop_mysql_mysql-2", 1}, {"pool__blue_", 2}, {"pool__blue_", 2}, {"pool__printer_", 2},
	} {
		f.keep(kept.key, kept.policy, "", "", "", nil)
	}
	for _, ip := range []string{"192.168.64.65", "192.168.64.66", "192.168.64.67"} {
		f.keep("pool__pre_", 2, "", "", ip, nil)
	}
	reserved := map[string]any{"reserved": "admin"}
	f.keep("pool__reserved-for-node_", 2, "", "", "", reserved)
	f.keep("pool__reserved-for-node_", 2, "", "", "10.9.9.9", reserved)
	for name, size := range map[string]int{"blue": 4, "pre": 3} {
		f.Apply(fmt.Sprintf("apiVersion: galaxy.k8s.io/v1alpha1\nkind: Pool\nmetadata: {name: %s, namespace: "+
			"kube-system}\nsize: %d\npreAllocateIP: %t\n", name, size, name == "pre"))
	}
}

// specs are the specs of all objects, without what galaxy-ipam adds to those of the reference and without their time.
func (f *former) specs() map[string]map[string]any {
	f.t.Helper()
	list, err := f.Dynamic.Resource(floatingIPs).List(f.t.Context(), metav1.ListOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	all := map[string]map[string]any{}
	for _, o := range list.Items {
		spec, _, _ := unstructured.NestedMap(o.Object, "spec")
		all[o.GetName()] = spec
	}
	return all
}

// neverTwice watches all pods from now on, until the test ends: at no moment do two that have not finished show one
// address.
func (w *harness) neverTwice() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	watch, err := w.Client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		cancel()
		w.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		shown := map[string]map[string]string{} // address, uid, name
		for event := range watch.ResultChan() {
			p, ok := event.Object.(*corev1.Pod)
			if !ok {
				if ctx.Err() == nil {
					w.t.Errorf("the watch of pods ended: %v", event.Object)
				}
				return
			}
			for _, uids := range shown {
				delete(uids, string(p.UID))
			}
			if event.Type == "DELETED" || p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded ||
				p.Status.Phase == corev1.PodFailed {
				continue
			}
			for _, ip := range addressesOf(p) {
				if shown[ip] == nil {
					shown[ip] = map[string]string{}
				}
				if shown[ip][string(p.UID)] = p.Name; len(shown[ip]) > 1 {
					w.t.Errorf("%s is shown by %v at once", ip, slices.Sorted(maps.Values(shown[ip])))
				}
			}
		}
	})
	w.t.Cleanup(func() {
		cancel()
		watch.Stop()
		running.Wait()
	})
}

func (w *harness) migrate(args ...string) (string, error) {
	return w.Galaxyctl(append(append([]string{"migrate", "galaxy", "--kubeconfig", w.Kubeconfig(controlplane.Admin)},
		w.etcd...), args...)...)
}

// readyz is what a replica says of itself.
func (w *harness) readyz() (status int, text string, err error) {
	response, err := http.Get(w.api() + "/readyz") //nolint:noctx // a page of a local program
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	page, err := io.ReadAll(response.Body)
	return response.StatusCode, string(page), err
}

// The whole switch from the reference: nothing is given out and no object touched before somebody says so; then all is
// as it was, pods that were down get their addresses, and pods that are made again keep theirs.
func TestSwitch(t *testing.T) {
	f := &former{next: 20, objects: map[string]map[string]any{}}
	f.harness = newHarness(t, settings{nodes: [3]int{3, 0, 0}, subnets: formerSubnets, before: func(w *harness) {
		f.harness = w
		w.neverTwice()
		w.Scheduler.Kill()
		w.MakeNodes(3, nodesOf(0))
		w.namespace("shop")
		f.leave()
	}, waits: true})
	if len(f.objects) != 36 {
		t.Fatalf("there are %d objects", len(f.objects))
	}
	f.WaitFor("it says what it waits for", 30*time.Second, func(ctx context.Context) error {
		status, text, err := f.readyz()
		if err != nil {
			return err
		}
		if status != http.StatusServiceUnavailable || !strings.Contains(text, "galaxyctl migrate galaxy --dry-run") {
			return fmt.Errorf("/readyz: %d %s", status, text)
		}
		events, err := f.events(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(events, func(e corev1.Event) bool { return e.Reason == "MigrationAwaited" }) {
			return errors.New("no event says so")
		}
		return nil
	})
	f.Scheduler.Start()
	f.Create(controlplane.NewPod("shop", "thief", controlplane.WithAddress(), inNetwork(0)))
	out, err := f.migrate("--dry-run")
	if err == nil || !strings.Contains(out, "37 would be taken over") && !strings.Contains(out, "known already") ||
		!strings.Contains(out, "1 left") {
		t.Errorf("dry run: %v\n%s", err, out)
	}
	time.Sleep(3 * time.Second) // three passes of the loop, many of the scheduler
	if got := f.specs(); fmt.Sprint(got) != fmt.Sprint(f.objects) {
		t.Errorf("objects were touched: %v", got)
	}
	for _, p := range f.Pods("shop", "") {
		if p.Name == "thief" && p.Spec.NodeName != "" {
			t.Errorf("the thief got %v", addressesOf(&p))
		}
	}
	if out, err = f.migrate("--apply"); err == nil || !strings.Contains(out, "1 objects are not taken over") {
		t.Errorf("apply: %v\n%s", err, out)
	}
	if out, err = f.migrate("--apply"); err == nil || !strings.Contains(out, "\n0 taken over") {
		t.Errorf("apply again: %v\n%s", err, out)
	}
	f.ipams[0].WaitReady()
	f.afterSwitch(t)
}

// afterSwitch checks what pods have and what objects say once all is taken over.
func (f *former) afterSwitch(t *testing.T) {
	kept := func(key string) (all []string) {
		for ip, spec := range f.objects {
			if strings.HasPrefix(spec["key"].(string), key) {
				all = append(all, ip)
			}
		}
		slices.Sort(all)
		return all
	}
	used := func(app string, n int) (all []string) {
		for _, p := range f.running("shop", app, n) {
			all = append(all, addressesOf(&p)...)
		}
		slices.Sort(all)
		return all
	}
	same := func(app string, n int, key string) {
		t.Helper()
		if got, want := used(app, n), kept(key); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s runs with %v, want %v", app, got, want)
		}
	}
	f.running("shop", "thief", 1)
	for app, n := range map[string]int{"web": 3, "cart": 3, "all": 3} {
		same(app, n, "dp_shop_"+app+"_")
	}
	for app, n := range map[string]int{"mysql": 3, "db": 2} {
		same(app, n, "sts_shop_"+app+"_")
	}
	// Pods that are made again keep what they had.
	for _, app := range []string{"web", "cart", "mysql", "db"} {
		pods := f.Pods("shop", controlplane.Selector(app))
		if err := f.Client.CoreV1().Pods("shop").Delete(t.Context(), pods[0].Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	same("web", 3, "dp_shop_web_")
	same("cart", 3, "dp_shop_cart_")
	same("mysql", 3, "sts_shop_mysql_")
	same("db", 2, "sts_shop_db_")
	f.agree()
	f.mirroredBut("10.9.9.9")
	// What no pod has is as it was, to the letter; what a deleted workload kept under policy 1 is given back.
	after := f.specs()
	for _, key := range []string{"dp_shop_vip_", "dp_shop_gone_", "sts_shop_idle_", "sts_shop_lost_", "pool__",
		"dp_shop_plain_"} {
		for _, ip := range kept(key) {
			for _, field := range []string{"key", "policy", "attribute", "subnet"} {
				if got, want := after[ip][field], f.objects[ip][field]; got != want {
					t.Errorf("%s: %s is %v, was %v", ip, field, got, want)
				}
			}
		}
	}
	f.WaitFor("nothing is kept for a Deployment with no replicas", 20*time.Second, func(context.Context) error {
		for _, ip := range kept("dp_shop_zero_") {
			if f.specs()[ip] != nil {
				return fmt.Errorf("%s is", ip)
			}
		}
		return nil
	})
	for name, want := range map[string]string{"blue": "held 4", "pre": "held 3"} {
		o, err := f.Dynamic.Resource(pools).Namespace("kube-system").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if held, _, _ := unstructured.NestedInt64(o.Object, "status", "held"); fmt.Sprintf("held %d", held) != want {
			t.Errorf("pool %s shows that it has %d, want %s", name, held, want)
		}
	}
}

// mirroredBut waits until each held address has its object, and nothing else has one but some that are not ours.
func (f *former) mirroredBut(others ...string) {
	f.t.Helper()
	f.WaitFor("the objects show the log", 30*time.Second, func(context.Context) error {
		specs := f.specs()
		for _, r := range f.held(func(row) bool { return true }) {
			if specs[r.IP]["seq"] == nil {
				return fmt.Errorf("%s has no object of ours", r.IP)
			}
			delete(specs, r.IP)
		}
		for _, name := range others {
			if specs[name] == nil {
				return fmt.Errorf("%s is gone", name)
			}
			delete(specs, name)
		}
		if len(specs) > 0 {
			return fmt.Errorf("objects of addresses that nobody holds: %v", specs)
		}
		return nil
	})
}

// The first start on an empty log beside pods that somebody else has bound, with no objects: new pods, and pools that
// reserve in advance, get none of their addresses, from the first moment on.
func TestFirstStart(t *testing.T) {
	f := &former{next: 2, objects: map[string]map[string]any{}}
	f.harness = newHarness(t, settings{nodes: [3]int{3, 0, 0}, subnets: formerSubnets, before: func(w *harness) {
		f.harness = w
		w.neverTwice()
		w.Scheduler.Kill()
		w.MakeNodes(3, nodesOf(0))
		w.namespace("mini")
		old := controlplane.NewDeployment("mini", "old", 4, controlplane.WithAddress(), inNetwork(0))
		w.Create(old, controlplane.NewDeployment("mini", "new", 4, controlplane.WithAddress(), inNetwork(0)))
		for _, p := range f.podsOf("mini", "old", 4) {
			f.bind(p, "", 0)
		}
		f.Apply("apiVersion: galaxy.k8s.io/v1alpha1\nkind: Pool\nmetadata: {name: pre, namespace: " +
			"kube-system}\nsize: 3\npreAllocateIP: true\n")
		w.Scheduler.Start()
	}})
	f.running("mini", "old", 4)
	f.running("mini", "new", 4)
	f.waitHeld("old", 4)
	f.agree()
}
