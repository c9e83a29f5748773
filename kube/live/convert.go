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
				Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(),
				ResourceVersion: o.GetResourceVersion(),
			},
			value: convert(o),
		}, nil
	}
}

// PodOf is our form of a pod.
func PodOf(p *corev1.Pod) *kube.Pod {
	pod := &kube.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID),
		ReleasePolicy: p.Annotations[kube.AnnotationReleasePolicy], Pool: p.Annotations[kube.AnnotationPool],
		Args: p.Annotations[kube.AnnotationArgs], Proof: p.Annotations[kube.AnnotationProof],
		TemplateHash: p.Labels[kube.LabelTemplateHash], Node: p.Spec.NodeName, Phase: string(p.Status.Phase),
		HostNetwork: p.Spec.HostNetwork, Deleting: p.DeletionTimestamp != nil,
	}
	pod.AddIP(p.Status.PodIP)
	for _, ip := range p.Status.PodIPs {
		pod.AddIP(ip.IP)
	}
	for i, ref := range p.OwnerReferences {
		controller := ref.Controller != nil && *ref.Controller
		if i == 0 || controller {
			pod.Owner = kube.OwnerRef{APIVersion: ref.APIVersion, Kind: ref.Kind, Name: ref.Name,
				Controller: controller}
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
	return pod.Bounded()
}

func nodeOf(n *corev1.Node) *kube.Node {
	node := &kube.Node{Name: n.Name, UID: string(n.UID)}
	for _, a := range n.Status.Addresses {
		if addr, err := ipam.ParseAddr(a.Address); err == nil {
			node.AddAddress(addr, a.Type == corev1.NodeInternalIP)
		}
	}
	for _, taint := range n.Spec.Taints {
		node.OutOfService = node.OutOfService || taint.Key == kube.TaintOutOfService
	}
	for _, c := range n.Status.Conditions {
		node.Ready = node.Ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	if quantity, said := n.Status.Capacity[kube.ResourceIP]; said {
		node.Capacity = strconv.FormatInt(quantity.Value(), 10) // the API server turns 1000 into 1k
	}
	return node.Bounded()
}

func deploymentOf(d *appsv1.Deployment) allocator.Workload {
	w := allocator.Workload{Exists: true, Scales: true, Replicas: replicas(d.Spec.Replicas)}
	if d.Annotations[kube.AnnotationRollout] != kube.RolloutStrict {
		w.Spare = surge(d, w.Replicas)
	}
	if rollsOut(d) {
		w.Surge = w.Spare
	}
	return w
}

// rollsOut reports whether pods of an older form of the Deployment are there, or about to be.
func rollsOut(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration < d.Generation || d.Status.Replicas > d.Status.UpdatedReplicas
}

// surge is how many pods more than its replicas a Deployment must have while it rolls out: its maxSurge where it may
// take no old pod away before a new one runs, and else 0. As in the Deployment controller, a share in percent is
// rounded up for the surge and down for the unavailable, and where both are 0 one pod may be unavailable.
func surge(d *appsv1.Deployment, replicas int) int {
	rolling := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || rolling == nil {
		return 0
	}
	if portion(rolling.MaxUnavailable, replicas, false) > 0 {
		return 0
	}
	return portion(rolling.MaxSurge, replicas, true)
}

func portion(n *intstr.IntOrString, of int, up bool) int {
	if n == nil {
		return 0
	}
	value, err := intstr.GetScaledValueFromIntOrPercent(n, of, up)
	if err != nil {
		return 0
	}
	return max(value, 0)
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
