package mirror_test

import (
	"io/fs"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"galaxy/deploy/crd"
	"galaxy/reconciler/mirror"
)

// served are our definitions as an API server gives them back: with its numbers, and with a default of its own.
func served(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	names, err := fs.Glob(crd.Files, "*galaxy*.yaml")
	if err != nil || len(names) != 2 {
		t.Fatalf("%v, %v", names, err)
	}
	var all []*unstructured.Unstructured
	for _, name := range names {
		text, err := crd.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text, err = yaml.YAMLToJSON(text)
		u := &unstructured.Unstructured{}
		if err == nil {
			err = u.UnmarshalJSON(text)
		}
		if err == nil {
			err = unstructured.SetNestedField(u.Object, "None", "spec", "conversion", "strategy")
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// Definitions that are there as they should be are left alone, so that no right to write them is needed; others are
// brought up to date.
func TestInstall(t *testing.T) {
	for _, c := range []struct {
		what  string
		spoil func(pool *unstructured.Unstructured)
		want  int
	}{
		{"as they should be", func(*unstructured.Unstructured) {}, 0},
		{"another version", func(pool *unstructured.Unstructured) {
			versions, _, _ := unstructured.NestedSlice(pool.Object, "spec", "versions")
			size := versions[0].(map[string]any)
			for _, name := range []string{"schema", "openAPIV3Schema", "properties", "size"} {
				size = size[name].(map[string]any)
			}
			size["maximum"] = int64(7)
			// the object is a map, or the lines above had failed
			_ = unstructured.SetNestedSlice(pool.Object, versions, "spec", "versions")
		}, 1},
	} {
		client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
			map[schema.GroupVersionResource]string{
				{Group: "apiextensions.k8s.io", Version: "v1",
					Resource: "customresourcedefinitions"}: "CustomResourceDefinitionList",
			})
		for _, u := range served(t) {
			if u.GetName() == "pools.galaxy.k8s.io" {
				c.spoil(u)
			}
			if err := client.Tracker().Add(u); err != nil {
				t.Fatal(err)
			}
		}
		applied := 0
		client.PrependReactor("patch", "customresourcedefinitions",
			func(clienttesting.Action) (bool, runtime.Object, error) {
				applied++
				return true, &unstructured.Unstructured{}, nil
			})
		if err := mirror.Install(t.Context(), client); err != nil || applied != c.want {
			t.Errorf("%s: %d were written, %v, want %d", c.what, applied, err, c.want)
		}
	}
}
