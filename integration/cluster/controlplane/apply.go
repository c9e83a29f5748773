package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Kustomize is what kubectl apply -k would send of a folder of deploy/. Tests run in a folder two below that of this
// module.
func (b *Cluster) Kustomize(folder string) string {
	b.t.Helper()
	root, err := filepath.Abs(filepath.Join("..", "..", "..", "deploy", folder))
	if err != nil {
		b.t.Fatal(err)
	}
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), root)
	if err != nil {
		b.t.Fatalf("kustomize deploy/%s: %v", folder, err)
	}
	text, err := objects.AsYaml()
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// Apply applies manifests in YAML, as kubectl apply --server-side does. Kinds that a CustomResourceDefinition before
// them has only just brought are waited for.
func (b *Cluster) Apply(manifests string) {
	b.t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(manifests)), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			b.t.Fatalf("manifests: %v", err)
		}
		if len(object.Object) == 0 {
			continue // nothing stands between two separators
		}
		b.WaitFor(fmt.Sprintf("apply %s %s", object.GetKind(), object.GetName()), 10*time.Second,
			func(ctx context.Context) error {
				return b.apply(ctx, object)
			})
	}
}

func (b *Cluster) apply(ctx context.Context, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := b.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		b.mapper.Reset()
		return err
	}
	resource := b.Dynamic.Resource(mapping.Resource)
	options := metav1.ApplyOptions{FieldManager: "galaxy-test", Force: true}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		_, err = resource.Apply(ctx, object.GetName(), object, options)
		return err
	}
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	_, err = resource.Namespace(namespace).Apply(ctx, object.GetName(), object, options)
	return err
}
