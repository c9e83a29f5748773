package kube

import (
	"fmt"
	"slices"
	"strings"

	"galaxy/allocator"
	"galaxy/ipam"
)

// OwnerOf is the owner that a pod's addresses are held for (contract section 4.1). A ReplicaSet that a Deployment has
// made counts as that Deployment: its name ends in the pod's template hash. A bare ReplicaSet counts as itself.
func OwnerOf(pod *Pod) (ipam.Owner, error) {
	o := ipam.Owner{Namespace: pod.Namespace, Pod: pod.Name, Pool: pod.Pool}
	ref := pod.Owner
	if ref == (OwnerRef{}) {
		return checked(o, pod)
	}
	if ref.Kind == "" || ref.Name == "" {
		return ipam.Owner{}, fmt.Errorf("pod %s: metadata.ownerReferences: the owner has the kind %q and the name "+
			"%q; want both", pod, ref.Kind, ref.Name)
	}
	o.Kind, o.App = KindOf(ref.APIVersion, ref.Kind), ref.Name
	if o.Kind != ipam.KindReplicaSet {
		return checked(o, pod)
	}
	if app, made := strings.CutSuffix(ref.Name, "-"+pod.TemplateHash); made && pod.TemplateHash != "" && app != "" {
		o.Kind, o.App = ipam.KindDeployment, app
	}
	return checked(o, pod)
}

// checked is the owner of a pod, or what is wrong with it: whoever makes the pod writes its names, and Kubernetes does
// not bound them all.
func checked(o ipam.Owner, pod *Pod) (ipam.Owner, error) {
	err := o.Check()
	if err == nil {
		err = ipam.CheckUID(pod.UID)
	}
	if err != nil {
		return ipam.Owner{}, fmt.Errorf("pod %q: its name, metadata.ownerReferences or annotation %s: %w", pod,
			AnnotationPool, err)
	}
	if err := pod.check(); err != nil {
		return ipam.Owner{}, fmt.Errorf("pod %s: %w", pod, err)
	}
	return o, nil
}

// KindOf is the kind of a workload as owners name it: in lower case. A kind of another group that is called like one of
// that of Kubernetes is distinguished by its group, as statefulset.apps.kruise.io.
func KindOf(apiVersion, kind string) string {
	kind = strings.ToLower(kind)
	group, _, _ := strings.Cut(apiVersion, "/")
	switch {
	case !strings.Contains(apiVersion, "/"), slices.Contains(ownGroups, group), !slices.Contains(ownKinds, kind):
		return kind
	default:
		return kind + "." + group
	}
}

// The groups of Kubernetes' own workloads, and their kinds.
var (
	ownGroups = []string{"apps", "batch", "extensions"}
	ownKinds  = []string{ipam.KindDeployment, ipam.KindStatefulSet, ipam.KindReplicaSet, "daemonset", "job", "cronjob",
		"replicationcontroller"}
)

// PolicyOf is the release policy of a pod.
func PolicyOf(pod *Pod) ipam.Policy { return ipam.PolicyOf(pod.ReleasePolicy, pod.Pool) }

// Workloads knows the workloads of a cluster.
type Workloads interface {
	Workload(owner ipam.Owner) allocator.Workload
}

// RequestIn is what a pod asks of the allocator, with what a cluster knows of its workload.
func RequestIn(pod *Pod, cluster Workloads) (allocator.Pod, error) {
	asked, err := Request(pod, allocator.Workload{})
	if err == nil {
		asked.Workload = cluster.Workload(asked.Owner)
	}
	return asked, err
}

// Request is what a pod of a workload asks of the allocator.
func Request(pod *Pod, workload allocator.Workload) (allocator.Pod, error) {
	owner, err := OwnerOf(pod)
	if err != nil {
		return allocator.Pod{}, err
	}
	args, err := pod.ParseArgs()
	if err != nil {
		return allocator.Pod{}, fmt.Errorf("pod %s: %w", pod, err)
	}
	return allocator.Pod{Owner: owner, UID: pod.UID, Policy: PolicyOf(pod), Ranges: args.Ranges, Workload: workload},
		nil
}
