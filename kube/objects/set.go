package objects

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
)

// Pool is a Pool object (galaxy.k8s.io).
type Pool struct {
	Name        string
	Size        int
	PreAllocate bool
}

// Set is what the cluster looked like at one moment. It never changes, and may be used by many goroutines. What there
// are many of stands in trees that share all but the changed parts with the Set before (see Edit).
type Set struct {
	asOf      time.Time
	knowsPods bool
	count     int

	nodes      map[string]*kube.Node
	pods       *iradix.Tree[*kube.Pod] // by podKey
	podByUID   *iradix.Tree[*kube.Pod]
	shown      *iradix.Tree[[]*kube.Pod] // by shownKey: the pods that show an address
	workloads  *iradix.Tree[app]         // by appKey
	pools      map[string]Pool
	configMaps map[string]map[string]string // by podKey
	kinds      map[string]bool              // kinds of workloads that are watched; nil: what is not here does not exist

	journal journal
}

// app is a workload at app level.
type app struct {
	owner    ipam.Owner
	workload allocator.Workload
}

func newSet() *Set {
	return &Set{
		nodes:      map[string]*kube.Node{},
		pods:       iradix.New[*kube.Pod](),
		podByUID:   iradix.New[*kube.Pod](),
		shown:      iradix.New[[]*kube.Pod](),
		workloads:  iradix.New[app](),
		pools:      map[string]Pool{},
		configMaps: map[string]map[string]string{},
	}
}

// podKey orders by namespace and name. No name of an object has a NUL.
func podKey(namespace, name string) []byte { return []byte(namespace + "\x00" + name) }

func appKey(o ipam.Owner) []byte {
	return []byte(o.Kind + "\x00" + o.Namespace + "\x00" + o.App)
}

// AsOf is when the cluster looked so: what happened later, the Set cannot know.
func (s *Set) AsOf() time.Time { return s.asOf }

// At is the same Set as seen at another time, for a source that is notified of every change.
func (s *Set) At(asOf time.Time) *Set {
	later := *s
	later.asOf = asOf
	return &later
}

// KnowsPods reports whether the source speaks of pods at all. If not, the absence of a pod means nothing.
func (s *Set) KnowsPods() bool { return s.knowsPods }

// Len is the number of objects.
func (s *Set) Len() int { return s.count }

// Pod is a pod by its name, or nil.
func (s *Set) Pod(namespace, name string) *kube.Pod {
	pod, _ := s.pods.Get(podKey(namespace, name))
	return pod
}

// PodByUID is a pod by its uid, or nil.
func (s *Set) PodByUID(uid string) *kube.Pod {
	pod, _ := s.podByUID.Get([]byte(uid))
	return pod
}

// Node is a node by its name, or nil.
func (s *Set) Node(name string) *kube.Node { return s.nodes[name] }

// KnowsNodes reports whether the source speaks of nodes at all.
func (s *Set) KnowsNodes() bool { return len(s.nodes) > 0 }

// Nodes yields all nodes by name.
func (s *Set) Nodes() iter.Seq[*kube.Node] {
	return func(yield func(*kube.Node) bool) {
		for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
			if !yield(s.nodes[name]) {
				return
			}
		}
	}
}

// Workload is what is known of the workload of an owner, at app level or below. It does not exist if the source has
// none, and is unknown if the source does not watch its kind.
func (s *Set) Workload(owner ipam.Owner) allocator.Workload {
	if owner.App == "" {
		return allocator.Workload{}
	}
	if found, ok := s.workloads.Get(appKey(owner)); ok {
		return found.workload
	}
	return allocator.Workload{Unknown: s.kinds != nil && !s.kinds[owner.Kind]}
}

// ConfigMap is the data of a ConfigMap; ok is false if there is none.
func (s *Set) ConfigMap(namespace, name string) (data map[string]string, ok bool) {
	data, ok = s.configMaps[string(podKey(namespace, name))]
	return data, ok
}

// Pool is a Pool object by its name.
func (s *Set) Pool(name string) (Pool, bool) {
	p, ok := s.pools[name]
	return p, ok
}

// Pools yields the Pool objects by name.
func (s *Set) Pools() iter.Seq[Pool] {
	return func(yield func(Pool) bool) {
		for _, name := range slices.Sorted(maps.Keys(s.pools)) {
			if !yield(s.pools[name]) {
				return
			}
		}
	}
}

// Pods yields all pods, by namespace and name.
func (s *Set) Pods() iter.Seq[*kube.Pod] {
	return func(yield func(*kube.Pod) bool) {
		s.pods.Root().Walk(func(_ []byte, pod *kube.Pod) bool { return !yield(pod) })
	}
}

// Workloads yields all workloads at app level, by kind, namespace and name.
func (s *Set) Workloads() iter.Seq2[ipam.Owner, allocator.Workload] {
	return func(yield func(ipam.Owner, allocator.Workload) bool) {
		s.workloads.Root().Walk(func(_ []byte, a app) bool { return !yield(a.owner, a.workload) })
	}
}

func splitPodKey(key string) (namespace, name string) {
	namespace, name, _ = strings.Cut(key, "\x00")
	return namespace, name
}
