package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/kube"
)

// What is kept of a pod is all that its networks depend on.
func TestSlimPod(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u1", Annotations: map[string]string{
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
