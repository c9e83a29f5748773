package live

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
)

// entry is what an informer keeps of an object: its name, and our form of it. All the rest of the object is let go.
type entry[T any] struct {
	metav1.ObjectMeta
	value T
}

// slim turns an object into its entry; it may be called again on its own result.
func slim[O metav1.Object, T any](convert func(O) T) func(any) (any, error) {
	return func(object any) (any, error) {
		o, ok := object.(O)
		if !ok {
			return object, nil
		}
		return &entry[T]{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
			},
			value: convert(o),
		}, nil
	}
}

// PodOf is our form of a pod.
func PodOf(p *corev1.Pod) *kube.Pod {
	pod := &kube.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID),
		ReleasePolicy: p.Annotations[kube.AnnotationReleasePolicy], Pool: p.Annotations[kube.AnnotationPool], Args: p.Annotations[kube.AnnotationArgs],
		TemplateHash: p.Labels[kube.LabelTemplateHash], Node: p.Spec.NodeName, Phase: string(p.Status.Phase), IP: p.Status.PodIP, Deleting: p.DeletionTimestamp != nil,
	}
	for i, ref := range p.OwnerReferences {
		controller := ref.Controller != nil && *ref.Controller
		if i == 0 || controller {
			pod.Owner = kube.OwnerRef{APIVersion: ref.APIVersion, Kind: ref.Kind, Name: ref.Name, Controller: controller}
		}
		if controller {
			break
		}
	}
	for i := range p.Spec.Containers {
		if _, wants := p.Spec.Containers[i].Resources.Requests[kube.ResourceIP]; wants {
			pod.Wants = true
		}
	}
	return pod
}

func nodeOf(n *corev1.Node) *kube.Node {
	node := &kube.Node{Name: n.Name, UID: string(n.UID)}
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if addr, err := ipam.ParseAddr(a.Address); err == nil {
			node.AddIP(addr)
		}
	}
	for _, taint := range n.Spec.Taints {
		node.OutOfService = node.OutOfService || taint.Key == kube.TaintOutOfService
	}
	if quantity, said := n.Status.Capacity[kube.ResourceIP]; said {
		node.Capacity = strconv.FormatInt(quantity.Value(), 10) // the API server turns 1000 into 1k
	}
	return node
}

func deploymentOf(d *appsv1.Deployment) allocator.Workload {
	w := allocator.Workload{Exists: true, Scales: true, Replicas: replicas(d.Spec.Replicas)}
	if rollsOut(d) && d.Annotations[kube.AnnotationRollout] != kube.RolloutStrict {
		w.Surge = surge(d, w.Replicas)
	}
	return w
}

// rollsOut reports whether pods of an older form of the Deployment are there, or about to be.
func rollsOut(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration < d.Generation || d.Status.Replicas > d.Status.UpdatedReplicas
}

// surge is how many pods more than its replicas a Deployment may have while it rolls out. A share in percent is rounded up,
// as the Deployment controller does it.
func surge(d *appsv1.Deployment, replicas int) int {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || d.Spec.Strategy.RollingUpdate == nil {
		return 0
	}
	most := d.Spec.Strategy.RollingUpdate.MaxSurge
	if most == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(most, replicas, true)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

func statefulSetOf(s *appsv1.StatefulSet) allocator.Workload {
	w := allocator.Workload{Exists: true, Scales: true, Replicas: replicas(s.Spec.Replicas)}
	if s.Spec.Ordinals != nil {
		w.Start = int(s.Spec.Ordinals.Start)
	}
	return w
}

func replicaSetOf(r *appsv1.ReplicaSet) allocator.Workload {
	return allocator.Workload{Exists: true, Scales: true, Replicas: replicas(r.Spec.Replicas)}
}

// replicas is 1 where nothing is said, as for the API server.
func replicas(n *int32) int {
	if n == nil {
		return 1
	}
	return int(*n)
}
