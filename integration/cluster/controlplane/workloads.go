package controlplane

import (
	"context"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodEdit changes the pod of a workload, or a pod by itself.
type PodEdit func(*corev1.PodTemplateSpec)

// WithAddress lets the pod ask for a floating address.
func WithAddress() PodEdit { return WithRequest(Resource, "1") }

// WithRequest lets the pod ask for some of a resource, and limits it to that.
func WithRequest(name corev1.ResourceName, quantity string) PodEdit {
	return func(p *corev1.PodTemplateSpec) {
		resources := &p.Spec.Containers[0].Resources
		if resources.Limits == nil {
			resources.Limits = corev1.ResourceList{}
		}
		resources.Requests[name] = resource.MustParse(quantity)
		resources.Limits[name] = resource.MustParse(quantity)
	}
}

// WithAnnotation annotates the pod.
func WithAnnotation(key, value string) PodEdit {
	return func(p *corev1.PodTemplateSpec) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, key, value) }
}

// WithLabel labels the pod.
func WithLabel(key, value string) PodEdit {
	return func(p *corev1.PodTemplateSpec) { metav1.SetMetaDataLabel(&p.ObjectMeta, key, value) }
}

// WithNodeSelector lets the pod run only on nodes with a label.
func WithNodeSelector(key, value string) PodEdit {
	return func(p *corev1.PodTemplateSpec) {
		if p.Spec.NodeSelector == nil {
			p.Spec.NodeSelector = map[string]string{}
		}
		p.Spec.NodeSelector[key] = value
	}
}

// AppLabel is the label with the name of their workload that all pods have.
const AppLabel = "app"

// Selector selects the pods of a workload.
func Selector(name string) string { return AppLabel + "=" + name }

func template(name string, edits []PodEdit) corev1.PodTemplateSpec {
	grace := int64(1)
	p := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{AppLabel: name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "main", Image: "example.test/none",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}},
			}},
		},
	}
	for _, edit := range edits {
		edit(&p)
	}
	return p
}

// NewPod is a pod by itself.
func NewPod(namespace, name string, edits ...PodEdit) *corev1.Pod {
	p := template(name, edits)
	p.Namespace, p.Name = namespace, name
	return &corev1.Pod{ObjectMeta: p.ObjectMeta, Spec: p.Spec}
}

// NewDeployment is a Deployment.
func NewDeployment(namespace, name string, replicas int32, edits ...PodEdit) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Template: template(name, edits),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{AppLabel: name}},
		},
	}
}

// NewStatefulSet is a StatefulSet that starts its pods all at once.
func NewStatefulSet(namespace, name string, replicas int32, edits ...PodEdit) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, Template: template(name, edits), ServiceName: name,
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector:            &metav1.LabelSelector{MatchLabels: map[string]string{AppLabel: name}},
		},
	}
}

// Create creates pods, Deployments and StatefulSets.
func (b *Cluster) Create(objects ...any) {
	b.t.Helper()
	for _, object := range objects {
		if err := b.create(b.t.Context(), object); err != nil {
			b.t.Fatalf("create %T: %v", object, err)
		}
	}
}

func (b *Cluster) create(ctx context.Context, object any) error {
	var err error
	switch o := object.(type) {
	case *corev1.Pod:
		_, err = b.Client.CoreV1().Pods(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	case *appsv1.Deployment:
		_, err = b.Client.AppsV1().Deployments(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	case *appsv1.StatefulSet:
		_, err = b.Client.AppsV1().StatefulSets(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	default:
		err = fmt.Errorf("there is no way to create it here; see Apply")
	}
	return err
}

// Scale sets the replicas of a Deployment or a StatefulSet, given as one was created.
func (b *Cluster) Scale(workload any, replicas int32) {
	b.t.Helper()
	ctx := b.t.Context()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas) // whatever the controllers write meanwhile
	var err error
	switch o := workload.(type) {
	case *appsv1.Deployment:
		_, err = b.Client.AppsV1().Deployments(o.Namespace).Patch(ctx, o.Name, types.MergePatchType, patch,
			metav1.PatchOptions{}, "scale")
	case *appsv1.StatefulSet:
		_, err = b.Client.AppsV1().StatefulSets(o.Namespace).Patch(ctx, o.Name, types.MergePatchType, patch,
			metav1.PatchOptions{}, "scale")
	default:
		err = fmt.Errorf("it has no scale")
	}
	if err != nil {
		b.t.Fatalf("scale %T to %d: %v", workload, replicas, err)
	}
}

// Annotate gives annotations to a Deployment or StatefulSet before it is created.
func Annotate[T metav1.Object](object T, annotations map[string]string) T {
	all := maps.Clone(annotations)
	if had := object.GetAnnotations(); had != nil {
		all = had
		maps.Copy(all, annotations)
	}
	object.SetAnnotations(all)
	return object
}
