package objects_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube/objects"
)

func TestLoad(t *testing.T) {
	set, err := objects.Load("testdata/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if n := set.Node("node1"); n == nil || n.UID != "n1" || len(n.IPs) != 1 {
		t.Errorf("node %+v", n)
	}
	pod := set.Pod("ns1", "web-0")
	if pod == nil || !pod.Wants || pod.Node != "node1" || pod.ReleasePolicy != "immutable" ||
		set.PodByUID("p0") != pod || !set.KnowsPods() {
		t.Errorf("pod %+v", pod)
	}
	for app, want := range map[ipam.Owner]allocator.Workload{
		{Kind: "statefulset", Namespace: "ns1", App: "web", Pod: "web-5"}: {Exists: true, Scales: true, Replicas: 3,
			Start: 5},
		{Kind: "deployment", Namespace: "ns1", App: "dp", Pool: "whatever"}: {Exists: true, Scales: true, Replicas: 1},
		{Kind: "replicaset", Namespace: "ns1", App: "dp-1"}:                 {Exists: true, Scales: true},
		{Kind: "tapp", Namespace: "ns1", App: "t"}:                          {Exists: true, Scales: true, Replicas: 2},
		{Kind: "job", Namespace: "ns1", App: "j"}:                           {Exists: true},
		{Kind: "job", Namespace: "ns2", App: "j"}:                           {},
	} {
		if got := set.Workload(app); got != want {
			t.Errorf("workload of %v: %+v, want %+v", app, got, want)
		}
	}
	if pools := slices.Collect(set.Pools()); len(pools) != 1 ||
		pools[0] != (objects.Pool{Name: "p1", Size: 4, PreAllocate: true}) {
		t.Errorf("pools %+v", pools)
	}
	if data, ok := set.ConfigMap("kube-system", "floatingip-config"); !ok ||
		!strings.Contains(data["floatingips"], "10.1.0.9") {
		t.Errorf("config map %v", data)
	}
	if set.Len() != 9 {
		t.Errorf("%d objects, want 9", set.Len())
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a: b": "document 1: kind is missing",
		"kind: Pod\n---\nkind: Pod\nmetadata: {name: x}": "document 1, Pod: metadata.name is " +
			"missing",
		"kind: Node\nmetadata: {name: a}\n---\nkind: Pod\nmetadata: [1]": "document 2: metadata: want an " +
			"object, have an array",
		"kind: Pod\nmetadata: {name: x}\nspec: {containers: {}}": "document 1, Pod x: " +
			"spec.containers: want an array, have an object",
		"kind: Pod\nmetadata: {name: 5}": "document 1: metadata.name: want a " +
			"string, have a number",
		"kind: List\nitems:\n- kind: Pod\n  metadata: {namespace: ns}": "document 1, items[0], Pod ns/: " +
			"metadata.name is missing",
		"kind: Pool\nmetadata: {name: p}\nsize: many": "document 1, Pool p: size: want a " +
			"whole number that fits, have a string",
		"kind: Pool\nmetadata: {name: p}": "document 1, Pool p: size: want a " +
			"number",
		"kind: Pool\nmetadata: {name: p}\nsize: -1": "size: want a number",
		"kind: Deployment\nmetadata: {name: d}\nspec: {replicas: -1}": "document 1, Deployment d: " +
			"spec.replicas: -1 is out of range",
		"kind: Deployment\nmetadata: {name: d}\nspec: {replicas: x}": "spec.replicas: want a whole number " +
			"that fits, have a string",
		"kind: Node\nmetadata: {name: a}\n---\nkind: Node\nmetadata: {name: a}": "the same node stands earlier",
		"kind: Configmap\nmetadata: {name: c}":                                  `kind "Configmap": want ConfigMap`,
		"kind: Pod\nkind: Pod":                                                  "document 1",
		"\tkind: Pod":                                                           "document 1",
		`{"kind":"Node","metadata":{"name":"a"}}{"kind":`:                       "document 2",
		"kind: ConfigMap\nmetadata: {name: c}\ndata: {a: [1]}": "ConfigMap c: data: want a string, " +
			"have an array",
	} {
		if _, err := objects.Parse([]byte(text), time.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func TestLists(t *testing.T) {
	set, err := objects.Parse([]byte(`{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}`), time.Now())
	if err != nil || set.Pod("default", "a") == nil || set.Pod("default", "b") == nil {
		t.Errorf("a typed list: %+v, %v", set, err)
	}
	set, err = objects.Parse([]byte("kind: PodList\nitems: []"), time.Now())
	if err != nil || !set.KnowsPods() {
		t.Errorf("an empty list of pods says nothing of pods: %v", err)
	}
	set, err = objects.Parse([]byte("kind: Node\nmetadata: {name: node1}"), time.Now())
	if err != nil || set.KnowsPods() {
		t.Errorf("a file without pods speaks of pods: %v", err)
	}
}

func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "objects.yaml")
	write := func(text string) { // as careful tools do: whole or not at all
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := objects.Open(path); err == nil {
		t.Fatal("open a file that is not there: no error")
	}
	write("kind: Node\nmetadata: {name: a}")
	store, err := objects.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	changed, cancel := store.Subscribe()
	defer cancel()
	ctx, stop := context.WithCancel(context.Background())
	errs, ended := make(chan error, 10), make(chan struct{})
	go func() {
		defer close(ended)
		store.Watch(ctx, 5*time.Millisecond, func(err error) { errs <- err })
	}()
	await := func() {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(5 * time.Second):
			t.Fatal("no change")
		}
	}
	write("kind: Node\nmetadata: {name: b}") // same size
	await()
	if store.Set().Node("b") == nil {
		t.Error("the change is not there")
	}
	write("kind: Node\nmetadata: {nam: b}")
	if err := <-errs; err == nil || !strings.Contains(err.Error(), "document 1") {
		t.Errorf("a bad file: %v", err)
	}
	if store.Set().Node("b") == nil {
		t.Error("a bad file has replaced a good one")
	}
	write("")
	if err := <-errs; err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; err == nil {
		t.Error("no file: no error")
	}
	write("kind: Node\nmetadata: {name: b}")
	await()
	if err := <-errs; err != nil {
		t.Errorf("good again: %v", err)
	}
	stop()
	<-ended
	if len(errs) != 0 {
		t.Errorf("%d more errs, first %v", len(errs), <-errs)
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/cluster.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("--- {}\n---\n- 1\n"))
	f.Add([]byte(`{"kind":"List","items":[{"kind":"List","items":[null,1]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := objects.Parse(text, time.Time{})
		if (set == nil) != (err != nil) {
			t.Errorf("set %v, error %v", set, err)
		}
	})
}
