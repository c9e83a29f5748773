package scenarios

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"galaxy/integration/cluster/controlplane"
)

// Everything that galaxy-ipam leans on goes away and comes back, while workloads grow and shrink.
func TestRestarts(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{20, 20, 0}})
	web := controlplane.NewDeployment("default", "web", 20, controlplane.WithAddress(), immutable())
	w.Create(web)
	w.running("default", "web", 20)
	w.waitHeld("web", 20)
	step := func(what string, replicas int32, away, back func()) {
		t.Helper()
		before := addressesByUID(w.Pods("default", controlplane.Selector("web")))
		away()
		if w.APIServer.Running() && w.Etcd.Running() { // the request is seen at once, or else after
			w.Scale(web, replicas)
			time.Sleep(time.Second)
			back()
		} else {
			time.Sleep(time.Second)
			back()
			w.Scale(web, replicas)
		}
		w.running("default", "web", int(replicas))
		w.waitHeld("web", int(replicas))
		w.agree()
		stayed := 0
		for uid, address := range addressesByUID(w.Pods("default", controlplane.Selector("web"))) {
			if was, known := before[uid]; known {
				stayed++
				if was != address {
					t.Errorf("after %s: the pod with the uid %s had %s, and has %s", what, uid, was, address)
				}
			}
		}
		// Which pods a Deployment ends when it shrinks is its own choice, but not how many.
		if want := min(len(before), int(replicas)); stayed != want {
			t.Errorf("after %s: %d pods are the same as before, want %d", what, stayed, want)
		}
		t.Logf("after %s", what)
	}
	step("the API server was killed", 15, w.APIServer.Kill, w.APIServer.Start)
	step("the etcd of the API server was killed", 20, w.Etcd.Kill, func() {
		w.Etcd.Start()
		w.APIServer.WaitReady()
	})
	step("the etcd of the log was killed", 25, w.GalaxyEtcd.Kill, w.GalaxyEtcd.Start)
	step("the etcd of the log stood still", 20, w.GalaxyEtcd.Pause, w.GalaxyEtcd.Continue)
	step("the scheduler was killed", 30, w.Scheduler.Kill, w.Scheduler.Start)
	step("the controllers were killed", 10, w.ControllerManager.Kill, w.ControllerManager.Start)
	step("galaxy-ipam was killed", 30, w.ipams[0].Kill, w.ipams[0].Start)
	step("galaxy-ipam was stopped", 20, w.ipams[0].Stop, w.ipams[0].Start)
	// While galaxy-ipam is away pods are deleted, and nobody reports that after.
	w.ipams[0].Kill()
	if err := w.Client.AppsV1().Deployments("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.WaitPodsGone("default", controlplane.Selector("web"), time.Minute)
	w.ipams[0].Start()
	w.WaitFor("all is given back", time.Minute, func(context.Context) error {
		if held := w.ofApp("web"); len(held) > 0 {
			return fmt.Errorf("%d addresses are held: %+v", len(held), held[0])
		}
		return nil
	})
	w.agree()
}

// The log is lost and restored from a backup that is older than half of the pods. Before anything is allocated, the
// addresses of the pods that the log has forgotten are found and recorded, so that none is given out twice.
func TestRestore(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{5, 0, 0}})
	ctl := func(args ...string) string {
		t.Helper()
		out, err := w.Galaxyctl(append(args, "--etcd-endpoints", w.GalaxyEtcdURL)...)
		if err != nil {
			t.Fatalf("galaxyctl %v: %v\n%s", args, err, out)
		}
		return out
	}
	w.Create(controlplane.NewStatefulSet("default", "old", 6, controlplane.WithAddress(), immutable()),
		controlplane.NewDeployment("default", "gone", 4, controlplane.WithAddress()))
	w.running("default", "old", 6)
	w.running("default", "gone", 4)
	backup := filepath.Join(t.TempDir(), "galaxy.backup")
	ctl("log", "backup", backup)
	w.Create(controlplane.NewStatefulSet("default", "new", 8, controlplane.WithAddress(), immutable()),
		controlplane.NewDeployment("default", "plain", 8, controlplane.WithAddress()))
	w.running("default", "new", 8)
	w.running("default", "plain", 8)
	if err := w.Client.AppsV1().Deployments("default").Delete(t.Context(), "gone", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.WaitPodsGone("default", controlplane.Selector("gone"), time.Minute)
	w.agree()
	before := fmt.Sprint(ips(w.held(func(r row) bool { return r.AppName != "gone" })))

	w.ipams[0].Stop()
	ctl("log", "restore", "--etcd-prefix", "/restored", backup)
	*w.ipams[0].Args() = append(*w.ipams[0].Args(), "--etcd-prefix", "/restored")
	// New pods wait already when it starts: they must not get what the forgotten ones have.
	w.Create(controlplane.NewDeployment("default", "later", 20, controlplane.WithAddress()))
	time.Sleep(time.Second)
	w.ipams[0].Start()
	w.running("default", "later", 20)
	w.WaitFor("the API server and the restored log agree", time.Minute, func(ctx context.Context) error {
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
	if after := fmt.Sprint(ips(w.held(func(r row) bool {
		return r.AppName != "gone" &&
			r.AppName != "later"
	}))); after != before {
		t.Errorf("held were %s, and are %s", before, after)
	}
	out := ctl("log", "show", "--etcd-prefix", "/restored")
	if n := strings.Count(out, "foundRunning"); n != 16 {
		t.Errorf("%d pods were found running, want 16", n)
	}
	if first, found := strings.Index(out, "later"), strings.LastIndex(out, "foundRunning"); first < found {
		t.Error("a new pod was given an address before all running pods were found")
	}
	if out, err := w.Galaxyctl("log", "verify", "--etcd-endpoints", w.GalaxyEtcdURL, "--etcd-prefix",
		"/restored"); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// shownFirst is the name of a FloatingIP object of a pod that runs.
func (w *harness) shownFirst() string {
	w.t.Helper()
	list, err := w.Dynamic.Resource(floatingIPs).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range list.Items {
		key, _, _ := unstructured.NestedString(list.Items[i].Object, "spec", "key")
		if strings.Contains(key, "_db_") {
			return list.Items[i].GetName()
		}
	}
	w.t.Fatal("no object shows an address of db")
	return ""
}

// galaxyctl check prints what differs while galaxy-ipam is away, and repairs it.
func TestCheckRepairs(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{3, 0, 0}})
	w.Create(controlplane.NewStatefulSet("default", "db", 3, controlplane.WithAddress(), immutable()),
		controlplane.NewDeployment("default", "web", 3, controlplane.WithAddress()))
	w.running("default", "db", 3)
	w.running("default", "web", 3)
	w.agree()
	w.mirrored()
	w.ipams[0].Stop()
	if err := w.Client.AppsV1().Deployments("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.WaitPodsGone("default", controlplane.Selector("web"), time.Minute)
	check := func(args ...string) (string, error) {
		return w.Galaxyctl(append([]string{"check", "--recent", "0", "--kubeconfig", w.Kubeconfig(controlplane.Admin),
			"--etcd-endpoints", w.GalaxyEtcdURL}, args...)...)
	}
	fips := w.Dynamic.Resource(floatingIPs)
	if err := fips.Delete(t.Context(), w.shownFirst(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, _ := check("--recent", "1h"); strings.Contains(out, "has no FloatingIP object") ||
		!strings.Contains(out, "1 addresses have changed within 1h0m0s") {
		t.Errorf("an object that galaxy-ipam may be about to write: %s", out)
	}
	out, err := check()
	if err == nil || strings.Count(out, "which is not in the cluster") != 3 ||
		strings.Count(out, "has no FloatingIP object") != 1 {
		t.Fatalf("three pods are gone: %v\n%s", err, out)
	}
	out, err = check("--repair")
	if err != nil || strings.Count(out, "repaired") < 4 {
		t.Fatalf("repair: %v\n%s", err, out)
	}
	if out, err = check(); err != nil || !strings.Contains(out, "0 differences") {
		t.Fatalf("after the repair: %v\n%s", err, out)
	}
	w.ipams[0].Start()
	w.waitHeld("web", 0)
	w.waitHeld("db", 3)
	w.agree()
}
