package scheduler

import (
	"testing"
	"time"

	"galaxy/extender"
	"galaxy/kube"
	"galaxy/kube/objects"
)

// What filter was sent is kept until the cluster knows the pod by itself.
func TestRememberedUntilKnown(t *testing.T) {
	s := New(Config{})
	set, err := objects.Parse([]byte("kind: Pod\nmetadata: {name: known, namespace: ns, uid: u1}\n"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range []*kube.Pod{{Namespace: "ns", Name: "known", UID: "u1"},
		{Namespace: "ns", Name: "known", UID: "u0"}, {Namespace: "ns", Name: "new", UID: "u2"}} {
		s.remember(&args{pod: pod}, extender.NoCluster)
	}
	if s.seen.Len() != 2 {
		t.Fatalf("%d pods are remembered", s.seen.Len())
	}
	s.remember(&args{pod: &kube.Pod{Namespace: "ns", Name: "known", UID: "u1"}}, set)
	if s.seen.Len() != 1 {
		t.Errorf("%d pods are remembered, though the cluster knows one of them", s.seen.Len())
	}
	// made again: the news has not come here yet
	s.remember(&args{pod: &kube.Pod{Namespace: "ns", Name: "known", UID: "u9"}}, set)
	if s.seen.Len() != 2 {
		t.Errorf("%d pods are remembered", s.seen.Len())
	}
}
