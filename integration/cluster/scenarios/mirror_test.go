package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"galaxy/integration/cluster/controlplane"
)

var (
	floatingIPs = schema.GroupVersionResource{Group: "galaxy.k8s.io", Version: "v1alpha1", Resource: "floatingips"}
	pools       = schema.GroupVersionResource{Group: "galaxy.k8s.io", Version: "v1alpha1", Resource: "pools"}
)

// mirrored waits until the FloatingIP objects are those of the held addresses, and show their owners.
func (w *harness) mirrored() map[string]*unstructured.Unstructured {
	w.t.Helper()
	objects := map[string]*unstructured.Unstructured{}
	w.WaitFor("the objects show the log", 30*time.Second, func(ctx context.Context) error {
		list, err := w.Dynamic.Resource(floatingIPs).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		clear(objects)
		for i := range list.Items {
			objects[list.Items[i].GetName()] = &list.Items[i]
		}
		held := w.held(func(row) bool { return true })
		if len(held) != len(objects) {
			return fmt.Errorf("%d addresses are held, and %d objects are there", len(held), len(objects))
		}
		for _, r := range held {
			o := objects[r.IP]
			if o == nil {
				return fmt.Errorf("%s has no object", r.IP)
			}
			attribute, _, _ := unstructured.NestedString(o.Object, "spec", "attribute")
			if want := fmt.Sprintf(`{"NodeName":%q,"Uid":%q}`, r.Node, r.PodUID); attribute != want {
				return fmt.Errorf("%s shows %s, want %s", r.IP, attribute, want)
			}
		}
		return nil
	})
	return objects
}

func example(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The log is shown as objects; what somebody edits or deletes is put back; reservations and pools are taken from
// objects.
func TestMirror(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{3, 0, 0}, args: []string{"--pool-namespaces", "kube-system,default"}})
	w.Create(controlplane.NewDeployment("default", "web", 5, controlplane.WithAddress()),
		controlplane.NewStatefulSet("default", "db", 2, controlplane.WithAddress(), immutable()))
	w.running("default", "web", 5)
	w.running("default", "db", 2)
	objects := w.mirrored()
	fips := w.Dynamic.Resource(floatingIPs)

	some := w.ofApp("db")[0].IP
	if _, err := fips.Patch(t.Context(), some, types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"reserved":"mine","other":"stays"}},"spec":{"key":"pool__thief_","policy":0}}`),
		metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.WaitFor("the edit is put back", 20*time.Second, func(ctx context.Context) error {
		o, err := fips.Get(ctx, some, metav1.GetOptions{})
		if err != nil {
			return err
		}
		key, _, _ := unstructured.NestedString(o.Object, "spec", "key")
		was, _, _ := unstructured.NestedString(objects[some].Object, "spec", "key")
		if _, reserved := o.GetLabels()["reserved"]; key != was || reserved || o.GetLabels()["other"] != "stays" {
			return fmt.Errorf("it has the key %s and the labels %v", key, o.GetLabels())
		}
		return nil
	})
	if err := fips.Delete(t.Context(), some, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.mirrored()
	w.selectable()
	w.reservations()
	w.poolObjects()
	w.mirrored()
	w.agree()
	w.rights()
	if out, err := w.Galaxyctl("check", "--recent", "0", "--kubeconfig", w.Kubeconfig(controlplane.Admin),
		"--etcd-endpoints", w.GalaxyEtcdURL); err != nil || !strings.Contains(out, "0 differences") {
		t.Errorf("galaxyctl check: %v\n%s", err, out)
	}
}

// selectable fields find the objects of a node, of a state and of an owner.
func (w *harness) selectable() {
	w.t.Helper()
	fips := w.Dynamic.Resource(floatingIPs)
	all, err := fips.List(w.t.Context(), metav1.ListOptions{})
	if err != nil || len(all.Items) == 0 {
		w.t.Fatalf("%d objects: %v", len(all.Items), err)
	}
	spec := all.Items[0].Object["spec"].(map[string]any)
	for _, field := range []string{"node", "state", "key"} {
		want := 0
		for i := range all.Items {
			if all.Items[i].Object["spec"].(map[string]any)[field] == spec[field] {
				want++
			}
		}
		found, err := fips.List(w.t.Context(), metav1.ListOptions{FieldSelector: fmt.Sprintf("spec.%s=%v", field,
			spec[field])})
		if err != nil || len(found.Items) != want {
			w.t.Errorf("spec.%s=%v: %d objects, want %d: %v", field, spec[field], len(found.Items), want, err)
		}
	}
}

// rights are needed for what changes something over REST, and for nothing else.
func (w *harness) rights() {
	w.t.Helper()
	admin := w.RESTConfig.BearerToken
	defer func() { w.RESTConfig.BearerToken = admin }()
	for token, want := range map[string]int{"": 401, "no-token": 401, w.token("default", "default"): 403, admin: 200} {
		w.RESTConfig.BearerToken = token
		if status, response := w.rest("POST", "/v1/pool", `{"name":"rights","size":0}`); status != want {
			w.t.Errorf("with the token %.10q: %d %s, want %d", token, status, response, want)
		}
		if status, _ := w.rest("GET", "/v1/ip", ""); status != 200 {
			w.t.Errorf("a read with the token %.10q: %d", token, status)
		}
	}
	w.RESTConfig.BearerToken = admin
	w.rest("DELETE", "/v1/pool/rights", "")
}

func (w *harness) token(namespace, account string) string {
	w.t.Helper()
	response, err := w.Client.CoreV1().ServiceAccounts(namespace).CreateToken(w.t.Context(), account,
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return response.Status.Token
}

func (w *harness) reservations() {
	w.t.Helper()
	fips := w.Dynamic.Resource(floatingIPs)
	text := strings.ReplaceAll(example(w.t, "reservation.yaml"), "10.0.70.3", "10.20.7.7")
	state := func(want string) {
		w.t.Helper()
		w.WaitFor("10.20.7.7 is "+want, 20*time.Second, func(ctx context.Context) error {
			rows, err := w.rows(ctx)
			if got := rows["10.20.7.7"].State; err == nil && got != want && !(want == "free" && got == "cooling") {
				err = fmt.Errorf("it is %s", got)
			}
			return err
		})
	}
	w.Apply(text)
	state("reserved")
	if status, response := w.rest("POST", "/v1/ip",
		`{"ips":[{"ip":"10.20.7.7","poolName":"reserved-for-node"}]}`); status != 202 ||
		!strings.Contains(response, "label") {
		w.t.Errorf("a labelled address is released over REST: %d %s", status, response)
	}
	w.mirrored()
	if err := fips.Delete(w.t.Context(), "10.20.7.7", metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
	state("free")
	w.Apply(text)
	state("reserved")
	if _, err := fips.Patch(w.t.Context(), "10.20.7.7", types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"reserved":null}}}`), metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
	state("free")
	w.Apply(strings.ReplaceAll(example(w.t, "reservation.yaml"), "10.0.70.3", "192.0.2.1"))
	w.WaitFor("an address of no subnet is refused", 20*time.Second, func(ctx context.Context) error {
		events, err := w.Client.CoreV1().Events("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.InvolvedObject.Name == "192.0.2.1" && e.Reason == "ReservationRefused" {
				return nil
			}
		}
		return errors.New("nobody says so")
	})
	if err := fips.Delete(w.t.Context(), "192.0.2.1", metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *harness) poolObjects() {
	w.t.Helper()
	pool := func(name, namespace, want string) {
		w.t.Helper()
		w.WaitFor(fmt.Sprintf("pool %s shows %s", name, want), 20*time.Second, func(ctx context.Context) error {
			o, err := w.Dynamic.Resource(pools).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			inForce, _, _ := unstructured.NestedInt64(o.Object, "status", "size")
			held, _, _ := unstructured.NestedInt64(o.Object, "status", "held")
			if got := fmt.Sprintf("size %v, in force %d, held %d", o.Object["size"], inForce, held); got != want {
				return errors.New(got)
			}
			return nil
		})
	}
	w.Apply(example(w.t, "pool.yaml"))
	pool("example-pool", "kube-system", "size 4, in force 4, held 0")
	if _, err := w.Dynamic.Resource(pools).Namespace("kube-system").Patch(w.t.Context(), "example-pool",
		types.MergePatchType, []byte(`{"size":6,"preAllocateIP":true}`), metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
	pool("example-pool", "kube-system", "size 6, in force 6, held 6")
	if status, response := w.rest("POST", "/v1/pool", `{"name":"example-pool","size":2}`); status != 200 {
		w.t.Fatalf("size the pool: %d %s", status, response)
	}
	pool("example-pool", "kube-system", "size 2, in force 2, held 2")
	if status, response := w.rest("POST", "/v1/pool", `{"name":"by-rest","size":1}`); status != 200 {
		w.t.Fatalf("make a pool: %d %s", status, response)
	}
	pool("by-rest", "kube-system", "size 1, in force 1, held 0")
	w.namespace("tenant")
	w.Apply("apiVersion: galaxy.k8s.io/v1alpha1\nkind: Pool\nmetadata: {name: greedy, namespace: tenant}\nsize: " +
		"1000000\npreAllocateIP: true\n")
	w.WaitFor("a pool of a tenant is refused", 20*time.Second, func(ctx context.Context) error {
		events, err := w.events(ctx)
		if err == nil && !slices.ContainsFunc(events,
			func(e corev1.Event) bool { return e.Reason == "PoolIgnored" && e.InvolvedObject.Name == "greedy" }) {
			err = errors.New("nobody says so")
		}
		return err
	})
	if status, response := w.rest("GET", "/v1/pool/greedy", ""); status != 404 {
		w.t.Errorf("the pool of a tenant counts: %d %s", status, response)
	}
	if err := w.Dynamic.Resource(pools).Namespace("kube-system").Delete(w.t.Context(), "example-pool",
		metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
	if status, response := w.rest("DELETE", "/v1/pool/by-rest", ""); status != 200 {
		w.t.Fatalf("delete a pool: %d %s", status, response)
	}
	w.WaitFor("both pools are gone, in the log and as objects", 20*time.Second, func(ctx context.Context) error {
		for _, name := range []string{"example-pool", "by-rest"} {
			if status, response := w.rest("GET", "/v1/pool/"+name, ""); status != 404 {
				return fmt.Errorf("%d %s", status, response)
			}
		}
		_, err := w.Dynamic.Resource(pools).Namespace("kube-system").Get(ctx, "by-rest", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the object is there: %w", err)
		}
		return nil
	})
}
