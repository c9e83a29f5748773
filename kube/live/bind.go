package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"galaxy/ipam"
	"galaxy/kube"
)

// bindRetry is the pause before a binding whose fate is unknown is tried again (contract section 4.6).
const bindRetry = 500 * time.Millisecond

// Bind writes to the API server that a pod runs on a node, with its addresses in the args annotation, and their proof
// in another. It holds for the very pod of that uid only. A binding whose response was lost is found out about, not
// repeated blindly.
func (c *Cluster) Bind(ctx context.Context, pod *kube.Pod, node string, infos []ipam.IPInfo, proof string) error {
	annotations, err := annotationsOf(pod, infos, proof)
	if err != nil {
		return err
	}
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: types.UID(pod.UID),
			Annotations: annotations,
		},
		Target: corev1.ObjectReference{Kind: "Node", Name: node},
	}
	for {
		err := c.bindOnce(ctx, pod, binding)
		if err == nil || errors.Is(err, kube.ErrPodGone) || isFinal(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("bind pod %s to node %s: %w", pod, node, err)
		case <-time.After(bindRetry):
		}
	}
}

// annotationsOf are what a pod shows of its addresses, whatever else it asks for. Without a proof it shows none.
func annotationsOf(pod *kube.Pod, infos []ipam.IPInfo, proof string) (map[string]string, error) {
	args, err := pod.ParseArgs()
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", pod, err)
	}
	args.IPInfos = infos
	text, err := args.Text()
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", pod, err)
	}
	annotations := map[string]string{kube.AnnotationArgs: text}
	if proof != "" {
		annotations[kube.AnnotationProof] = proof
	}
	return annotations, nil
}

// Prove writes the addresses of a pod that runs, and their proof, into its annotations.
func (c *Cluster) Prove(ctx context.Context, pod *kube.Pod, infos []ipam.IPInfo, proof string) error {
	annotations, err := annotationsOf(pod, infos, proof)
	if err != nil {
		return err
	}
	return c.annotate(ctx, pod.Namespace, pod.Name, pod.UID, annotations)
}

// isFinal reports whether trying again cannot help.
func isFinal(err error) bool {
	var bound *kube.BoundError
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsInvalid(err) ||
		apierrors.IsBadRequest(err) || errors.As(err, &bound)
}

func (c *Cluster) bindOnce(ctx context.Context, pod *kube.Pod, binding *corev1.Binding) error {
	err := c.Clients.Kube.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("bind pod %s: %w", pod, kube.ErrPodGone)
	case !apierrors.IsConflict(err):
		return err
	}
	// Bound already, perhaps by us and the response was lost; or another pod of the name; or it is being deleted.
	now, getErr := c.Clients.Kube.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(getErr):
		return fmt.Errorf("bind pod %s: %w", pod, kube.ErrPodGone)
	case getErr != nil:
		return errors.Join(err, getErr)
	case string(now.UID) != pod.UID:
		return fmt.Errorf("bind pod %s: %w: it has the uid %s now, not %s", pod, kube.ErrPodGone, now.UID, pod.UID)
	case now.Spec.NodeName == binding.Target.Name:
		return c.repairArgs(ctx, now, binding)
	case now.Spec.NodeName != "":
		return &kube.BoundError{Pod: pod.String(), Node: now.Spec.NodeName}
	default:
		return err
	}
}

// repairArgs makes sure that a pod which is bound has its addresses in the annotations.
func (c *Cluster) repairArgs(ctx context.Context, now *corev1.Pod, binding *corev1.Binding) error {
	for key, want := range binding.Annotations {
		if now.Annotations[key] != want {
			return c.annotate(ctx, now.Namespace, now.Name, string(now.UID), binding.Annotations)
		}
	}
	return nil
}
