package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/proof"
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
	pods := watchPods(t.Context(), client, "n0", unasked)
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
	pods := watchPods(t.Context(), fake.NewClientset(podNamed("p", "new", nil)), "n0", unasked)
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
		pods := watchPods(t.Context(), fake.NewClientset(kept), "n0", unasked)
		if p, err := pods.Get(t.Context(), "default", "static-n0", hash); err != nil || p.UID != "u1" ||
			p.Networks != "a" {
			t.Errorf("%+v, %v", p, err)
		}
	}
	pods := watchPods(t.Context(), fake.NewClientset(mirror), "n0", unasked)
	if _, err := pods.Get(t.Context(), "default", "static-n0", "70a2"); err == nil {
		t.Error("another file's pod is taken for it")
	}
}

// unasked is a verifier that nothing is asked of.
func unasked(context.Context, string, string, []ipam.IPInfo) ([]ipam.IPInfo, error) {
	return nil, errors.New("no proof was to be verified")
}

const shownInfo = `{"ip":"10.0.0.2/24","vlan":3,"gateway":"10.0.0.1"}`

// A pod with a floating address gets what was signed for it, by CNI_ARGS, and nothing else of its annotations. Who shows
// no proof of it, or one that proves something else, is refused in a sentence that says which.
func TestArgsOfPods(t *testing.T) {
	signer, err := proof.NewSigner(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(signer.ID(), signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	sign := func(uid, node, generation string) string {
		text, err := signer.Sign(proof.Binding{Generation: generation, Seq: 7, PodUID: uid, Node: node,
			IPs: []ipam.IPInfo{{IP: netip.MustParsePrefix("10.0.0.2/24"), VLAN: 3, Gateway: netip.MustParseAddr("10.0.0.1")}}})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	pods := &nodePods{verify: func(_ context.Context, uid, text string, shown []ipam.IPInfo) ([]ipam.IPInfo, error) {
		b, err := proof.Ring{signer.ID(): key}.Verify(proof.Claim{Proof: text, IPs: shown, PodUID: uid, Node: "n0",
			Generation: "g2"})
		return b.IPs, err
	}}
	show := func(args, proof string) map[string]string {
		return map[string]string{kube.AnnotationArgs: args, kube.AnnotationProof: proof}
	}
	ours := `{"common":{"ipinfos":[` + shownInfo + `]}}`
	good := sign("u", "n0", "g2")
	for _, c := range []struct {
		what string
		pod  *corev1.Pod
		args string
		want string
		code uint
	}{
		{"no floating address", podNamed("p", "u", show(ours, good)), "", "", 0},
		{"bound by us", floating(podNamed("p", "u", show(ours, good))), "ipinfos=[" + shownInfo + "]", "", 0},
		{"other keys", floating(podNamed("p", "u", show(`{"common":{"K8S_POD_NAME":"x;y","IP":"10.0.0.9/24","ipinfos":[`+
			shownInfo+`],"a;b":1}}`, good))), "ipinfos=[" + shownInfo + "]", "", 0},
		{"bound by another", floating(podNamed("p", "u", nil)), "",
			"it was not bound by galaxy-ipam, or by a release of it that signs none; see that its scheduler asks galaxy-ipam",
			types.ErrInternal},
		{"addresses without a proof", floating(podNamed("p", "u", show(ours, ""))), "", "it was not bound by galaxy-ipam",
			types.ErrInternal},
		{"another pod's", floating(podNamed("p", "u", show(ours, sign("u0", "n0", "g2")))), "",
			"was copied: it is that of the pod with the uid u0, and this one has u", types.ErrInternal},
		{"another node's", floating(podNamed("p", "u", show(ours, sign("u", "n1", "g2")))), "",
			"is for node n1, and this is n0", types.ErrInternal},
		{"a former log's", floating(podNamed("p", "u", show(ours, sign("u", "n0", "g1")))), "",
			"is stale: it is of generation g1 of the log, which is g2 by now", types.ErrTryAgainLater},
		{"another address", floating(podNamed("p", "u", show(strings.Replace(ours, "0.2/24", "0.3/24", 1), good))), "",
			"were edited: galaxy-ipam has signed 10.0.0.2/24 by 10.0.0.1, VLAN 3, and the annotation says 10.0.0.3/24",
			types.ErrInternal},
		{"another VLAN", floating(podNamed("p", "u", show(strings.Replace(ours, `"vlan":3`, `"vlan":4`, 1), good))), "",
			"were edited", types.ErrInternal},
		{"no address", floating(podNamed("p", "u", show(`{"common":{"ipinfos":[]}}`, good))), "",
			"the annotation says none", types.ErrInternal},
		{"no addresses but text", floating(podNamed("p", "u", show(`{"common":{"ipinfos":"a;K8S_POD_NAME=other"}}`, good))),
			"", "annotation k8s.v1.cni.galaxy.io/args", types.ErrInternal},
		{"a long annotation", floating(podNamed("p", "u", show(strings.Repeat(" ", kube.MaxArgs+1), good))), "",
			"at most 16384 are read", types.ErrInternal},
	} {
		kept, err := slimPod(c.pod)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pods.podOf(t.Context(), kept.(*corev1.Pod))
		var failed *types.Error
		switch {
		case c.want == "" && (err != nil || got.Args != c.args):
			t.Errorf("%s: args %q, %v, want %q", c.what, got.Args, err, c.args)
		case c.want != "" && (!errors.As(err, &failed) || failed.Code != c.code || !strings.Contains(failed.Msg, c.want) ||
			!strings.HasPrefix(failed.Msg, "pod default/p requests tke.cloud.tencent.com/eni-ip and gets no address: ")):
			t.Errorf("%s: %v, want code %d and %q", c.what, err, c.code, c.want)
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
	pods := &nodePods{verify: unasked}
	want, err := pods.podOf(t.Context(), pod)
	if err != nil || want.Masquerade != "false" || want.Networks != "a,b" || want.UID != "u1" {
		t.Errorf("%+v, %v", want, err)
	}
	kept := slim.(*corev1.Pod)
	if got, err := pods.podOf(t.Context(), kept); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if len(kept.Annotations) != 2 {
		t.Errorf("kept are %v", kept.Annotations)
	}
}
