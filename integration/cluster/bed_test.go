package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/integration/cluster/controlplane"
)

// A Deployment comes to run on many nodes and goes again, with no extender.
func TestPlainCluster(t *testing.T) {
	b := controlplane.Start(t, controlplane.Options{})
	version, err := b.Client.Discovery().ServerVersion()
	if err != nil || strings.HasPrefix(version.GitVersion, "v0.") {
		t.Fatalf("the API server says that it is %v: %v", version, err)
	}
	timed(t, "200 nodes", func() { b.MakeNodes(200, controlplane.NodeOptions{}) })
	web := controlplane.NewDeployment("default", "web", 50)
	timed(t, "50 pods run", func() {
		b.Create(web)
		pods := b.WaitPodsRunning("default", controlplane.Selector("web"), 50, time.Minute)
		if nodes := nodesOf(pods); len(nodes) < 10 {
			t.Errorf("50 pods run on only %d nodes of 200", len(nodes))
		}
	})
	timed(t, "scaled to 0", func() {
		b.Scale(web, 0)
		b.WaitPodsGone("default", controlplane.Selector("web"), time.Minute)
	})
}

// What was there before the API server was restarted is there after, and the controllers go on.
func TestAPIServerRestart(t *testing.T) {
	b := controlplane.Start(t, controlplane.Options{})
	b.MakeNodes(5, controlplane.NodeOptions{})
	db := controlplane.NewStatefulSet("default", "db", 3)
	b.Create(db)
	before := uids(b.WaitPodsRunning("default", controlplane.Selector("db"), 3, time.Minute))
	timed(t, "API server stopped and started", b.APIServer.Restart)
	after := uids(b.WaitPodsRunning("default", controlplane.Selector("db"), 3, time.Minute))
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("the pods were %v and are %v", before, after)
	}
	timed(t, "API server killed and started", func() {
		b.APIServer.Kill()
		b.APIServer.Start()
	})
	b.Scale(db, 5)
	timed(t, "2 more pods run", func() { b.WaitPodsRunning("default", controlplane.Selector("db"), 5, time.Minute) })
}

// etcd dies in the midst of it, and nothing that was answered is lost.
func TestEtcdKilled(t *testing.T) {
	b := controlplane.Start(t, controlplane.Options{})
	b.MakeNodes(5, controlplane.NodeOptions{})
	b.Create(controlplane.NewDeployment("default", "web", 10))
	before := uids(b.WaitPodsRunning("default", controlplane.Selector("web"), 10, time.Minute))
	b.Etcd.Kill()
	b.GalaxyEtcd.Kill()
	if b.Etcd.Running() {
		t.Error("etcd runs after SIGKILL")
	}
	timed(t, "etcd started", func() {
		b.Etcd.Start()
		b.GalaxyEtcd.Start()
		b.APIServer.WaitReady()
	})
	after := uids(b.WaitPodsRunning("default", controlplane.Selector("web"), 10, time.Minute))
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("the pods were %v and are %v", before, after)
	}
	b.Create(controlplane.NewDeployment("default", "more", 5))
	timed(t, "5 more pods run", func() { b.WaitPodsRunning("default", controlplane.Selector("more"), 5, time.Minute) })
}

const reader = `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: kube-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: kube-system}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.test}
spec:
  group: example.test
  scope: Namespaced
  names: {kind: Thing, listKind: ThingList, plural: things, singular: thing}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
---
{apiVersion: example.test/v1, kind: Thing, metadata: {name: one, namespace: default}, size: 3}
`

// A service account has the rights that manifests give it, and no others. A node that is cut off loses its pods, which
// wait there for it.
func TestAccountsAndSilentNodes(t *testing.T) {
	b := controlplane.Start(t, controlplane.Options{NodeGrace: 4 * time.Second, Eviction: time.Second})
	b.Apply(reader)
	account := b.ClientFor(b.ServiceAccountKubeconfig("kube-system", "reader"))
	if _, err := account.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("list pods: %v", err)
	}
	if _, err := account.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("list nodes: %v, want forbidden", err)
	}
	nodes := b.MakeNodes(4, controlplane.NodeOptions{FloatingAddresses: 10})
	db := controlplane.NewStatefulSet("default", "db", 4, controlplane.WithAddress())
	b.Create(db)
	pods := b.WaitPodsRunning("default", controlplane.Selector("db"), 4, time.Minute)
	lost := pods[0].Spec.NodeName
	b.SilenceNode(lost)
	timed(t, "pods of a silent node are deleted", func() {
		b.WaitFor("the pods of "+lost+" are deleted", time.Minute, allDeleted(b, lost))
	})
	time.Sleep(2 * time.Second) // a kubelet would have ended them by now
	if err := allDeleted(b, lost)(t.Context()); err != nil {
		t.Error(err)
	}
	b.ReviveNode(lost)
	timed(t, "the node is back", func() { b.WaitNodesReady(time.Minute, nodes...) })
	b.WaitPodsRunning("default", controlplane.Selector("db"), 4, time.Minute)
}

func timed(t *testing.T, what string, do func()) {
	t.Helper()
	start := time.Now()
	do()
	t.Logf("%s: %s", what, time.Since(start).Round(10*time.Millisecond))
}

func nodesOf(pods []corev1.Pod) map[string]bool {
	nodes := map[string]bool{}
	for i := range pods {
		nodes[pods[i].Spec.NodeName] = true
	}
	return nodes
}

func uids(pods []corev1.Pod) map[string]string {
	found := map[string]string{}
	for i := range pods {
		found[pods[i].Name] = string(pods[i].UID)
	}
	return found
}

// allDeleted asks that there are pods on a node, and that all of them are marked as deleted.
func allDeleted(b *controlplane.Cluster, node string) func(context.Context) error {
	return func(ctx context.Context) error {
		list, err := b.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
		if err != nil {
			return err
		}
		if len(list.Items) == 0 {
			return errors.New("there is no pod")
		}
		for i := range list.Items {
			if list.Items[i].DeletionTimestamp == nil {
				return fmt.Errorf("%s is not deleted", list.Items[i].Name)
			}
		}
		return nil
	}
}
