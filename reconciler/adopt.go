package reconciler

import (
	"net/netip"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/projections"
)

// adopt finds running pods with addresses that the log does not know they have: the log is new or was restored from
// before, or somebody else has bound them (contract section 4.7). Those that kubelets name come first: users cannot
// write that.
func (p *Plan) adopt(in Input, gone map[netip.Addr]bool) {
	taken := map[netip.Addr]bool{}
	for _, byKubelet := range []bool{true, false} {
		for pod := range in.New.Pods() {
			if !pod.Wants {
				continue
			}
			for _, shown := range pod.Shows() {
				if shown.ByKubelet == byKubelet {
					p.adoptOne(in, pod, shown, taken, gone)
				}
			}
		}
	}
}

func (p *Plan) adoptOne(in Input, pod *kube.Pod, shown kube.Shown, taken, gone map[netip.Addr]bool) {
	addr := shown.Addr
	a := in.View.Address(addr)
	if a != nil && a.PodUID == pod.UID && a.Node == pod.Node {
		return // as it should be
	}
	if _, configured := in.View.Config().SubnetOf(addr); a == nil && !configured {
		return // not ours to give, so not ours to know
	}
	if in.New.Ended(pod) {
		return
	}
	asked, err := kube.RequestIn(pod, in.New)
	if err != nil {
		return
	}
	if taken[addr] || !mayTake(in, pod, asked, shown, a) {
		p.Conflicts = append(p.Conflicts, Conflict{Pod: pod, Address: addr, Holder: holder(a), Taken: taken[addr] ||
			a != nil})
		return
	}
	taken[addr] = true
	if a != nil && !gone[addr] {
		p.makeRoom(in, pod, asked, a, gone)
	}
	p.add(pod.UID, allocator.Adopt{Pod: asked, Node: pod.Node, Address: addr})
}

// makeRoom ends what stands in the way of an adoption: the pod before of the same name, or another that has ended. What
// is kept for another by the log was given away since, if a kubelet says that this pod has it.
func (p *Plan) makeRoom(in Input, pod *kube.Pod, asked allocator.Pod, a *projections.Address,
	gone map[netip.Addr]bool) {
	own := a.Owner == asked.Owner || a.Owner == asked.Owner.Scope()
	switch {
	case own && inUse(a) && a.PodUID != pod.UID:
		p.endHolder(in, a)
	case !own:
		step := Step{Cause: pod.UID, Command: allocator.Release{Address: a.Addr, Owner: a.Owner, Reason: reasonInUse}}
		if inUse(a) {
			step.Confirm = &Suspect{Namespace: a.Owner.Namespace, Name: a.Owner.Pod, UID: a.PodUID, Address: a.Addr,
				Seq: a.Seq}
		}
		p.Steps = append(p.Steps, step)
	default:
		return
	}
	gone[a.Addr] = true
}

// reasonInUse stands in the log where an address is taken from an owner, as another's pod runs with it.
const reasonInUse = "usedByAnotherPod"

func holder(a *projections.Address) ipam.Owner {
	if a == nil {
		return ipam.Owner{}
	}
	return a.Owner
}

// mayTake reports whether an address can become the pod's on what shows it, a being the row of one that is held.
//
//	shown by              free            kept for its own    kept for another    in use by another that lives
//	                                      name, app, pool
//	a kubelet             yes             yes                 yes                 no
//	its annotation alone  while trusting  while trusting      no                  no
//
// What the log says was given to this very pod is believed always.
func mayTake(in Input, pod *kube.Pod, asked allocator.Pod, shown kube.Shown, a *projections.Address) bool {
	believed := shown.ByKubelet || in.trusting()
	switch {
	case a == nil:
		return believed
	case a.Labelled:
		return false
	case a.PodUID == pod.UID && a.Owner == asked.Owner:
		return true
	case inUse(a) && lives(in.New, a.Owner.Namespace, a.Owner.Pod, a.PodUID):
		return false
	case a.Owner == asked.Owner, a.Owner == asked.Owner.Scope():
		return believed
	default:
		return shown.ByKubelet
	}
}

// trusting reports whether the annotations of pods alone prove what they were given: until the running pods have been
// adopted once in this life of the log, as after a switch or a restore nothing else shows it. Later the log knows of
// every bind, and an annotation that names more is its author's word. Objects from a file are all that there is.
func (in Input) trusting() bool {
	return !in.Live || in.View.Origin().Adopted != in.View.Position().Head.Generation
}
