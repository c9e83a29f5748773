package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"galaxy/integration/cluster/controlplane"
)

// A node dies. Its pods are only taken as ended when somebody says so: with the taint out-of-service, the pods of a
// StatefulSet and of a sticky Deployment run on other nodes with their addresses, in seconds.
func TestDeadNode(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{4, 0, 0},
		options: controlplane.Options{NodeGrace: 4 * time.Second, Eviction: time.Second}})
	w.Create(
		controlplane.NewStatefulSet("default", "db", 4, controlplane.WithAddress(), immutable()),
		controlplane.NewDeployment("default", "web", 4, controlplane.WithAddress(), immutable()),
	)
	pods := w.running("default", "db", 4)
	w.running("default", "web", 4)
	before := map[string]string{}
	for _, r := range w.ofApp("db") {
		before[r.PodName] = r.IP
	}
	web := w.waitHeld("web", 4)
	dead := pods[0].Spec.NodeName
	w.SilenceNode(dead)
	w.WaitFor("the pods of the node are being deleted", time.Minute, func(ctx context.Context) error {
		p, err := w.Client.CoreV1().Pods("default").Get(ctx, pods[0].Name, metav1.GetOptions{})
		if err == nil && p.DeletionTimestamp == nil {
			err = errors.New("not yet")
		}
		return err
	})
	time.Sleep(4 * time.Second)
	for _, r := range w.ofApp("db") {
		if r.PodName == pods[0].Name && (r.PodUID != string(pods[0].UID) || r.Node != dead) {
			t.Errorf("a node that does not answer has lost an address: %+v", r)
		}
	}
	taint := fmt.Sprintf(`{"spec":{"taints":[{"key":%q,"value":"nodeshutdown","effect":"NoExecute"}]}}`,
		corev1.TaintNodeOutOfService)
	if _, err := w.Client.CoreV1().Nodes().Patch(t.Context(), dead, types.StrategicMergePatchType, []byte(taint),
		metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	w.running("default", "db", 4)
	w.running("default", "web", 4)
	t.Logf("all pods run again %s after the taint", time.Since(start).Round(10*time.Millisecond))
	w.agree()
	for _, r := range w.waitHeld("db", 4) {
		if r.IP != before[r.PodName] || r.Node == dead {
			t.Errorf("%s had %s, and has %s on %s", r.PodName, before[r.PodName], r.IP, r.Node)
		}
	}
	if after := w.waitHeld("web", 4); kept(web, after) != 4 {
		t.Errorf("web had %v, and has %v", ips(web), ips(after))
	}
}

// A Node object is deleted, and its pods with it; and a node comes back under its name in another network.
func TestNodeObjectDeleted(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{3, 0, 0}})
	w.Create(controlplane.NewStatefulSet("default", "db", 3, controlplane.WithAddress(), immutable()),
		controlplane.NewDeployment("default", "plain", 6, controlplane.WithAddress()))
	w.running("default", "db", 3)
	w.running("default", "plain", 6)
	if err := w.Client.CoreV1().Nodes().Delete(t.Context(), "n0-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.WaitFor("no pod is on the node, and all run", 2*time.Minute, func(context.Context) error {
		for _, p := range w.Pods("default", "") {
			if p.Spec.NodeName == "n0-0" || p.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("pod %s is %s on %q", p.Name, p.Status.Phase, p.Spec.NodeName)
			}
		}
		return nil
	})
	w.waitHeld("db", 3)
	w.waitHeld("plain", 6)
	w.agree()

	elsewhere := nodesOf(1)
	elsewhere.Prefix = "n0-" // n0-0 again, and it is in another network now
	w.MakeNodes(1, elsewhere)
	moved := controlplane.NewPod("default", "moved", controlplane.WithAddress(),
		controlplane.WithNodeSelector(netLabel, "1"))
	w.Create(moved)
	pods := w.WaitPodsRunning("default", controlplane.Selector("moved"), 1, time.Minute)
	if got := addressesOf(&pods[0]); len(got) != 1 || !strings.HasPrefix(got[0], "10.21.") {
		t.Errorf("a pod on the node of another network has %v", got)
	}
	w.agree()
}

// The ConfigMap with the subnets grows, shrinks below what is in use, breaks, and is good again.
func TestConfigMap(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{2, 0, 2}})
	w.Create(controlplane.NewDeployment("default", "web", 8, controlplane.WithAddress(), inNetwork(2)))
	w.WaitFor("five of eight pods run", time.Minute, func(context.Context) error {
		if n := runningIn(w.Pods("default", "")); n != 5 {
			return fmt.Errorf("%d run", n)
		}
		return nil
	})
	grown := strings.Replace(subnets, "10.22.0.2~10.22.0.6", "10.22.0.2~10.22.0.60", 1)
	w.configure(grown)
	w.running("default", "web", 8)
	w.agree()

	w.configure(strings.Replace(subnets, `,
 {"nodeSubnets":["10.12.0.0/16"],"ips":["10.22.0.2~10.22.0.6"],"subnet":"10.22.0.0/24","gateway":"10.22.0.1"}`, "", 1))
	w.waitEvent("FloatingIPConfigRefused", "drops 8 addresses that are held")
	w.configure(`[{"nodeSubnets":["10.12.0.0/16"],"ips":["10.22.0.2~"]`)
	w.waitEvent("FloatingIPConfigRefused", "ConfigMap kube-system/floatingip-config")
	w.agree() // what was in force still is
	w.configure(strings.Replace(grown, "~10.22.0.60", "~10.22.0.70", 1))
	w.waitEvent("FloatingIPConfigApplied", "in force")
	w.WaitFor("the new addresses are there", 20*time.Second, func(ctx context.Context) error {
		rows, err := w.rows(ctx)
		if _, ok := rows["10.22.0.70"]; err == nil && !ok {
			err = errors.New("they are not")
		}
		return err
	})
}

// waitEvent waits for an event on the ConfigMap.
func (w *harness) waitEvent(reason, words string) {
	w.t.Helper()
	w.WaitFor("event "+reason, 30*time.Second, func(ctx context.Context) error {
		events, err := w.Client.CoreV1().Events("kube-system").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		config, err := w.Client.CoreV1().ConfigMaps("kube-system").Get(ctx, "floatingip-config", metav1.GetOptions{})
		if err != nil {
			return err
		}
		var seen []string
		for _, e := range events.Items {
			// as kubectl describe finds them
			if e.InvolvedObject.Name == config.Name && e.InvolvedObject.UID == config.UID {
				seen = append(seen, e.Reason+": "+e.Message)
				if e.Reason == reason && strings.Contains(e.Message, words) {
					return nil
				}
			}
		}
		text, _ := json.Marshal(seen)
		return fmt.Errorf("seen are %s", text)
	})
}

// Victims give their addresses to a pod of higher priority that finds none.
func TestPreemption(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{0, 0, 3}})
	w.Apply(`{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000000}`)
	low := controlplane.NewDeployment("default", "low", 5, controlplane.WithAddress())
	w.Create(low)
	w.running("default", "low", 5)
	w.Create(controlplane.NewPod("default", "urgent", controlplane.WithAddress(),
		func(p *corev1.PodTemplateSpec) { p.Spec.PriorityClassName = "high" }))
	w.WaitPodsRunning("default", controlplane.Selector("urgent"), 1, time.Minute)
	if n := runningIn(w.Pods("default", controlplane.Selector("low"))); n != 4 {
		t.Errorf("%d pods of low priority run, want 4 of 5", n)
	}
	w.agree()
}
