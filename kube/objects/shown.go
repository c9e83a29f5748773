package objects

import (
	"net/netip"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"galaxy/allocator"
	"galaxy/kube"
)

// shownKey orders by address.
func shownKey(addr netip.Addr) []byte {
	key := addr.As16()
	return key[:]
}

// showing keeps in a tree which pods show an address.
func showing(tree *iradix.Txn[[]*kube.Pod], old, next *kube.Pod) {
	if old != nil {
		for _, s := range old.Shows() {
			key := shownKey(s.Addr)
			pods, _ := tree.Get(key)
			if left := slices.DeleteFunc(slices.Clone(pods),
				func(p *kube.Pod) bool { return p == old }); len(left) > 0 {
				tree.Insert(key, left)
			} else {
				tree.Delete(key)
			}
		}
	}
	if next != nil {
		for _, s := range next.Shows() {
			key := shownKey(s.Addr)
			pods, _ := tree.Get(key)
			tree.Insert(key, append(slices.Clip(pods), next))
		}
	}
}

// Occupants are the pods that have not ended and show an address.
func (s *Set) Occupants(addr netip.Addr) []allocator.Occupant {
	pods, _ := s.shown.Get(shownKey(addr))
	var seen []allocator.Occupant
	for _, pod := range pods {
		if s.Ended(pod) {
			continue
		}
		for _, shown := range pod.Shows() {
			if shown.Addr == addr {
				seen = append(seen, allocator.Occupant{Pod: pod.String(), UID: pod.UID, ByKubelet: shown.ByKubelet})
			}
		}
	}
	return seen
}

// Ended reports whether a pod that is among the objects never runs again: it has finished; or it is being deleted, and
// its node is gone for good, so that nobody will ever say that it has stopped. That a node does not answer is no evidence.
func (s *Set) Ended(pod *kube.Pod) bool {
	return pod.Finished() || pod.Deleting && s.NodeIsGone(pod.Node)
}

// NodeIsGone reports whether nothing runs on a node any more: its object was deleted, or somebody has put the taint
// out-of-service on it.
func (s *Set) NodeIsGone(name string) bool {
	if name == "" || !s.KnowsNodes() {
		return false
	}
	node := s.Node(name)
	return node == nil || node.OutOfService
}
