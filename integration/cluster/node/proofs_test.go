package node_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"galaxy/integration/cluster/controlplane"
)

const (
	argsKey  = "k8s.v1.cni.galaxy.io/args"
	proofKey = "k8s.v1.cni.galaxy.io/proof"
)

// floating is a web pod that asks for a floating address.
func floating(p *corev1.PodTemplateSpec) {
	web(p)
	controlplane.WithAddress()(p)
}

// provenAddresses: a pod that galaxy-ipam has bound is served; one that was bound past it is not, whatever it shows, and
// says why where people look. What runs stays proven when the keys are taken away.
func provenAddresses(l *harness) {
	l.Apply(`{apiVersion: v1, kind: ConfigMap, metadata: {name: floatingip-config, namespace: kube-system}, data: {floatingips:
  '[{"nodeSubnets":["10.99.0.0/16"],"ips":["10.98.0.2~10.98.0.9"],"subnet":"10.98.0.0/24","gateway":"10.98.0.1"}]'}}`)
	// A kubelet refuses for good what its Node has no room for, as it knew it a moment ago.
	l.WaitFor("the node shows that it has addresses", time.Minute, func(ctx context.Context) error {
		node, err := l.Client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if quantity := node.Status.Allocatable[controlplane.Resource]; quantity.IsZero() {
			return fmt.Errorf("it shows that it has none")
		}
		return nil
	})
	time.Sleep(2 * time.Second) // until the kubelet has it, too
	l.Create(controlplane.NewPod("default", "honest", floating))
	honest := l.readyPods("honest", 1)[0]
	if honest.Annotations[proofKey] == "" || !strings.Contains(honest.Annotations[argsKey], `"ip":"10.98.0.2/24"`) {
		l.t.Fatalf("the pod shows %v", honest.Annotations)
	}
	forger := func(name string, annotations map[string]string) {
		pod := controlplane.NewPod("default", name, floating)
		pod.Spec.NodeName, pod.Annotations = nodeName, annotations
		l.Create(pod)
	}
	forger("unsigned", map[string]string{argsKey: honest.Annotations[argsKey]})
	forger("copied", maps.Clone(honest.Annotations))
	forger("bare", nil)
	for name, want := range map[string]string{
		"unsigned": "pod default/unsigned requests tke.cloud.tencent.com/eni-ip and gets no address: there is no proof of " +
			"its addresses",
		"copied": "the proof of its addresses was copied: it is that of the pod with the uid " + string(honest.UID),
		"bare":   "it was not bound by galaxy-ipam",
	} {
		l.refused(name, want)
	}
	l.taken(&honest)
	for _, name := range []string{"honest", "unsigned", "copied", "bare"} {
		now := int64(0)
		if err := l.Client.CoreV1().Pods("default").Delete(l.t.Context(), name,
			metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			l.t.Fatal(err)
		}
		l.WaitPodsGone("default", controlplane.Selector(name), 3*time.Minute)
	}
}

// refused waits until the kubelet shows on a pod why it gets no network.
func (l *harness) refused(name, want string) {
	l.t.Helper()
	l.WaitFor("an Event of pod "+name, 2*time.Minute, func(ctx context.Context) error {
		events, err := l.Client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: fields.Set{
			"involvedObject.name": name, "reason": "FailedCreatePodSandBox"}.AsSelector().String()})
		if err != nil {
			return err
		}
		for i := range events.Items {
			if strings.Contains(events.Items[i].Message, want) {
				return nil
			}
		}
		return fmt.Errorf("%d events, none of which says %q", len(events.Items), want)
	})
}

// deleteKeys takes the public keys of galaxy-ipam away, as an administrator does who believes one to be stolen.
func (l *harness) deleteKeys() {
	l.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{l.GalaxyEtcdURL}, Logger: zap.NewNop(),
		DialTimeout: 5 * time.Second, Username: "root", Password: l.password("root")})
	if err != nil {
		l.t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // every request was answered
	response, err := client.Delete(l.t.Context(), "/galaxy/v1/key/", clientv3.WithPrefix())
	if err != nil || response.Deleted == 0 {
		l.t.Fatalf("%d keys deleted: %v", response.Deleted, err)
	}
}

// taken takes all keys away, and waits until a pod is proven by another.
func (l *harness) taken(pod *corev1.Pod) {
	l.t.Helper()
	l.deleteKeys()
	l.WaitFor("another proof of the pod's addresses", 3*time.Minute, func(ctx context.Context) error {
		now, err := l.Client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if now.Annotations[proofKey] == pod.Annotations[proofKey] {
			return fmt.Errorf("it is the one by the key that was taken away")
		}
		if now.Annotations[argsKey] != pod.Annotations[argsKey] {
			return fmt.Errorf("its addresses are others: %s", now.Annotations[argsKey])
		}
		return nil
	})
}
