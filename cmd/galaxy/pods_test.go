package main

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"galaxy/kube"
)

func podNamed(name, uid string, annotations map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: apitypes.UID(uid),
			Annotations: annotations},
		Spec: corev1.PodSpec{NodeName: "n0", Containers: []corev1.Container{{Name: "c"}}},
	}
}

func floating(p *corev1.Pod) *corev1.Pod {
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{kube.ResourceIP: {}}
	return p
}

// A pod that the node knows costs no request; one that it does not know yet, or knows by an older uid, is asked for.
func TestKnownPodsAreNotAskedFor(t *testing.T) {
	client := fake.NewClientset(podNamed("known", "u1", map[string]string{networksKey: "a,b", "other": "dropped"}))
	var asked atomic.Int32
	client.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		asked.Add(1)
		return false, nil, nil
	})
	pods := watchPods(t.Context(), client, "n0")
	for deadline := time.Now().Add(10 * time.Second); !pods.synced(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the pods of the node are not known after 10 s")
		}
	}
	if p, err := pods.Get(t.Context(), "default", "known", "u1"); err != nil || p.Networks != "a,b" || p.UID != "u1" ||
		asked.Load() != 0 {
		t.Errorf("%+v, %v, asked %d times", p, err, asked.Load())
	}
	// The runtime is faster than the API server: the pod comes while it is asked for.
	go func() {
		time.Sleep(100 * time.Millisecond)
		_ = client.Tracker().Add(podNamed("late", "u2", nil)) // the Get below says if it is not there
	}()
	if p, err := pods.Get(t.Context(), "default", "late", "u2"); err != nil || p.UID != "u2" || asked.Load() < 2 {
		t.Errorf("%+v, %v, asked %d times", p, err, asked.Load())
	}
}

// A pod of the same name with another uid is not the pod.
func TestPodOfAnotherUID(t *testing.T) {
	pods := watchPods(t.Context(), fake.NewClientset(podNamed("p", "new", nil)), "n0")
	start := time.Now()
	_, err := pods.Get(t.Context(), "default", "p", "old")
	if err == nil || !strings.Contains(err.Error(),
		"has a pod default/p with the uid new, and the runtime asks for one with old") {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

// The kubelet knows a static pod by the hash of its file, and the API server gives its mirror another uid: the networks
// are the mirror's.
func TestStaticPod(t *testing.T) {
	const hash = "70a2d08f8ad8cd5dfc51ad71fefd1e78"
	mirror := podNamed("static-n0", "u1", map[string]string{staticHash: hash, networksKey: "a"})
	slim, err := slimPod(mirror)
	if err != nil {
		t.Fatal(err)
	}
	for _, kept := range []*corev1.Pod{mirror, slim.(*corev1.Pod)} {
		pods := watchPods(t.Context(), fake.NewClientset(kept), "n0")
		if p, err := pods.Get(t.Context(), "default", "static-n0", hash); err != nil || p.UID != "u1" ||
			p.Networks != "a" {
			t.Errorf("%+v, %v", p, err)
		}
	}
	pods := watchPods(t.Context(), fake.NewClientset(mirror), "n0")
	if _, err := pods.Get(t.Context(), "default", "static-n0", "70a2"); err == nil {
		t.Error("another file's pod is taken for it")
	}
}

// A pod with a floating address gets it by CNI_ARGS; one that was bound past galaxy-ipam is refused, as is one whose
// annotation would smuggle in another argument.
func TestArgsOfPods(t *testing.T) {
	args := func(text string) map[string]string { return map[string]string{kube.AnnotationArgs: text} }
	for _, c := range []struct {
		what string
		pod  *corev1.Pod
		args string
		want string
	}{
		{"no floating address", podNamed("p", "u", args(`{"common":{"ipinfos":[]}}`)), "", ""},
		{"bound by us", floating(podNamed("p", "u", args(`{"common":{"ipinfos":[{"ip":"10.0.0.2/24"}]}}`))),
			`ipinfos=[{"ip":"10.0.0.2/24"}]`, ""},
		{"bound by another", floating(podNamed("p", "u", nil)), "",
			"it was bound by a scheduler that does not ask galaxy-ipam"},
		{"a semicolon in a value", floating(podNamed("p", "u", args(`{"common":{"ipinfos":"a;K8S_POD_NAME=other"}}`))),
			"", "holds a semicolon"},
		{"other keys", floating(podNamed("p", "u",
			args(`{"common":{"K8S_POD_NAME":"x","IP":"10.0.0.9/24","ipinfos":[],"a;b":1}}`))), "ipinfos=[]", ""},
	} {
		kept, err := slimPod(c.pod)
		if err != nil {
			t.Fatal(err)
		}
		got, err := podOf(kept.(*corev1.Pod))
		switch {
		case c.want == "" && (err != nil || got.Args != c.args):
			t.Errorf("%s: args %q, %v, want %q", c.what, got.Args, err, c.args)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}

// What is kept of a pod is all that its networks depend on.
func TestSlimPod(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u1",
		Annotations: map[string]string{
			networksKey: "a,b", kube.AnnotationMasquerade: "false", "other": "x",
		}}}
	slim, err := slimPod(pod)
	if err != nil {
		t.Fatal(err)
	}
	want, err := podOf(pod)
	if err != nil || want.Masquerade != "false" || want.Networks != "a,b" || want.UID != "u1" {
		t.Errorf("%+v, %v", want, err)
	}
	kept := slim.(*corev1.Pod)
	if got, err := podOf(kept); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if len(kept.Annotations) != 2 {
		t.Errorf("kept are %v", kept.Annotations)
	}
}
