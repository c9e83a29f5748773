package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"

	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/nodeagent/cni"
	"galaxy/nodeagent/netconf"
	"galaxy/pause"
	"galaxy/plugins"
	"galaxy/proof"
)

// Annotations of the Network Plumbing Working Group's de-facto standard.
const (
	networksKey = "k8s.v1.cni.cncf.io/networks"
	statusKey   = "k8s.v1.cni.cncf.io/network-status"
)

// keyIPInfos is the CNI argument that underlay plugins read a pod's addresses from (contract section 2.2).
const keyIPInfos = "ipinfos"

// verify returns the addresses that a pod may have; see proofs.Verifier.
type verify func(ctx context.Context, podUID, proof string, shown []ipam.IPInfo) ([]ipam.IPInfo, error)

// noPods is a node without Kubernetes: a pod is what the runtime says, and gets the default networks.
type noPods struct{}

func (noPods) Get(_ context.Context, namespace, _, uid string) (cni.Pod, error) {
	return cni.Pod{UID: uid, Pod: netconf.Pod{Namespace: namespace}}, nil
}

func (noPods) Show(context.Context, string, string, string, []cni.NetworkStatus) error { return nil }

// nodePods are the pods of this node, kept up to date, so that an ADD seldom has to wait for the API server.
type nodePods struct {
	client kubernetes.Interface
	lister listers.PodLister
	synced func() bool
	verify verify
}

// How often and how long the API server is asked for a pod that it does not know yet (contract section 1.3).
const (
	askEvery = 500 * time.Millisecond
	askFor   = 5 * time.Second
)

// watchPods begins to follow the pods of a node, until ctx ends.
func watchPods(ctx context.Context, client kubernetes.Interface, node string, verify verify) *nodePods {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
		}),
		informers.WithTransform(slimPod))
	pods := factory.Core().V1().Pods()
	p := &nodePods{client: client, lister: pods.Lister(), synced: pods.Informer().HasSynced, verify: verify}
	factory.Start(ctx.Done())
	return p
}

// slimPod keeps of a pod what is asked for.
func slimPod(object any) (any, error) {
	p, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	slim := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID,
		ResourceVersion: p.ResourceVersion, Annotations: map[string]string{}}}
	for _, key := range []string{networksKey, kube.AnnotationArgs, kube.AnnotationProof, kube.AnnotationMasquerade,
		staticHash} {
		if value, ok := p.Annotations[key]; ok {
			slim.Annotations[key] = value
		}
	}
	if floats(p) {
		slim.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{kube.ResourceIP: {}}}}}
	}
	return slim, nil
}

// floats reports whether a pod requests a floating address.
func floats(p *corev1.Pod) bool {
	for i := range p.Spec.Containers {
		if _, wants := p.Spec.Containers[i].Resources.Requests[kube.ResourceIP]; wants {
			return true
		}
	}
	return false
}

// Get implements cni.Pods.
func (p *nodePods) Get(ctx context.Context, namespace, name, uid string) (cni.Pod, error) {
	if p.synced() {
		if pod, err := p.lister.Pods(namespace).Get(name); err == nil && same(pod, uid) {
			return p.podOf(ctx, pod)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	for {
		pod, err := p.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil && same(pod, uid):
			return p.podOf(ctx, pod)
		case err == nil:
			err = fmt.Errorf("the API server has a pod %s/%s with the uid %s, and the runtime asks for one with %s: "+
				"the runtime is late, or the name was used again", namespace, name, pod.UID, uid)
		case !apierrors.IsNotFound(err) && ctx.Err() == nil:
			return cni.Pod{}, types.NewError(types.ErrTryAgainLater,
				fmt.Sprintf("ask the API server for pod %s/%s: %v", namespace, name, err), "")
		}
		if pause.For(ctx, askEvery) != nil {
			return cni.Pod{}, types.NewError(types.ErrTryAgainLater, err.Error(), "")
		}
	}
}

// staticHash is, on the mirror of a static pod, the uid that the kubelet itself knows the pod by and gives to the
// runtime; the API server gives the mirror another one. See k8s.io/kubernetes/pkg/kubelet/types,
// ConfigHashAnnotationKey.
const staticHash = "kubernetes.io/config.hash"

func same(pod *corev1.Pod, uid string) bool {
	return uid == "" || pod.UID == apitypes.UID(uid) || pod.Annotations[staticHash] == uid
}

// podOf is what of a pod its networks depend on. A pod that asks for a floating address gets those that galaxy-ipam has
// signed for it, and none that only stand in its annotation: whoever may write a pod may write that.
func (p *nodePods) podOf(ctx context.Context, of *corev1.Pod) (cni.Pod, error) {
	pod := cni.Pod{UID: string(of.UID), Pod: netconf.Pod{
		Namespace: of.Namespace, Networks: of.Annotations[networksKey], FloatIP: floats(of),
		Masquerade: of.Annotations[kube.AnnotationMasquerade],
	}}
	if !pod.FloatIP {
		return pod, nil
	}
	infos, err := p.proven(ctx, of)
	if err != nil {
		return cni.Pod{}, refused(of, err)
	}
	text, err := json.Marshal(infos)
	if err != nil {
		return cni.Pod{}, err
	}
	pod.Args = keyIPInfos + "=" + string(text) // JSON of addresses and numbers has no semicolon
	return pod, nil
}

// proven are the addresses of a pod that its annotations prove.
func (p *nodePods) proven(ctx context.Context, of *corev1.Pod) ([]ipam.IPInfo, error) {
	if length := len(of.Annotations[kube.AnnotationArgs]); length > kube.MaxArgs {
		return nil, plugins.Errorf(types.ErrInternal, "annotation %s has %d bytes, and at most %d are read",
			kube.AnnotationArgs, length, kube.MaxArgs)
	}
	args, err := ipam.ParsePodArgs(of.Annotations[kube.AnnotationArgs])
	if err != nil {
		return nil, plugins.Errorf(types.ErrInternal, "annotation %s: %w", kube.AnnotationArgs, err)
	}
	return p.verify(ctx, string(of.UID), of.Annotations[kube.AnnotationProof], args.IPInfos)
}

// refused says that a pod gets no floating address, why, and what to do about it.
func refused(pod *corev1.Pod, why error) error {
	where := fmt.Sprintf("pod %s/%s requests %s and gets no address", pod.Namespace, pod.Name, kube.ResourceIP)
	repair, code := "; delete the pod, so that it is scheduled and signed anew", types.ErrInternal
	var refusal *proof.Refusal
	switch known := errors.As(why, &refusal); {
	case !known:
		repair, code = "", types.ErrTryAgainLater
	case refusal.Reason == proof.Stale:
		repair, code = "", types.ErrTryAgainLater
	case refusal.Reason == proof.Missing:
		repair = "; see that its scheduler asks galaxy-ipam and that its extender is not ignorable, and delete the pod"
	}
	failed := plugins.In(where, code, why)
	failed.Msg += repair
	return failed
}

// Show implements cni.Pods.
func (p *nodePods) Show(ctx context.Context, namespace, name, uid string, networks []cni.NetworkStatus) error {
	text, err := json.Marshal(networks)
	if err != nil {
		return err
	}
	meta := map[string]any{"annotations": map[string]string{statusKey: string(text)}}
	if uid != "" {
		meta["uid"] = uid // another pod of the name is left alone
	}
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	_, err = p.client.CoreV1().Pods(namespace).Patch(ctx, name, apitypes.MergePatchType, patch, metav1.PatchOptions{},
		"status")
	return err
}
