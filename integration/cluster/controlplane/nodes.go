package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

// NodeOptions are how nodes are made.
type NodeOptions struct {
	// Prefix comes before the number of the node in its name; "node-" if empty.
	Prefix string
	// Address gives the InternalIP of the node with a number; nil for 10.10.0.0/16 from 10.10.0.2 on.
	Address func(i int) netip.Addr
	// Labels are added to those of the cluster.
	Labels map[string]string
	// FloatingAddresses is how much the node has of Resource; 0 for no word of it.
	FloatingAddresses int64
	// Capacity is instead of 64 processors, 256 Gi and 250 pods.
	Capacity corev1.ResourceList
	Taints   []corev1.Taint
}

// MakeNodes creates nodes that kwok keeps alive, waits until they are ready, and gives their names.
func (b *Cluster) MakeNodes(n int, o NodeOptions) []string {
	b.t.Helper()
	names, errs := make([]string, n), make([]error, n)
	workqueue.ParallelizeUntil(b.t.Context(), 32, n, func(i int) {
		node := o.node(i)
		names[i] = node.Name
		_, errs[i] = b.Client.CoreV1().Nodes().Create(b.t.Context(), node, metav1.CreateOptions{})
	})
	for i, err := range errs {
		if err != nil {
			b.t.Fatalf("node %s: %v", names[i], err)
		}
	}
	b.WaitNodesReady(time.Minute+time.Duration(n)*20*time.Millisecond, names...)
	return names
}

func (o NodeOptions) node(i int) *corev1.Node {
	prefix, address := o.Prefix, o.Address
	if prefix == "" {
		prefix = "node-"
	}
	if address == nil {
		address = defaultAddress
	}
	name := fmt.Sprintf("%s%d", prefix, i)
	labels := map[string]string{managedKey: managedValue, corev1.LabelHostname: name}
	maps.Copy(labels, o.Labels)
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods: resource.MustParse("250"),
	}
	if o.Capacity != nil {
		capacity = o.Capacity.DeepCopy()
	}
	if o.FloatingAddresses > 0 {
		capacity[Resource] = *resource.NewQuantity(o.FloatingAddresses, resource.DecimalSI)
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.NodeSpec{Taints: o.Taints},
		Status: corev1.NodeStatus{
			Capacity: capacity, Allocatable: capacity,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: address(i).String()}, {Type: corev1.NodeHostName, Address: name},
			},
		},
	}
}

func defaultAddress(i int) netip.Addr {
	i += 2
	return netip.AddrFrom4([4]byte{10, 10, byte(i >> 8), byte(i)})
}

// WaitNodesReady waits until nodes are ready and pods may be put on them.
func (b *Cluster) WaitNodesReady(wait time.Duration, names ...string) {
	b.t.Helper()
	b.WaitFor(fmt.Sprintf("%d nodes are ready", len(names)), wait, func(ctx context.Context) error {
		list, err := b.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := map[string]bool{}
		for i := range list.Items {
			ready[list.Items[i].Name] = nodeReady(&list.Items[i])
		}
		for _, name := range names {
			if !ready[name] {
				return fmt.Errorf("node %s is not ready, or is still tainted for that", name)
			}
		}
		return nil
	})
}

func nodeReady(n *corev1.Node) bool {
	for _, t := range n.Spec.Taints {
		if t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable {
			return false
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// SilenceNode cuts a node off: it reports no more, starts no pods, and does not end those that are deleted. After
// Options.NodeGrace it is taken for unreachable.
func (b *Cluster) SilenceNode(name string) {
	b.t.Helper()
	b.labelNode(name, nil)
}

// ReviveNode brings a node back that was cut off. As a kubelet does, it ends the pods that were deleted meanwhile: kwok
// only notices deletions that it sees.
func (b *Cluster) ReviveNode(name string) {
	b.t.Helper()
	b.labelNode(name, managedValue)
	pods, err := b.Client.CoreV1().Pods("").List(b.t.Context(),
		metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
	if err != nil {
		b.t.Fatalf("pods of node %s: %v", name, err)
	}
	now := int64(0)
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.DeletionTimestamp == nil {
			continue
		}
		err := b.Client.CoreV1().Pods(p.Namespace).Delete(b.t.Context(), p.Name,
			metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			b.t.Fatalf("end pod %s of node %s: %v", p.Name, name, err)
		}
	}
}

func (b *Cluster) labelNode(name string, value any) {
	b.t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{managedKey: value}}})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.Client.CoreV1().Nodes().Patch(b.t.Context(), name, types.MergePatchType, patch,
		metav1.PatchOptions{}); err != nil {
		b.t.Fatalf("node %s: %v", name, err)
	}
}
