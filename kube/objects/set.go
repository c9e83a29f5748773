package objects

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

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

type named struct{ namespace, name string }

// Set is what the cluster looked like at one moment. It never changes, and may be used by many goroutines.
type Set struct {
	asOf      time.Time
	knowsPods bool
	count     int

	nodes      map[string]*kube.Node
	pods       map[named]*kube.Pod
	podByUID   map[string]*kube.Pod
	workloads  map[ipam.Owner]allocator.Workload
	pools      map[string]Pool
	configMaps map[named]map[string]string
}

func newSet() *Set {
	return &Set{
		nodes:      map[string]*kube.Node{},
		pods:       map[named]*kube.Pod{},
		podByUID:   map[string]*kube.Pod{},
		workloads:  map[ipam.Owner]allocator.Workload{},
		pools:      map[string]Pool{},
		configMaps: map[named]map[string]string{},
	}
}

// AsOf is when the cluster looked so: what happened later, the Set cannot know.
func (s *Set) AsOf() time.Time { return s.asOf }

// KnowsPods reports whether the source speaks of pods at all. If not, the absence of a pod means nothing.
func (s *Set) KnowsPods() bool { return s.knowsPods }

// Len is the number of objects.
func (s *Set) Len() int { return s.count }

// Pod is a pod by its name, or nil.
func (s *Set) Pod(namespace, name string) *kube.Pod { return s.pods[named{namespace, name}] }

// PodByUID is a pod by its uid, or nil.
func (s *Set) PodByUID(uid string) *kube.Pod { return s.podByUID[uid] }

// Node is a node by its name, or nil.
func (s *Set) Node(name string) *kube.Node { return s.nodes[name] }

// Workload is what is known of the workload of an owner, at app level or below. It does not exist if the source has none.
func (s *Set) Workload(owner ipam.Owner) allocator.Workload { return s.workloads[workloadKey(owner)] }

func workloadKey(owner ipam.Owner) ipam.Owner {
	return ipam.Owner{Kind: owner.Kind, Namespace: owner.Namespace, App: owner.App}
}

// ConfigMap is the data of a ConfigMap; ok is false if there is none.
func (s *Set) ConfigMap(namespace, name string) (data map[string]string, ok bool) {
	data, ok = s.configMaps[named{namespace, name}]
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
		for _, key := range slices.SortedFunc(maps.Keys(s.pods), named.compare) {
			if !yield(s.pods[key]) {
				return
			}
		}
	}
}

// Workloads yields all workloads at app level, by kind, namespace and name.
func (s *Set) Workloads() iter.Seq2[ipam.Owner, allocator.Workload] {
	return func(yield func(ipam.Owner, allocator.Workload) bool) {
		for _, owner := range slices.SortedFunc(maps.Keys(s.workloads), compareApps) {
			if !yield(owner, s.workloads[owner]) {
				return
			}
		}
	}
}

func (n named) compare(m named) int {
	if c := strings.Compare(n.namespace, m.namespace); c != 0 {
		return c
	}
	return strings.Compare(n.name, m.name)
}

func compareApps(a, b ipam.Owner) int {
	if c := strings.Compare(a.Kind, b.Kind); c != 0 {
		return c
	}
	return named{a.Namespace, a.App}.compare(named{b.Namespace, b.App})
}
