package galaxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	api "galaxy/kube/galaxyv1alpha1"
)

// Source names this system in the log.
const Source = "galaxy"

// Objects are what the reference has left.
type Objects struct {
	FloatingIPs []*api.FloatingIP
	Pools       []*api.Pool
	ConfigMaps  []*corev1.ConfigMap // of a file only
}

// pageSize bounds what the API server answers at once.
const pageSize = 500

// Read lists the objects of a cluster. One without the custom resources has none.
func Read(ctx context.Context, client dynamic.Interface) (Objects, error) {
	var o Objects
	floatingIPs, err := list(ctx, client.Resource(api.FloatingIPs))
	if err != nil {
		return o, fmt.Errorf("list FloatingIP objects: %w", err)
	}
	pools, err := list(ctx, client.Resource(api.Pools))
	if err != nil {
		return o, fmt.Errorf("list Pool objects: %w", err)
	}
	for _, u := range append(floatingIPs, pools...) {
		if err := o.add(u); err != nil {
			return o, err
		}
	}
	return o, nil
}

func list(ctx context.Context, of dynamic.NamespaceableResourceInterface) ([]unstructured.Unstructured, error) {
	var all []unstructured.Unstructured
	for page := ""; ; {
		some, err := of.List(ctx, metav1.ListOptions{Limit: pageSize, Continue: page})
		switch {
		case apierrors.IsNotFound(err):
			return nil, nil
		case apierrors.IsResourceExpired(err):
			all, page = nil, "" // it took too long: from the beginning, so that nothing is missed
			continue
		case err != nil:
			return nil, err
		}
		all = append(all, some.Items...)
		if page = some.GetContinue(); page == "" {
			return all, nil
		}
	}
}

// Parse reads objects from a file, as kubectl get -o yaml or -o json writes them. Others than FloatingIPs, Pools and
// ConfigMaps are an error, so that a wrong file is noticed.
func Parse(text []byte) (Objects, error) {
	var o Objects
	in := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for n := 1; ; n++ {
		var u unstructured.Unstructured
		err := in.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return o, nil
		}
		if err != nil {
			return o, fmt.Errorf("document %d: %w", n, err)
		}
		if len(u.Object) == 0 {
			continue
		}
		if err := o.document(u); err != nil {
			return o, fmt.Errorf("document %d: %w", n, err)
		}
	}
}

func (o *Objects) document(u unstructured.Unstructured) error {
	if !u.IsList() {
		return o.add(u)
	}
	return u.EachListItem(func(item runtime.Object) error {
		one, ok := item.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("%T is no object", item)
		}
		return o.add(*one)
	})
}

func (o *Objects) add(u unstructured.Unstructured) error {
	switch kind := u.GetKind(); kind {
	case "FloatingIP":
		return convert(u, &o.FloatingIPs)
	case "Pool":
		return convert(u, &o.Pools)
	case "ConfigMap":
		return convert(u, &o.ConfigMaps)
	default:
		return fmt.Errorf("%s %q: want FloatingIP, Pool and ConfigMap objects, as kubectl get floatingips,pools -A "+
			"-o yaml writes them", kind, u.GetName())
	}
}

func convert[T any](u unstructured.Unstructured, into *[]*T) error {
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed); err != nil {
		return fmt.Errorf("%s %q: %w", u.GetKind(), u.GetName(), err)
	}
	*into = append(*into, typed)
	return nil
}

// ConfigText is the text of floatingip-config in a file's ConfigMap; ok is false if the file has none of that name and
// key.
func (o Objects) ConfigText(namespace, name, key string) (text string, ok bool) {
	for _, m := range o.ConfigMaps {
		if m.Namespace == namespace && m.Name == name {
			text, ok = m.Data[key]
		}
	}
	return text, ok
}

// Former counts the objects that hold addresses of which a log may know nothing. On a log without any event those are
// all, also of an earlier life of this program; later those that no log has written. Reservations by label are read
// from their objects whatever the log knows, and so are none of them.
func (o Objects) Former(empty bool) int {
	n := 0
	for _, f := range o.FloatingIPs {
		if !f.IsReservation() && (empty || !f.ShowsEvent()) {
			n++
		}
	}
	return n
}
