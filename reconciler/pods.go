package reconciler

import (
	"net/netip"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/objects"
	"galaxy/projections"
)

// knowsPods reports whether the absence of a pod from the new Set means anything: the source speaks of pods, or did
// until now and has not become empty altogether.
func (in Input) knowsPods() bool {
	return in.New.KnowsPods() || in.Old != nil && in.Old.KnowsPods() && in.New.Len() > 0
}

// lives reports whether a pod, known by name and uid, is there and has not ended.
func lives(set *objects.Set, namespace, name, uid string) bool {
	pod := set.Pod(namespace, name)
	return pod != nil && pod.UID == uid && !set.Ended(pod)
}

// pods ends those that were there and are gone, have finished, or have been made anew under their name. It returns the
// addresses that they held.
func (p *Plan) pods(in Input) map[netip.Addr]bool {
	gone := map[netip.Addr]bool{}
	if !in.knowsPods() {
		return gone
	}
	if in.Old != nil {
		for pod := range in.New.PodsSince(in.Old) {
			if !lives(in.New, pod.Namespace, pod.Name, pod.UID) {
				p.endPod(in, pod, gone)
			}
		}
	}
	if in.Full || in.Old == nil || in.lostNodes() {
		for pod := range in.New.Pods() {
			if in.New.Ended(pod) {
				p.endPod(in, pod, gone)
			}
		}
	}
	return gone
}

// lostNodes reports whether a node is gone that was there.
func (in Input) lostNodes() bool {
	for node := range in.New.NodesSince(in.Old) {
		if in.New.NodeIsGone(node.Name) && !node.OutOfService {
			return true
		}
	}
	return false
}

// endPod ends a pod that has addresses by its very uid.
func (p *Plan) endPod(in Input, pod *kube.Pod, gone map[netip.Addr]bool) {
	owner, err := kube.OwnerOf(pod)
	if err != nil || !pod.Wants {
		return
	}
	ends := func(holder ipam.Owner) {
		p.add(pod.UID, allocator.EndPod{Pod: allocator.Pod{
			Owner: holder, UID: pod.UID, Policy: kube.PolicyOf(pod), Workload: in.New.Workload(holder),
		}})
	}
	ended := false
	for a := range in.View.Held(owner) {
		if inUse(a) && a.PodUID == pod.UID && !gone[a.Addr] {
			gone[a.Addr], ended = true, true
		}
	}
	if ended {
		ends(owner)
	}
	// A pod that was bound may have got another owner since, as by a ReplicaSet that adopts it: what it has is held as
	// it was then.
	for _, shown := range pod.Shows() {
		if a := in.View.Address(shown.Addr); a != nil && a.Owner.IsPod() && a.PodUID == pod.UID && !gone[a.Addr] {
			for b := range in.View.Held(a.Owner) {
				gone[b.Addr] = true
			}
			ends(a.Owner)
		}
	}
}

// heldWithoutPod is the full pass: every address that is held for a pod by its uid, but whose pod is not there.
func (p *Plan) heldWithoutPod(in Input, gone map[netip.Addr]bool) {
	p.Suspects = map[netip.Addr]uint64{}
	if !in.New.KnowsPods() {
		return
	}
	ended := map[endedPod]bool{}
	for a := range in.View.Addresses(netip.Addr{}) {
		if gone[a.Addr] || !orphaned(in.New, a) {
			continue
		}
		if in.Suspects[a.Addr] != a.Seq {
			p.Suspects[a.Addr] = a.Seq
			continue
		}
		key := endedPod{a.Owner, a.PodUID}
		if ended[key] {
			continue
		}
		ended[key] = true
		p.endHolder(in, a)
	}
}

// endHolder ends the pod that an address is held for, once it is proven that it has ended.
func (p *Plan) endHolder(in Input, a *projections.Address) {
	p.Steps = append(p.Steps, Step{
		Cause:   a.PodUID,
		Confirm: &Suspect{Namespace: a.Owner.Namespace, Name: a.Owner.Pod, UID: a.PodUID, Address: a.Addr, Seq: a.Seq},
		Command: allocator.EndPod{Pod: allocator.Pod{
			Owner: a.Owner, UID: a.PodUID, Policy: a.Policy, Workload: in.New.Workload(a.Owner),
		}},
	})
}

type endedPod struct {
	owner ipam.Owner
	uid   string
}

// orphaned reports whether an address is held for a pod that is not there, as far as objects that are newer than the
// holding can tell.
func orphaned(set *objects.Set, a *projections.Address) bool {
	return inUse(a) && a.Time().Before(set.AsOf()) && !lives(set, a.Owner.Namespace, a.Owner.Pod, a.PodUID)
}

// inUse reports whether a pod uses the address or has claimed it. Otherwise it is only kept, whoever's name is on it.
func inUse(a *projections.Address) bool { return a.Owner.IsPod() && (a.PodUID != "" || a.Node != "") }
