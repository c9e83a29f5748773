package live

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"galaxy/allocator"
	"galaxy/kube"
)

// A pod read from the API server is the one read from JSON.
func TestPodOf(t *testing.T) {
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "web-7-x", UID: "u", Labels: map[string]string{"pod-template-hash": "7"},
			Annotations: map[string]string{kube.AnnotationReleasePolicy: "immutable", kube.AnnotationPool: "p",
				kube.AnnotationArgs: "{}"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "A", Name: "a"},
				{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-7", Controller: &yes}},
			DeletionTimestamp: &metav1.Time{},
		},
		Spec: corev1.PodSpec{
			NodeName:       "n",
			InitContainers: []corev1.Container{{}},
			Containers: []corev1.Container{{},
				{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{kube.ResourceIP: resource.MustParse("0")}}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1",
			PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}},
	}
	want := &kube.Pod{
		Namespace: "ns", Name: "web-7-x", UID: "u", ReleasePolicy: "immutable", Pool: "p", Args: "{}",
		Owner:        kube.OwnerRef{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-7", Controller: true},
		TemplateHash: "7", Node: "n", Phase: "Running",
		IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, Deleting: true, Wants: true,
	}
	if got := PodOf(p); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	p.Spec.InitContainers[0].Resources.Requests = p.Spec.Containers[1].Resources.Requests
	p.Spec.Containers = p.Spec.Containers[:1]
	if PodOf(p).Wants {
		t.Error("an init container that asks counts")
	}
}

// A Deployment may have its surge only where it may take no old pod away before a new one runs.
func TestDeploymentOf(t *testing.T) {
	three := int32(3)
	percent, one := intstr.FromString("30%"), intstr.FromInt32(1)
	deployment := func(edit func(*appsv1.Deployment)) *appsv1.Deployment {
		d := &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Generation: 2},
			Spec: appsv1.DeploymentSpec{Replicas: &three,
				Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &percent,
					MaxUnavailable: &percent}}},
			Status: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 1},
		}
		edit(d)
		return d
	}
	for name, c := range map[string]struct {
		edit  func(*appsv1.Deployment)
		spare int
	}{
		"none may be away":    {func(*appsv1.Deployment) {}, 1},
		"one may be away":     {func(d *appsv1.Deployment) { d.Spec.Strategy.RollingUpdate.MaxUnavailable = &one }, 0},
		"three of ten may":    {func(d *appsv1.Deployment) { ten := int32(10); d.Spec.Replicas = &ten }, 0},
		"nothing is said":     {func(d *appsv1.Deployment) { d.Spec.Strategy.RollingUpdate.MaxUnavailable = nil }, 1},
		"a surge of a number": {func(d *appsv1.Deployment) { two := intstr.FromInt32(2); d.Spec.Strategy.RollingUpdate.MaxSurge = &two }, 2},
		"strict": {func(d *appsv1.Deployment) {
			d.Annotations = map[string]string{kube.AnnotationRollout: kube.RolloutStrict}
		}, 0},
		"all at once":           {func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType }, 0},
		"no surge is said":      {func(d *appsv1.Deployment) { d.Spec.Strategy.RollingUpdate = nil }, 0},
		"nothing is said of it": {func(d *appsv1.Deployment) { d.Spec.Strategy.RollingUpdate.MaxSurge = nil }, 0},
		"a surge of no meaning": {func(d *appsv1.Deployment) {
			s := intstr.FromString("many")
			d.Spec.Strategy.RollingUpdate.MaxSurge = &s
		}, 0},
	} {
		d := deployment(c.edit)
		want := allocator.Workload{Exists: true, Scales: true, Replicas: int(*d.Spec.Replicas), Spare: c.spare,
			Surge: c.spare}
		if got := deploymentOf(d); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		// Once it has rolled out, pods that are made again wait for their addresses; the spare is kept.
		d.Status.UpdatedReplicas, want.Surge = 3, 0
		if got := deploymentOf(d); got != want {
			t.Errorf("%s, rolled out: %+v, want %+v", name, got, want)
		}
	}
}

func TestNodeOf(t *testing.T) {
	node := nodeOf(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "a"}, {Key: kube.TaintOutOfService}}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeHostName, Address: "n"}, {Type: corev1.NodeInternalIP, Address: "bad"},
				{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.2"},
				{Type: corev1.NodeInternalIP, Address: "fd00::1"},
			},
			Capacity: corev1.ResourceList{kube.ResourceIP: resource.MustParse("500")},
		},
	})
	if !node.OutOfService || node.Capacity != "500" || len(node.IPs) != 2 || node.IPs[0].String() != "10.0.0.1" {
		t.Errorf("%+v", node)
	}
	// An API server has its own way to write 1000.
	for _, written := range []string{"1000", "1k"} {
		node = nodeOf(&corev1.Node{Status: corev1.NodeStatus{Capacity: corev1.ResourceList{kube.ResourceIP: resource.MustParse(written)}}})
		if node.Capacity != "1000" {
			t.Errorf("%s is read as %s", written, node.Capacity)
		}
	}
}

// What is kept of a pod and of a node is the same, whether it comes from the API server or as JSON, and however long
// what it says is.
func TestBoundedAlike(t *testing.T) {
	long, ips := strings.Repeat("x", 1<<20), make([]corev1.PodIP, 3*kube.MaxPodIPs)
	for i := range ips {
		ips[i].IP = fmt.Sprintf("10.1.0.%d", i)
	}
	given := `{"common":{"ipinfos":[{"ip":"10.9.0.2/16","vlan":0,"gateway":"10.9.0.1"}]},"more":"` +
		long[:kube.MaxArgs] + `"}`
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: long, Name: long, UID: types.UID(long), Labels: map[string]string{kube.LabelTemplateHash: long},
			Annotations: map[string]string{
				kube.AnnotationReleasePolicy: long, kube.AnnotationPool: long, kube.AnnotationArgs: given,
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: long, Kind: long, Name: long}},
		},
		Spec: corev1.PodSpec{
			NodeName: long,
			Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{kube.ResourceIP: resource.MustParse("1")},
			}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPhase(long), PodIPs: ips},
	}
	read, err := kube.DecodePod(asJSON(t, p))
	if got := PodOf(p); err != nil || !reflect.DeepEqual(got, read) {
		t.Errorf("from the API server %+v, from JSON %+v, %v", got, read, err)
	}
	// Nothing that the pod runs with is lost: its status is kept, and what the long annotation says it was given.
	shown := read.Shows()
	annotated := kube.Shown{Addr: netip.MustParseAddr("10.9.0.2")}
	if last := shown[len(shown)-1]; len(shown) != kube.MaxPodIPs+2 || last != annotated {
		t.Errorf("it shows %d addresses, the last is %+v", len(shown), last)
	}
	if _, err := kube.Request(read, allocator.Workload{}); err == nil {
		t.Error("it may ask for an address")
	}

	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	for i := range 2 * kube.MaxFurther {
		at := corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: fmt.Sprintf("10.1.0.%d", i)}
		n.Status.Addresses = append(n.Status.Addresses, at)
	}
	main := corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}
	n.Status.Addresses = append(n.Status.Addresses, main)
	node, err := kube.DecodeNode(asJSON(t, n))
	if got := nodeOf(n); err != nil || !reflect.DeepEqual(got, node) {
		t.Errorf("from the API server %+v, from JSON %+v, %v", got, node, err)
	}
	n.Name, n.UID = long, types.UID(long)
	if got := nodeOf(n); len(got.Name)+len(got.UID) > 600 {
		t.Errorf("%d bytes of names are kept", len(got.Name)+len(got.UID))
	}
}

func asJSON(t *testing.T, object any) []byte {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// However many kinds the owners of pods are said to be of, a bounded number is watched.
func TestKindsAreBounded(t *testing.T) {
	k := newKinds(&Cluster{Config: Config{Log: zap.NewNop()}})
	for i := range 2 * maxKinds {
		k.know(fmt.Sprint("kind", i))
		for len(k.starts) > 0 {
			<-k.starts
		}
	}
	if len(k.known) != maxKinds {
		t.Errorf("%d kinds are watched", len(k.known))
	}
}
