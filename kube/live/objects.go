package live

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"galaxy/kube"
)

// getTimeout bounds a read of one object.
const getTimeout = 5 * time.Second

// Pod asks the API server itself for a pod; nil when it is not there.
func (c *Cluster) Pod(ctx context.Context, namespace, name string) (*kube.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	pod, err := c.Clients.Kube.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get pod %s/%s: %w", namespace, name, err)
	}
	return PodOf(pod), nil
}

// Gone asks the API server itself whether the pod of a uid has ended, and returns the evidence for it in words; "" while
// it has not. An error proves nothing.
func (c *Cluster) Gone(ctx context.Context, namespace, name, uid string) (evidence string, err error) {
	pod, err := c.Pod(ctx, namespace, name)
	switch {
	case err != nil:
		return "", err
	case pod == nil:
		return "the API server has no pod of that name", nil
	case pod.UID != uid:
		return "the pod of that name has the uid " + pod.UID, nil
	case pod.Finished():
		return "the pod has finished: " + pod.Phase, nil
	default:
		return "", nil
	}
}

// annotate sets annotations of the very pod of a uid.
func (c *Cluster) annotate(ctx context.Context, namespace, name, uid string, annotations map[string]string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid, "annotations": annotations}})
	if err != nil {
		return err
	}
	if _, err := c.Clients.Kube.CoreV1().Pods(namespace).Patch(ctx, name, types.MergePatchType, patch,
		metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("annotate pod %s/%s: %w", namespace, name, err)
	}
	return nil
}

// PublishCapacity says on a Node object how many pods with addresses it may run, so that the scheduler passes over
// nodes that have none left before it asks anybody.
func (c *Cluster) PublishCapacity(ctx context.Context, node, quantity string) error {
	resources := map[string]string{kube.ResourceIP: quantity}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"capacity": resources,
		"allocatable": resources}})
	if err != nil {
		return err
	}
	_, err = c.Clients.Kube.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{},
		"status")
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("publish the capacity of node %s: %w", node, err)
	}
	return nil
}

func newEvents(config Config) (record.EventBroadcaster, record.EventRecorder) {
	caster := record.NewBroadcaster()
	caster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: config.Clients.Kube.CoreV1().Events("")})
	return caster, caster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "galaxy-ipam", Host: config.Actor})
}

// ReportConfig shows on the ConfigMap with the subnets what became of it: reason in one word, and a sentence.
func (c *Cluster) ReportConfig(warning bool, reason, message string) {
	uid, _ := c.configUID.Load().(types.UID) // kubectl describe finds events by it
	c.Report(corev1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: c.ConfigNamespace,
		Name: c.ConfigName, UID: uid}, warning, reason, message)
}

// ReportNode shows an event on a node. As those of a kubelet, it names the node where others name a uid: kubectl
// describe node looks for both.
func (c *Cluster) ReportNode(name string, warning bool, reason, message string) {
	c.Report(corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: types.UID(name)}, warning, reason,
		message)
}

// ReportPod shows an event on a pod.
func (c *Cluster) ReportPod(pod *kube.Pod, warning bool, reason, message string) {
	c.Report(corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name,
		UID: types.UID(pod.UID)}, warning, reason, message)
}

// Report shows an event on any object: reason in one word, and a sentence.
func (c *Cluster) Report(on corev1.ObjectReference, warning bool, reason, message string) {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	c.events.Event(&on, kind, reason, message)
}
