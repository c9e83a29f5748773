package objects

import (
	"maps"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
)

// Edit makes the Set that comes after another out of single changes. It belongs to one goroutine.
type Edit struct {
	next      Set
	pods      *iradix.Txn[*kube.Pod]
	podByUID  *iradix.Txn[*kube.Pod]
	shown     *iradix.Txn[[]*kube.Pod]
	workloads *iradix.Txn[app]

	ownNodes, ownKinds, ownConfigMaps bool // copied already
	touched                           []touch
}

// Live is the first Set of a source that is notified of every change. It speaks of pods once KnowsPods was called; a
// workload of a kind that Watches has not been notified of is unknown.
func Live() *Set {
	s := newSet()
	s.kinds, s.journal.lineage = map[string]bool{}, new(byte)
	return s
}

// Edit begins the next Set.
func (s *Set) Edit() *Edit {
	return &Edit{next: *s, pods: s.pods.Txn(), podByUID: s.podByUID.Txn(), shown: s.shown.Txn(),
		workloads: s.workloads.Txn()}
}

// PutPod adds a pod, or replaces the one of its name.
func (e *Edit) PutPod(pod *kube.Pod) {
	key := podKey(pod.Namespace, pod.Name)
	old, had := e.pods.Insert(key, pod)
	if had && old.UID != pod.UID {
		e.podByUID.Delete([]byte(old.UID))
	}
	e.counted(!had)
	showing(e.shown, old, pod)
	if pod.UID != "" {
		e.podByUID.Insert([]byte(pod.UID), pod)
	}
	e.touched = append(e.touched, touch{pod: string(key)})
}

// DropPod removes the pod of a name if it has this uid: the end of a pod says nothing of the one after it.
func (e *Edit) DropPod(namespace, name, uid string) {
	key := podKey(namespace, name)
	pod, had := e.pods.Get(key)
	if !had || pod.UID != uid {
		return
	}
	e.pods.Delete(key)
	showing(e.shown, pod, nil)
	e.podByUID.Delete([]byte(uid))
	e.next.count--
	e.touched = append(e.touched, touch{pod: string(key)})
}

// KnowsPods says that all pods there are have been put, so that the absence of one means something.
func (e *Edit) KnowsPods() { e.next.knowsPods = true }

// PutNode adds or replaces a node.
func (e *Edit) PutNode(node *kube.Node) {
	_, had := e.editNodes()[node.Name]
	e.counted(!had)
	e.next.nodes[node.Name] = node
	e.touched = append(e.touched, touch{node: node.Name})
}

// DropNode removes a node.
func (e *Edit) DropNode(name string) {
	if _, had := e.editNodes()[name]; had {
		delete(e.next.nodes, name)
		e.next.count--
		e.touched = append(e.touched, touch{node: name})
	}
}

func (e *Edit) editNodes() map[string]*kube.Node {
	if !e.ownNodes {
		e.next.nodes, e.ownNodes = maps.Clone(e.next.nodes), true
	}
	return e.next.nodes
}

// PutWorkload says what is known of a workload, by its owner at app level.
func (e *Edit) PutWorkload(owner ipam.Owner, w allocator.Workload) {
	owner = ipam.Owner{Kind: owner.Kind, Namespace: owner.Namespace, App: owner.App}
	_, had := e.workloads.Insert(appKey(owner), app{owner, w})
	e.counted(!had)
	e.touched = append(e.touched, touch{app: owner})
}

// DropWorkload removes a workload.
func (e *Edit) DropWorkload(owner ipam.Owner) {
	owner = ipam.Owner{Kind: owner.Kind, Namespace: owner.Namespace, App: owner.App}
	if _, had := e.workloads.Delete(appKey(owner)); had {
		e.next.count--
		e.touched = append(e.touched, touch{app: owner})
	}
}

// Watches says whether all workloads of a kind are known from now on.
func (e *Edit) Watches(kind string, known bool) {
	if !e.ownKinds {
		e.next.kinds, e.ownKinds = maps.Clone(e.next.kinds), true
	}
	e.next.kinds[kind] = known
}

// PutConfigMap sets the data of a ConfigMap; nil removes it.
func (e *Edit) PutConfigMap(namespace, name string, data map[string]string) {
	if !e.ownConfigMaps {
		e.next.configMaps, e.ownConfigMaps = maps.Clone(e.next.configMaps), true
	}
	key := string(podKey(namespace, name))
	if data == nil {
		delete(e.next.configMaps, key)
		return
	}
	e.next.configMaps[key] = data
}

func (e *Edit) counted(added bool) {
	if added {
		e.next.count++
	}
}

// Done is the Set with the changes, as of a moment.
func (e *Edit) Done(asOf time.Time) *Set {
	next := e.next
	next.asOf = asOf
	next.pods, next.podByUID, next.shown, next.workloads = e.pods.Commit(), e.podByUID.Commit(), e.shown.Commit(),
		e.workloads.Commit()
	next.journal = next.journal.after(e.touched)
	return &next
}
