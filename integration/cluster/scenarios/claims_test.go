package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	extender "k8s.io/kube-scheduler/extender/v1"

	"galaxy/integration/cluster/controlplane"
)

// ask sends what a scheduler would send. The pods of these tests name a scheduler that there is none of, so that the
// test is it.
func (w *harness) ask(verb string, args, into any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	response, err := http.Post(w.ipams[0].URL+"/v1/"+verb, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	return json.NewDecoder(response.Body).Decode(into)
}

func (w *harness) filter(p *corev1.Pod, nodes ...string) (passed []string, failure string) {
	var result extender.ExtenderFilterResult
	if err := w.ask("filter", extender.ExtenderArgs{Pod: p, NodeNames: &nodes}, &result); err != nil {
		return nil, err.Error()
	}
	if result.NodeNames != nil {
		passed = *result.NodeNames
	}
	return passed, result.Error
}

func (w *harness) bind(p *corev1.Pod, node string) string {
	var result extender.ExtenderBindingResult
	args := extender.ExtenderBindingArgs{PodName: p.Name, PodNamespace: p.Namespace, PodUID: p.UID, Node: node}
	if err := w.ask("bind", args, &result); err != nil {
		return err.Error()
	}
	return result.Error
}

func byHand() controlplane.PodEdit {
	return func(p *corev1.PodTemplateSpec) { p.Spec.SchedulerName = "nobody" }
}

func (w *harness) pending(namespace, app string, n int) []corev1.Pod {
	w.t.Helper()
	var pods []corev1.Pod
	w.WaitFor(fmt.Sprintf("%d pods of %s", n, app), 20*time.Second, func(context.Context) error {
		if pods = w.Pods(namespace, controlplane.Selector(app)); len(pods) != n {
			return fmt.Errorf("there are %d", len(pods))
		}
		return nil
	})
	return pods
}

// A scheduler filters and dies before it binds; filters many pods of one limit at once; and loses the responses to its
// bindings. Whatever it does, the count is right in the end.
func TestClaims(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{3, 3, 0}})
	nodes := []string{"n0-0", "n0-1", "n1-0"}
	if status, text := w.rest("POST", "/v1/pool", `{"name":"few","size":2}`); status != 200 {
		t.Fatal(status, text)
	}
	w.Create(controlplane.NewDeployment("default", "few", 5, controlplane.WithAddress(), byHand(),
		controlplane.WithAnnotation(poolKey, "few")))
	pods := w.pending("default", "few", 5)

	// All five at once: two pass.
	var mu sync.Mutex
	var passed []*corev1.Pod
	var all sync.WaitGroup
	for i := range pods {
		all.Go(func() {
			if on, failure := w.filter(&pods[i], nodes...); failure == "" && len(on) > 0 {
				mu.Lock()
				passed = append(passed, &pods[i])
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(passed) != 2 || len(w.ofApp("few")) != 2 {
		t.Fatalf("%d pods pass, and %v is held: want 2", len(passed), w.ofApp("few"))
	}

	// One is bound, twice, as the first response was lost. Nobody binds the other: its claim falls back.
	for range 2 {
		if failure := w.bind(passed[0], "n0-1"); failure != "" {
			t.Fatalf("bind: %s", failure)
		}
	}
	if got, err := w.Client.CoreV1().Pods("default").Get(t.Context(), passed[0].Name,
		metav1.GetOptions{}); err != nil || got.Spec.NodeName != "n0-1" || len(addressesOf(got)) != 1 {
		t.Errorf("the bound pod: %v, %v", got, err)
	}
	left := w.waitHeld("few", 1)
	if left[0].PodUID != string(passed[0].UID) || left[0].State != "bound" {
		t.Errorf("what is left is %+v", left)
	}

	// A bind that comes after its claim has fallen back gets an address all the same.
	if failure := w.bind(passed[1], "n1-0"); failure != "" {
		t.Errorf("a late bind: %s", failure)
	}

	// The limit is reached: a pod that binds without having been filtered is refused.
	for i := range pods {
		if p := &pods[i]; p.UID != passed[0].UID && p.UID != passed[1].UID {
			if failure := w.bind(p, "n0-0"); failure == "" {
				t.Errorf("pod %s is bound beyond the size of its pool", p.Name)
			}
		}
	}
	w.agree()

	// A claim does not pin a pod: when the nodes of its network are full, it goes where there is room.
	if status, text := w.rest("POST", "/v1/pool", `{"name":"few","size":3}`); status != 200 {
		t.Fatal(status, text)
	}
	var third *corev1.Pod
	for i := range pods {
		if p := &pods[i]; p.UID != passed[0].UID && p.UID != passed[1].UID {
			third = p
		}
	}
	if on, failure := w.filter(third, "n0-0"); failure != "" || len(on) != 1 {
		t.Fatalf("filter: %v %s", on, failure)
	}
	if on, failure := w.filter(third, "n1-1"); failure != "" || len(on) != 1 {
		t.Errorf("the pod is pinned: %v %s", on, failure)
	}

	// A pod that is deleted between filter and bind: the bind fails, and nothing is held for it.
	if err := w.Client.AppsV1().Deployments("default").Delete(t.Context(), "few", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.WaitPodsGone("default", controlplane.Selector("few"), time.Minute)
	if failure := w.bind(third, "n1-1"); failure == "" {
		t.Error("a pod that is gone was bound")
	}
	w.WaitFor("the pool keeps what it may, for no pod", 20*time.Second, func(context.Context) error {
		for _, r := range w.held(func(r row) bool { return r.PoolName == "few" }) {
			if r.PodUID != "" {
				return fmt.Errorf("%+v", r)
			}
		}
		return nil
	})
	w.agree()
}
