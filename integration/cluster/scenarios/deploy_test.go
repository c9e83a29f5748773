package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"galaxy/integration/cluster/binaries"
	"galaxy/integration/cluster/controlplane"
)

// An API server takes the manifests as kustomize renders them. Those for an etcd that is there already give three
// replicas on different nodes; the others give a StatefulSet with a volume for each member, and no Deployment beside
// it.
func TestManifests(t *testing.T) {
	t.Parallel()
	b := controlplane.Start(t, controlplane.Options{})
	b.MakeNodes(4, controlplane.NodeOptions{})
	base := b.Kustomize("base")
	checkFlags(t, "base", base)
	b.Apply(base)
	pods := b.WaitPodsRunning("kube-system", "app=galaxy-ipam", 3, time.Minute)
	nodes := map[string]bool{}
	for i := range pods {
		nodes[pods[i].Spec.NodeName] = true
	}
	if len(nodes) != 3 {
		t.Errorf("three replicas run on %d nodes", len(nodes))
	}
	mayRead(t, b, "system:serviceaccount:kube-system:galaxy-ipam")
	budget, err := b.Client.PolicyV1().PodDisruptionBudgets("kube-system").Get(t.Context(), "galaxy-ipam",
		metav1.GetOptions{})
	if err != nil || budget.Spec.Selector == nil {
		t.Errorf("the PodDisruptionBudget: %v", err)
	}

	former := b.Kustomize("former")
	if !strings.Contains(former, "--insecure-ports") || strings.Contains(former, "galaxy-tls") ||
		strings.Contains(former, "scheme: HTTPS") {
		t.Error("deploy/former has TLS, which the scheduler of a former release does not speak")
	}
	checkFlags(t, "former", former)
	b.Apply(former) // for who comes from a release whose Service had these
	service, err := b.Client.CoreV1().Services("kube-system").Get(t.Context(), "galaxy-ipam", metav1.GetOptions{})
	if err != nil || len(service.Spec.Ports) != 2 || service.Spec.Ports[0].NodePort != 32760 ||
		service.Spec.Ports[1].NodePort != 32761 {
		t.Errorf("deploy/former does not keep the NodePorts: %v %+v", err, service.Spec.Ports)
	}

	embedded := b.Kustomize("embedded")
	checkFlags(t, "embedded", embedded)
	for _, secure := range []string{base, embedded} {
		if strings.Contains(secure, "http://") || strings.Count(secure, "scheme: HTTPS") != 3 ||
			strings.Contains(secure, "insecure") {
			t.Error("deploy/base or deploy/embedded is not under TLS")
		}
	}
	if strings.Contains(embedded, "kind: Deployment") {
		t.Error("deploy/embedded still has the Deployment of deploy/base")
	}
	if err := b.Client.AppsV1().Deployments("kube-system").Delete(t.Context(), "galaxy-ipam",
		metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.WaitPodsGone("kube-system", "app=galaxy-ipam", time.Minute)
	b.Apply(embedded)
	b.WaitFor("the StatefulSet has made its pods and asked for their volumes", time.Minute,
		func(ctx context.Context) error {
			set, err := b.Client.AppsV1().StatefulSets("kube-system").Get(ctx, "galaxy-ipam", metav1.GetOptions{})
			if err != nil {
				return err
			}
			return membersMade(ctx, b, set)
		})
}

// mayRead makes sure that galaxy-ipam may look at every kind of Kubernetes' own workloads: whose pods it sees, it looks
// for.
func mayRead(t *testing.T, b *controlplane.Cluster, user string) {
	t.Helper()
	for _, resource := range []string{"apps/deployments", "apps/statefulsets", "apps/replicasets", "apps/daemonsets",
		"batch/jobs", "/replicationcontrollers"} {
		for _, verb := range []string{"list", "watch"} {
			group, name, _ := strings.Cut(resource, "/")
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{Group: group, Resource: name,
					Verb: verb},
			}}
			if response, err := b.Client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review,
				metav1.CreateOptions{}); err != nil || !response.Status.Allowed {
				t.Errorf("%s may not %s %s: %v", user, verb, resource, err)
			}
		}
	}
}

var ipamArguments = regexp.MustCompile(`(?s)- args:\n(.*?)\n {8}\w`)

var etcdEndpoints = regexp.MustCompile(`GALAXY_ETCD_ENDPOINTS: (\S+)`)

// checkFlags has galaxy-ipam itself judge the flags that a manifest gives it: it gets as far as its config file, which
// is not there.
func checkFlags(t *testing.T, folder, manifest string) {
	t.Helper()
	found := ipamArguments.FindStringSubmatch(manifest)
	if found == nil {
		t.Fatalf("deploy/%s: there are no args", folder)
	}
	var args []string
	for line := range strings.Lines(found[1]) {
		arg := strings.TrimPrefix(strings.TrimSpace(line), "- ")
		if endpoints := etcdEndpoints.FindStringSubmatch(manifest); endpoints != nil { // as a kubelet puts them in
			arg = strings.ReplaceAll(arg, "$(GALAXY_ETCD_ENDPOINTS)", endpoints[1])
		}
		args = append(args, arg)
	}
	missing := filepath.Join(t.TempDir(), "none.json")
	out, err := exec.Command(controlplane.Galaxy(t, "galaxy-ipam"),
		append(args, "--config", missing)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), missing) {
		t.Errorf("deploy/%s: %v: %s; flags %q", folder, err, out, args)
	}
}

// The manifests of the agent put one on every node, whatever its taints, with the configuration under the names that
// are documented; those of the overlay name the networks to galaxy-ipam, too.
func TestAgentManifests(t *testing.T) {
	t.Parallel()
	b := controlplane.Start(t,
		controlplane.Options{Arguments: map[string][]string{binaries.APIServer: {"--allow-privileged=true"}}})
	linux := map[string]string{corev1.LabelOSStable: "linux"} // as a kubelet says
	b.MakeNodes(2, controlplane.NodeOptions{Labels: linux})
	b.MakeNodes(1, controlplane.NodeOptions{Prefix: "tainted-", Labels: linux,
		Taints: []corev1.Taint{{Key: "whatever", Effect: corev1.TaintEffectNoExecute}}})
	overlay := b.Kustomize("overlay")
	b.Apply(overlay)
	b.WaitPodsRunning("kube-system", "app=galaxy", 3, time.Minute)
	for name, key := range map[string]string{"galaxy-etc": "galaxy.json", "cni-etc": "00-galaxy.conf"} {
		config, err := b.Client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || !json.Valid([]byte(config.Data[key])) {
			t.Errorf("ConfigMap %s: %v, its %s is %q", name, err, key, config.Data[key])
		}
	}
	if !strings.Contains(overlay, `"cidr": "10.244.0.0/16"`) || strings.Count(overlay, "name: galaxy-ipam-etc-") < 2 {
		t.Error("deploy/overlay does not tell galaxy-ipam of the networks")
	}
	client := b.ClientFor(b.ServiceAccountKubeconfig("kube-system", "galaxy"))
	if _, err := client.CoreV1().Pods("").List(t.Context(),
		metav1.ListOptions{FieldSelector: "spec.nodeName=node-0"}); err != nil {
		t.Errorf("the agent may not see the pods of its node: %v", err)
	}
	if _, err := client.CoreV1().Secrets("kube-system").List(t.Context(),
		metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the agent lists Secrets: %v, want it forbidden", err)
	}
	if err := client.CoreV1().Pods("kube-system").DeleteCollection(t.Context(), metav1.DeleteOptions{},
		metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the agent deletes pods: %v, want it forbidden", err)
	}
	agentsAnnotate(t, b)
}

// agentsAnnotate lets an agent annotate the pods of its own node, and nothing else.
func agentsAnnotate(t *testing.T, b *controlplane.Cluster) {
	t.Helper()
	pods, err := b.Client.CoreV1().Pods("kube-system").List(t.Context(),
		metav1.ListOptions{LabelSelector: "app=galaxy"})
	if err != nil || len(pods.Items) < 2 {
		t.Fatalf("agents: %v", err)
	}
	own, other := &pods.Items[0], &pods.Items[1]
	agent, anybody := b.ClientFor(b.PodKubeconfig("galaxy", own)),
		b.ClientFor(b.ServiceAccountKubeconfig("kube-system", "galaxy"))
	const annotate = `{"metadata":{"annotations":{"k8s.v1.cni.cncf.io/network-status":"[]"}}}`
	b.WaitFor("the agent annotates a pod of its node", 20*time.Second, func(ctx context.Context) error {
		// What admits it is known to the API server a moment after it was applied.
		if _, err := anybody.CoreV1().Pods(own.Namespace).Patch(ctx, own.Name, types.MergePatchType, []byte(annotate),
			metav1.PatchOptions{}, "status"); err == nil {
			return errors.New("a token that names no node annotates pods")
		}
		_, err := agent.CoreV1().Pods(own.Namespace).Patch(ctx, own.Name, types.MergePatchType, []byte(annotate),
			metav1.PatchOptions{}, "status")
		return err
	})
	for _, c := range []struct {
		what, patch, part string
		pod               *corev1.Pod
	}{
		{"a pod of another node", annotate, "status", other},
		{"the status of a pod", `{"status":{"phase":"Failed"}}`, "status", own},
		{"a pod's labels and all", `{"metadata":{"labels":{"app":"other"}}}`, "", own},
	} {
		var parts []string
		if c.part != "" {
			parts = append(parts, c.part)
		}
		if _, err := agent.CoreV1().Pods(c.pod.Namespace).Patch(t.Context(), c.pod.Name, types.MergePatchType,
			[]byte(c.patch), metav1.PatchOptions{}, parts...); err == nil {
			t.Errorf("the agent writes %s", c.what)
		}
	}
	if now, err := b.Client.CoreV1().Pods(own.Namespace).Get(t.Context(), own.Name, metav1.GetOptions{}); err != nil ||
		now.Annotations["k8s.v1.cni.cncf.io/network-status"] != "[]" {
		t.Errorf("the annotation is not there: %v", err)
	}
}

// membersMade asks for three pods, each with a volume of its own. Nobody provides volumes here, so that they do not
// run.
func membersMade(ctx context.Context, b *controlplane.Cluster, set *appsv1.StatefulSet) error {
	claims, err := b.Client.CoreV1().PersistentVolumeClaims("kube-system").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if set.Status.Replicas != 3 || len(claims.Items) != 3 {
		return fmt.Errorf("there are %d pods and %d volumes", set.Status.Replicas, len(claims.Items))
	}
	return nil
}
