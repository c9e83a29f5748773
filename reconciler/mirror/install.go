package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"galaxy/deploy/crd"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1",
	Resource: "customresourcedefinitions"}

// Install brings the custom resources into the cluster, or up to date there, as far as we may: in many clusters that is
// left to administrators.
func Install(ctx context.Context, client dynamic.Interface) error {
	all, err := wanted()
	if err != nil {
		return err
	}
	for _, want := range all {
		have, getErr := client.Resource(definitions).Get(ctx, want.GetName(), metav1.GetOptions{})
		if getErr == nil && upToDate(have, want) {
			continue
		}
		_, applyErr := client.Resource(definitions).Apply(ctx, want.GetName(), want,
			metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
		if applyErr != nil {
			err = errors.Join(err, fmt.Errorf("install %s: %w", want.GetName(), applyErr))
		}
	}
	return err
}

// wanted are the definitions that this program comes with.
func wanted() ([]*unstructured.Unstructured, error) {
	names, err := fs.Glob(crd.Files, "*.yaml")
	if err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for _, name := range names {
		text, err := crd.Files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &u.Object); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, u)
	}
	return all, nil
}

// upToDate reports whether a definition that is there has all that ours has.
func upToDate(have, want *unstructured.Unstructured) bool {
	old, _, oldErr := unstructured.NestedSlice(have.Object, "spec", "versions")
	now, _, nowErr := unstructured.NestedSlice(want.Object, "spec", "versions")
	return oldErr == nil && nowErr == nil && covers(old, now)
}

// covers reports whether a value has all that another has; the API server adds defaults of its own.
func covers(have, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		for name, value := range w {
			if name == "selectableFields" && h[name] == nil {
				continue // an API server before Kubernetes 1.30 drops them, and nothing here needs them
			}
			if !ok || !covers(h[name], value) {
				return false
			}
		}
		return ok
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return false
		}
		for i := range w {
			if !covers(h[i], w[i]) {
				return false
			}
		}
		return true
	default:
		h, isNumber := number(have)
		w, both := number(want)
		return have == want || isNumber && both && h == w
	}
}

// number is a number of whatever type: YAML's are other ones than the API server's.
func number(value any) (n float64, ok bool) {
	switch v := value.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	default:
		return 0, false
	}
}

// installPoll is how often the definitions are looked for.
const installPoll = 500 * time.Millisecond

// AwaitInstalled waits until the API server serves the custom resources, whoever has installed them. It fails only when
// ctx ends.
func AwaitInstalled(ctx context.Context, client dynamic.Interface) error {
	all, err := wanted()
	if err != nil {
		return err
	}
	for _, want := range all {
		for !established(ctx, client, want.GetName()) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(installPoll):
			}
		}
	}
	return nil
}

func established(ctx context.Context, client dynamic.Interface, name string) bool {
	have, err := client.Resource(definitions).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsForbidden(err) {
		return true // we may not look; the informers find out
	}
	if err != nil {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(have.Object, "status", "conditions")
	for _, c := range conditions {
		if condition, ok := c.(map[string]any); ok && condition["type"] == "Established" &&
			condition["status"] == "True" {
			return true
		}
	}
	return false
}
