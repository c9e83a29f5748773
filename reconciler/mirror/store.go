package mirror

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	api "galaxy/kube/galaxyv1alpha1"
)

// store is what an informer knows of the objects of one resource, as their own type. It remembers which objects
// somebody has withdrawn while we watched: an object that is only absent may have been lost, one that was seen to go
// was meant to.
type store[T metav1.Object] struct {
	client   dynamic.Interface
	resource schema.GroupVersionResource
	convert  func(any) (T, error)
	keyOf    func(T) key
	counts   func(T) bool // whether its going away means something
	changed  func(key)
	synced   cache.InformerSynced

	mu        sync.Mutex
	objects   map[key]map[string]T // by namespace
	withdrawn map[key]bool
}

func newStore[T metav1.Object](client dynamic.Interface, resource schema.GroupVersionResource,
	convert func(any) (T, error), keyOf func(T) key, counts func(T) bool, changed func(key)) *store[T] {
	return &store[T]{
		client: client, resource: resource, convert: convert, keyOf: keyOf, counts: counts, changed: changed,
		objects: map[key]map[string]T{}, withdrawn: map[key]bool{},
	}
}

func toFloatingIP(object any) (*api.FloatingIP, error) { return convert[api.FloatingIP](object) }
func toPool(object any) (*api.Pool, error)             { return convert[api.Pool](object) }

func convert[T any](object any) (*T, error) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("%T is no object", object)
	}
	typed := new(T)
	return typed, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed)
}

// start follows the objects until ctx ends.
func (s *store[T]) start(ctx context.Context) error {
	informer := dynamicinformer.NewFilteredDynamicInformer(s.client, s.resource, metav1.NamespaceAll, 0,
		cache.Indexers{}, nil).Informer()
	if err := informer.SetTransform(withoutManagedFields); err != nil {
		return err
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { s.put(o) },
		UpdateFunc: func(_, o any) { s.put(o) },
		DeleteFunc: func(o any) {
			if tombstone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = tombstone.Obj
			}
			s.drop(o)
		},
	})
	if err != nil {
		return err
	}
	s.synced = registration.HasSynced
	go informer.RunWithContext(ctx)
	return nil
}

// withoutManagedFields drops what takes more room than all the rest.
func withoutManagedFields(object any) (any, error) {
	if u, ok := object.(*unstructured.Unstructured); ok {
		u.SetManagedFields(nil)
	}
	return object, nil
}

func (s *store[T]) wait(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), s.synced)
}

func (s *store[T]) put(object any) {
	now, err := s.convert(object)
	if err != nil {
		return // an object that its schema does not allow
	}
	k := s.keyOf(now)
	s.mu.Lock()
	if s.objects[k] == nil {
		s.objects[k] = map[string]T{}
	}
	was, had := s.objects[k][now.GetNamespace()]
	s.objects[k][now.GetNamespace()] = now
	switch {
	case s.counts(now):
		delete(s.withdrawn, k)
	case had && s.counts(was):
		s.withdrawn[k] = true
	}
	s.mu.Unlock()
	s.changed(k)
}

func (s *store[T]) drop(object any) {
	gone, err := s.convert(object)
	if err != nil {
		return
	}
	k := s.keyOf(gone)
	s.mu.Lock()
	delete(s.objects[k], gone.GetNamespace())
	if len(s.objects[k]) == 0 {
		delete(s.objects, k)
		if s.counts(gone) {
			s.withdrawn[k] = true
		}
	}
	s.mu.Unlock()
	s.changed(k)
}

// get is all objects of a key, in no order. They must not be changed.
func (s *store[T]) get(k key) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]T, 0, len(s.objects[k]))
	for _, o := range s.objects[k] {
		all = append(all, o)
	}
	return all
}

func (s *store[T]) keys() []key {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]key, 0, len(s.objects))
	for k := range s.objects {
		all = append(all, k)
	}
	return all
}

// wasWithdrawn reports whether somebody has taken the object of a key away while we watched.
func (s *store[T]) wasWithdrawn(k key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.withdrawn[k]
}

// settle forgets that an object was withdrawn: it was dealt with.
func (s *store[T]) settle(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.withdrawn, k)
}

// namespaced is the client for objects of a namespace; "" for those without.
func (s *store[T]) namespaced(namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return s.client.Resource(s.resource)
	}
	return s.client.Resource(s.resource).Namespace(namespace)
}

func (s *store[T]) create(ctx context.Context, object T) error {
	u, err := toUnstructured(object)
	if err == nil {
		_, err = s.namespaced(object.GetNamespace()).Create(ctx, u, metav1.CreateOptions{FieldManager: fieldManager})
	}
	return err
}

func (s *store[T]) update(ctx context.Context, object T, subresources ...string) error {
	u, err := toUnstructured(object)
	if err == nil {
		_, err = s.namespaced(object.GetNamespace()).Update(ctx, u, metav1.UpdateOptions{FieldManager: fieldManager},
			subresources...)
	}
	return err
}

// remove deletes the object as it is known, and no other that has come in its place.
func (s *store[T]) remove(ctx context.Context, object T) error {
	uid, version := object.GetUID(), object.GetResourceVersion()
	return s.namespaced(object.GetNamespace()).Delete(ctx, object.GetName(), metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
	})
}

const fieldManager = "galaxy-ipam"

func toUnstructured(object any) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	return &unstructured.Unstructured{Object: content}, err
}
