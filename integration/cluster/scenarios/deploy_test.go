package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/integration/cluster/bed"
)

// An API server takes the manifests as kustomize renders them. Those for an etcd that is there already give three replicas on
// different nodes; the others give a StatefulSet with a volume for each member, and no Deployment beside it.
func TestManifests(t *testing.T) {
	b := bed.Start(t, bed.Options{})
	b.MakeNodes(4, bed.NodeOptions{})
	b.Apply(b.Kustomize("base"))
	pods := b.WaitPodsRunning("kube-system", "app=galaxy-ipam", 3, time.Minute)
	nodes := map[string]bool{}
	for i := range pods {
		nodes[pods[i].Spec.NodeName] = true
	}
	if len(nodes) != 3 {
		t.Errorf("three replicas run on %d nodes", len(nodes))
	}
	budget, err := b.Client.PolicyV1().PodDisruptionBudgets("kube-system").Get(t.Context(), "galaxy-ipam", metav1.GetOptions{})
	if err != nil || budget.Spec.Selector == nil {
		t.Errorf("the PodDisruptionBudget: %v", err)
	}

	embedded := b.Kustomize("embedded")
	if strings.Contains(embedded, "kind: Deployment") {
		t.Error("deploy/embedded still has the Deployment of deploy/base")
	}
	if err := b.Client.AppsV1().Deployments("kube-system").Delete(t.Context(), "galaxy-ipam", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.WaitPodsGone("kube-system", "app=galaxy-ipam", time.Minute)
	b.Apply(embedded)
	b.WaitFor("the StatefulSet has made its pods and asked for their volumes", time.Minute, func(ctx context.Context) error {
		set, err := b.Client.AppsV1().StatefulSets("kube-system").Get(ctx, "galaxy-ipam", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return membersMade(ctx, b, set)
	})
}

// membersMade asks for three pods, each with a volume of its own. Nobody provides volumes here, so that they do not run.
func membersMade(ctx context.Context, b *bed.Bed, set *appsv1.StatefulSet) error {
	claims, err := b.Client.CoreV1().PersistentVolumeClaims("kube-system").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if set.Status.Replicas != 3 || len(claims.Items) != 3 {
		return fmt.Errorf("there are %d pods and %d volumes", set.Status.Replicas, len(claims.Items))
	}
	return nil
}
