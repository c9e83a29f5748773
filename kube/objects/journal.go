package objects

import (
	"iter"
	"maps"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
)

// journal is the newest changes that have led to a Set. The Sets of one lineage share its memory: each sees as much of
// it as there was when it was made. So only the newest Set of a lineage may be edited.
type journal struct {
	lineage   *byte // of the Sets that were made by Edit from one another; nil for one that was read from a file
	version   uint64
	forgotten uint64 // changes up to this version may be missing
	recent    []touch
}

// touch is one change: of a pod, of a workload, or of a node.
type touch struct {
	version uint64
	pod     string // podKey, or ""
	node    string
	app     ipam.Owner
}

// Changes that are remembered. Who is further behind compares whole Sets.
const (
	mostRecent  = 1 << 14
	leastRecent = mostRecent / 2
)

func (j journal) after(touched []touch) journal {
	j.version++
	for i := range touched {
		touched[i].version = j.version
	}
	if len(j.recent)+len(touched) > mostRecent {
		cut := max(0, len(j.recent)-leastRecent)
		if cut > 0 {
			j.forgotten = j.recent[cut-1].version
		}
		j.recent = append(make([]touch, 0, mostRecent+len(touched)), j.recent[cut:]...)
	}
	j.recent = append(j.recent, touched...)
	return j
}

// since are the changes after an older Set of the same lineage; ok is false when they are not all remembered.
func (s *Set) since(old *Set) (touched []touch, ok bool) {
	from, to := old.journal, s.journal
	if to.lineage == nil || from.lineage != to.lineage || from.version < to.forgotten || from.version > to.version {
		return nil, false
	}
	first := len(to.recent)
	for first > 0 && to.recent[first-1].version > from.version {
		first--
	}
	return to.recent[first:], true
}

// PodsSince yields the pods of an older Set that are not in this one as they were, by namespace and name where the Sets
// are compared as a whole.
func (s *Set) PodsSince(old *Set) iter.Seq[*kube.Pod] {
	touched, ok := s.since(old)
	if !ok {
		return func(yield func(*kube.Pod) bool) {
			for pod := range old.Pods() {
				if s.Pod(pod.Namespace, pod.Name) != pod && !yield(pod) {
					return
				}
			}
		}
	}
	return func(yield func(*kube.Pod) bool) {
		seen := map[string]bool{}
		for _, t := range touched {
			if t.pod == "" || seen[t.pod] {
				continue
			}
			seen[t.pod] = true
			if pod := old.Pod(splitPodKey(t.pod)); pod != nil && s.Pod(pod.Namespace, pod.Name) != pod && !yield(pod) {
				return
			}
		}
	}
}

// NodesSince are the nodes of an older Set that are not in this one as they were, as they were.
func (s *Set) NodesSince(old *Set) iter.Seq[*kube.Node] {
	return func(yield func(*kube.Node) bool) {
		touched, ok := s.since(old)
		if !ok {
			for node := range old.Nodes() {
				if s.Node(node.Name) != node && !yield(node) {
					return
				}
			}
			return
		}
		seen := map[string]bool{}
		for _, t := range touched {
			if t.node == "" || seen[t.node] {
				continue
			}
			seen[t.node] = true
			if node := old.Node(t.node); node != nil && s.Node(t.node) != node && !yield(node) {
				return
			}
		}
	}
}

// WorkloadsSince are the workloads of an older Set that this one says something else of.
func (s *Set) WorkloadsSince(old *Set) iter.Seq[ipam.Owner] {
	changed := map[ipam.Owner]struct{}{}
	note := func(owner ipam.Owner, was allocator.Workload) {
		if s.Workload(owner) != was {
			changed[owner] = struct{}{}
		}
	}
	if touched, ok := s.since(old); ok {
		for _, t := range touched {
			if t.app != (ipam.Owner{}) {
				note(t.app, old.Workload(t.app))
			}
		}
	} else {
		for owner, was := range old.Workloads() {
			note(owner, was)
		}
	}
	return maps.Keys(changed)
}
