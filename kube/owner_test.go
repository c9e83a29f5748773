package kube_test

import (
	"testing"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
)

func TestOwnerOf(t *testing.T) {
	ref := func(kind, name string) kube.OwnerRef { return kube.OwnerRef{Kind: kind, Name: name, Controller: true} }
	long := "d23456789-123456789-123456789-123456789-123456789-123456789-123" // 63 characters
	for name, c := range map[string]struct {
		pod  kube.Pod
		want ipam.Owner
		key  string
	}{
		"deployment": {
			kube.Pod{Namespace: "default", Name: "web-7df5-58hjm", Owner: ref("ReplicaSet", "web-7df5"),
				TemplateHash: "7df5"},
			ipam.Owner{Kind: "deployment", Namespace: "default", App: "web", Pod: "web-7df5-58hjm"},
			"dp_default_web_web-7df5-58hjm",
		},
		"deployment with dashes and a number": {
			kube.Pod{Namespace: "ns1", Name: "dp2-1-1-2", Owner: ref("ReplicaSet", "dp2-1-1"), TemplateHash: "1"},
			ipam.Owner{Kind: "deployment", Namespace: "ns1", App: "dp2-1", Pod: "dp2-1-1-2"}, "dp_ns1_dp2-1_dp2-1-1-2",
		},
		"deployment whose pods have names cut short": {
			kube.Pod{Namespace: "ns1", Name: long[:58] + "xkl2p", Owner: ref("ReplicaSet", long+"-69fc7d8597"),
				TemplateHash: "69fc7d8597"},
			ipam.Owner{Kind: "deployment", Namespace: "ns1", App: long, Pod: long[:58] + "xkl2p"}, "",
		},
		"deployment in a pool": {
			kube.Pod{Namespace: "ns1", Name: "dp-xxx-yyy", Pool: "pl1", Owner: ref("ReplicaSet", "dp-xxx"),
				TemplateHash: "xxx"},
			ipam.Owner{Kind: "deployment", Namespace: "ns1", App: "dp", Pod: "dp-xxx-yyy", Pool: "pl1"},
			"pool__pl1_dp_ns1_dp_dp-xxx-yyy",
		},
		"bare replicaset": {
			kube.Pod{Namespace: "ns1", Name: "baddp-2", Owner: ref("ReplicaSet", "baddp")},
			ipam.Owner{Kind: "replicaset", Namespace: "ns1", App: "baddp", Pod: "baddp-2"}, "",
		},
		"replicaset with another hash": {
			kube.Pod{Namespace: "ns1", Name: "web-1-x", Owner: ref("ReplicaSet", "web-1"), TemplateHash: "2"},
			ipam.Owner{Kind: "replicaset", Namespace: "ns1", App: "web-1", Pod: "web-1-x"}, "",
		},
		"statefulset": {
			kube.Pod{Namespace: "ns1", Name: "sts-1", Owner: ref("StatefulSet", "sts")},
			ipam.Owner{Kind: "statefulset", Namespace: "ns1", App: "sts", Pod: "sts-1"}, "sts_ns1_sts_sts-1",
		},
		"custom kind": {
			kube.Pod{Namespace: "ns1", Name: "t-0", Owner: ref("TApp", "t")},
			ipam.Owner{Kind: "tapp", Namespace: "ns1", App: "t", Pod: "t-0"}, "tapp_ns1_t_t-0",
		},
		"no owner": {
			kube.Pod{Namespace: "ns1", Name: "pod1"}, ipam.Owner{Namespace: "ns1", Pod: "pod1"}, "NULL_ns1_NULL_pod1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := kube.OwnerOf(&c.pod)
			if err != nil || got != c.want {
				t.Fatalf("OwnerOf: %+v, %v, want %+v", got, err, c.want)
			}
			if c.key != "" && got.String() != c.key {
				t.Errorf("key %q, want %q", got, c.key)
			}
		})
	}
	if _, err := kube.OwnerOf(&kube.Pod{Name: "p", Owner: kube.OwnerRef{Kind: "Job"}}); err == nil {
		t.Error("an owner without a name: no error")
	}
}

func TestRequest(t *testing.T) {
	pod := &kube.Pod{
		Namespace: "ns1", Name: "sts-0", UID: "u1", ReleasePolicy: "immutable",
		Owner: kube.OwnerRef{Kind: "StatefulSet", Name: "sts"},
		Args:  `{"request_ip_range":[["10.0.0.200~10.0.0.238"],["10.0.0.60"]]}`,
	}
	w := allocator.Workload{Exists: true, Scales: true, Replicas: 2}
	got, err := kube.Request(pod, w)
	if err != nil {
		t.Fatal(err)
	}
	if got.UID != "u1" || got.Policy != ipam.Immutable || len(got.Ranges) != 2 || got.Workload != w ||
		got.Owner.App != "sts" {
		t.Errorf("Request: %+v", got)
	}
	pod.Args = `{"request_ip_range":[["10.0.0.9~10.0.0.1"]]}`
	if _, err := kube.Request(pod, w); err == nil {
		t.Error("a range that runs backwards: no error")
	}
}
