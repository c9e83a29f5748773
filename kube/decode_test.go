package kube_test

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestDecodeSamples(t *testing.T) {
	pod, err := kube.DecodePod(read(t, "pod.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := &kube.Pod{
		Namespace: "default", Name: "bench-5f7c5dc5dd-9rmm2", UID: "cb875e67-ad1f-4af2-bf9a-97600f666a35",
		Owner: kube.OwnerRef{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "bench-5f7c5dc5dd",
			Controller: true},
		TemplateHash: "5f7c5dc5dd", Phase: "Pending", Wants: true,
	}
	if !reflect.DeepEqual(pod, want) {
		t.Errorf("pod %+v, want %+v", pod, want)
	}
	node, err := kube.DecodeNode(read(t, "node.json"))
	if err != nil {
		t.Fatal(err)
	}
	if node.Name != "kwok-0007" || node.UID == "" || len(node.IPs) != 1 {
		t.Errorf("node %+v", node)
	}
}

func TestDecodePod(t *testing.T) {
	pod, err := kube.DecodePod([]byte(`{"metadata":{"name":"p","deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":null,
		"ownerReferences":[{"kind":"A","name":"a"},{"kind":"B","name":"b","controller":true},{"kind":"C","name":"c","controller":true}],
		"annotations":{"tke.cloud.tencent.com/eni-ip-pool":"p\u006fol","k8s.v1.cni.galaxy.io/args":"{}"}},
		"spec":{"nodeName":"n","initContainers":[{"resources":{"requests":{"tke.cloud.tencent.com/eni-ip":"1"}}}],
		"containers":[{"resources":{"limits":{"tke.cloud.tencent.com/eni-ip":"1"}}}]},"status":{"phase":"Failed"}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &kube.Pod{
		Namespace: "default", Name: "p", Pool: "pool", Args: "{}",
		Owner: kube.OwnerRef{Kind: "B", Name: "b", Controller: true},
		Node:  "n", Phase: "Failed", Deleting: true,
	}
	if !reflect.DeepEqual(pod, want) || !pod.Finished() {
		t.Errorf("pod %+v, want %+v", pod, want)
	}
}

func TestDecodeNode(t *testing.T) {
	node, err := kube.DecodeNode([]byte(`{"metadata":{"name":"n"},"spec":{"taints":[{"key":"a"},{"effect":"NoExecute","key":"node.kubernetes.io/out-of-service"}]},"status":{"addresses":[{"type":"Hostname","address":"n"},
		{"type":"ExternalIP","address":"1.2.3.4"},{"address":"fd00::1","type":"InternalIP"},{"type":"InternalIP","address":"bad"},
		{"type":"InternalIP","address":"10.0.0.1"},{"type":"InternalIP","address":"10.0.0.2"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if !node.OutOfService {
		t.Error("the taint is not seen")
	}
	if want := []netip.Addr{netip.MustParseAddr("fd00::1"),
		netip.MustParseAddr("10.0.0.1")}; !reflect.DeepEqual(node.IPs, want) {
		t.Errorf("addresses %v, want %v", node.IPs, want)
	}
	for text, want := range map[string]bool{"1.2.3.4": true, "fd00::1": true, "10.0.0.1": true, "10.0.0.2": true,
		"10.0.0.3": false} {
		if got := node.Has(netip.MustParseAddr(text)); got != want {
			t.Errorf("the node has %s: %t", text, got)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                 "metadata.name is missing",
		`[]`:                                 "want an object, have an array",
		`{"metadata":{"name":5}}`:            "metadata.name: want a string, have a number",
		`{"metadata":{"name":"p"}} x`:        "something follows",
		`{"metadata":{"name":"p"}`:           "unexpected EOF",
		`{"spec":{"containers":[{},"x"]}}`:   "spec.containers[1]: want an object, have a string",
		`{"metadata":{"labels":{"a":"\q"}}}`: "invalid escape",
		strings.Repeat(`{"a":`, 20000):       "exceeded max depth",
	} {
		if _, err := kube.DecodePod([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: error %v, want one with %q", text, err, want)
		}
	}
}

// An annotation of ours that is longer than it may be is not kept, and its pod is refused with the reason.
func TestLongArgs(t *testing.T) {
	long := strings.Repeat("x", kube.MaxArgs+1)
	pod, err := kube.DecodePod([]byte(`{"metadata":{"name":"p","annotations":{"k8s.v1.cni.galaxy.io/args":"` + long +
		`"}},"spec":{"containers":[]}}`))
	if err != nil || pod.Args != "" {
		t.Fatalf("%d bytes are kept: %v", len(pod.Args), err)
	}
	if _, err := kube.Request(pod, allocator.Workload{}); err == nil ||
		!strings.Contains(err.Error(), "16385 bytes, and at most 16384") {
		t.Errorf("its request: %v", err)
	}
	built := (&kube.Pod{Namespace: "default", Name: "p", Args: long[1:]}).Bounded()
	if len(built.Args) != kube.MaxArgs {
		t.Errorf("%d bytes are kept of as many as may be", len(built.Args))
	}
}

// What is remembered of a pod is bounded, whatever its author writes; what is too long is refused for its length.
func TestBoundedPod(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	pod, err := kube.DecodePod([]byte(`{"metadata":{"name":"p","namespace":"n","annotations":{"` +
		kube.AnnotationReleasePolicy + `":"` + long + `","` + kube.AnnotationPool + `":"` + long +
		`"},"ownerReferences":[{"apiVersion":"` + long + `","kind":"` + long + `","name":"` + long + `"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(pod.ReleasePolicy) + len(pod.Pool) + len(pod.Owner.APIVersion) + len(pod.Owner.Kind) + len(pod.Owner.Name); n > 4*(ipam.MaxName+1)+64 {
		t.Errorf("%d bytes of a pod are kept", n)
	}
	if _, err := kube.OwnerOf(pod); err == nil || !strings.Contains(err.Error(), "want at most 253") {
		t.Errorf("the pool: %v", err)
	}
	pod.Pool = ""
	if _, err := kube.OwnerOf(pod); err == nil || !strings.Contains(err.Error(), "ownerReferences") ||
		!strings.Contains(err.Error(), "want at most 253") {
		t.Errorf("the owner: %v", err)
	}
	if kube.PolicyOf(pod) != ipam.ReleaseOnDelete {
		t.Errorf("a policy that is none is %s", kube.PolicyOf(pod))
	}
}

// The other names that are kept of a pod are refused for their length, and so are more addresses than a pod may have.
func TestBoundedPodIsRefused(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	many := addresses("10.1", kube.MaxPodIPs+9, `{"ip":"%s"}`)
	for _, c := range []struct{ text, want string }{
		{`{"metadata":{"name":"p","labels":{"pod-template-hash":"` + long + `"}}}`,
			"metadata.labels[pod-template-hash]: it has more than 253 bytes"},
		{`{"metadata":{"name":"p"},"spec":{"nodeName":"` + long + `"}}`, "spec.nodeName: it has more than 253 bytes"},
		{`{"metadata":{"name":"p"},"status":{"phase":"` + long + `"}}`, "status.phase: it has more than 253 bytes"},
		{`{"metadata":{"name":"` + long + `"}}`, "want at most 253"},
		{`{"metadata":{"name":"p","namespace":"` + long + `"}}`, "want at most 253"},
		{`{"metadata":{"name":"p","uid":"` + long + `"}}`, "want at most 253"},
		{`{"metadata":{"name":"p"},"status":{"podIPs":[` + many + `]}}`, "status.podIPs: more than 64 addresses"},
	} {
		text, want := c.text, c.want
		pod, err := kube.DecodePod([]byte(text))
		if err != nil {
			t.Fatalf("%.60s: %v", text, err)
		}
		kept := len(pod.Namespace + pod.Name + pod.UID + pod.Node + pod.Phase + pod.TemplateHash)
		if kept > 300 {
			t.Errorf("%.60s: %d bytes are kept", text, kept)
		}
		if len(pod.IPs) > kube.MaxPodIPs+1 {
			t.Errorf("%.60s: %d addresses are kept", text, len(pod.IPs))
		}
		if _, err := kube.OwnerOf(pod); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
}

// A proof is kept of a pod that asks for addresses, if it is no longer than one may be.
func TestProofIsBounded(t *testing.T) {
	const most = 16 << 10
	for _, c := range []struct{ length, wants, kept int }{{most, 1, most}, {most + 1, 1, 0}, {1, 0, 0}, {0, 1, 0}} {
		requests := ""
		if c.wants > 0 {
			requests = `"` + kube.ResourceIP + `":"1"`
		}
		pod, err := kube.DecodePod([]byte(`{"metadata":{"name":"p","namespace":"n","annotations":{"` + kube.AnnotationProof +
			`":"` + strings.Repeat("x", c.length) + `"}},"spec":{"containers":[{"resources":{"requests":{` + requests + `}}}]}}`))
		if err != nil {
			t.Fatal(err)
		}
		if len(pod.Proof) != c.kept {
			t.Errorf("%+v: %d bytes are kept", c, len(pod.Proof))
		}
	}
}

// A pod may have as many addresses as are kept.
func TestAsManyAddressesAsMayBe(t *testing.T) {
	pod, err := kube.DecodePod([]byte(`{"metadata":{"name":"p","namespace":"n"},"status":{"podIPs":[` +
		addresses("10.1", kube.MaxPodIPs, `{"ip":"%s"}`) + `]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kube.OwnerOf(pod); err != nil || len(pod.IPs) != kube.MaxPodIPs {
		t.Errorf("%d addresses, %v", len(pod.IPs), err)
	}
}

// What is remembered of a node is bounded: its main addresses stay wherever they stand, and others are not its own
// beyond a number of them.
func TestBoundedNode(t *testing.T) {
	many := addresses("10.1", 2*kube.MaxFurther, `{"type":"ExternalIP","address":"%s"}`)
	node, err := kube.DecodeNode([]byte(`{"metadata":{"name":"n"},"status":{"addresses":[` + many + `,` + many +
		`,{"type":"InternalIP","address":"10.0.0.1"},{"type":"InternalIP","address":"fd00::1"},` +
		`{"type":"InternalIP","address":"10.0.0.2"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(node.IPs) != 2 || len(node.Further) != kube.MaxFurther {
		t.Errorf("%d and %d addresses are kept", len(node.IPs), len(node.Further))
	}
	for text, want := range map[string]bool{
		"10.0.0.1": true, "fd00::1": true, "10.1.0.0": true, "10.1.0.127": false, "10.0.0.2": false,
	} {
		if got := node.Has(netip.MustParseAddr(text)); got != want {
			t.Errorf("the node has %s: %t", text, got)
		}
	}
	long := strings.Repeat("x", 1<<20)
	for text, want := range map[string]string{
		`{"metadata":{"name":"` + long + `"}}`:           "metadata.name: it has more than 253 bytes",
		`{"metadata":{"name":"n","uid":"` + long + `"}}`: "metadata.uid: it has more than 253 bytes",
	} {
		if _, err := kube.DecodeNode([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", text, err, want)
		}
	}
}

// addresses are n addresses under the first two bytes of one, each in a form, with commas between them.
func addresses(under string, n int, form string) string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf(form, fmt.Sprintf("%s.%d.%d", under, i/256, i%256))
	}
	return strings.Join(texts, ",")
}
