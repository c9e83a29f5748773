package reconciler

import (
	"net/netip"
	"slices"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/projections"
)

// adopt finds running pods with addresses that the log does not know they have: the log was restored from before, or somebody
// else has bound them (contract section 4.7). A pod whose own status names the address comes first: users cannot write that.
func (p *Plan) adopt(in Input, gone map[netip.Addr]bool) {
	var running []*kube.Pod
	for pod := range in.New.Pods() {
		if pod.Node != "" && !pod.Finished() && pod.Wants && pod.Args != "" {
			running = append(running, pod)
		}
	}
	slices.SortStableFunc(running, func(a, b *kube.Pod) int { return trust(b) - trust(a) })
	taken := map[netip.Addr]bool{}
	for _, pod := range running {
		for _, addr := range addressesOf(pod) {
			p.adoptOne(in, pod, addr, taken, gone)
		}
	}
}

func trust(pod *kube.Pod) int {
	if pod.IP != "" && slices.ContainsFunc(addressesOf(pod), func(a netip.Addr) bool { return a.String() == pod.IP }) {
		return 1
	}
	return 0
}

// addressesOf are the addresses that a pod's annotation says it was given.
func addressesOf(pod *kube.Pod) []netip.Addr {
	args, err := ipam.ParsePodArgs(pod.Args)
	if err != nil {
		return nil
	}
	addrs := make([]netip.Addr, 0, len(args.IPInfos))
	for _, info := range args.IPInfos {
		if info.IP.IsValid() {
			addrs = append(addrs, info.IP.Addr())
		}
	}
	return addrs
}

func (p *Plan) adoptOne(in Input, pod *kube.Pod, addr netip.Addr, taken, gone map[netip.Addr]bool) {
	a := in.View.Address(addr)
	if a != nil && a.PodUID == pod.UID && a.Node == pod.Node {
		return // as it should be
	}
	asked, err := kube.Request(pod, allocator.Workload{})
	if err != nil {
		return
	}
	asked.Workload = in.New.Workload(asked.Owner)
	if _, configured := in.View.Config().SubnetOf(addr); a == nil && !configured {
		return // not ours to give, so not ours to know
	}
	if taken[addr] || a != nil && !mayTake(in, pod, asked, a) {
		p.Conflicts = append(p.Conflicts, Conflict{Pod: pod, Address: addr, Holder: holder(a)})
		return
	}
	taken[addr] = true
	if a != nil && !gone[addr] {
		p.makeRoom(in, pod, asked, a, gone)
	}
	p.add(pod.UID, allocator.Adopt{Pod: asked, Node: pod.Node, Address: addr})
}

// makeRoom ends what stands in the way of an adoption: the pod before of the same name, or another that has ended. What is kept
// for another by the log was given away since, if a kubelet says that this pod has it.
func (p *Plan) makeRoom(in Input, pod *kube.Pod, asked allocator.Pod, a *projections.Address, gone map[netip.Addr]bool) {
	own := a.Owner == asked.Owner || a.Owner == asked.Owner.Share()
	switch {
	case own && inUse(a) && a.PodUID != pod.UID:
		p.endHolder(in, a)
	case !own:
		step := Step{Cause: pod.UID, Command: allocator.Release{Address: a.Addr, Owner: a.Owner, Reason: reasonInUse}}
		if inUse(a) {
			step.Confirm = &Suspect{Namespace: a.Owner.Namespace, Name: a.Owner.Pod, UID: a.PodUID, Address: a.Addr, Seq: a.Seq}
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

// mayTake reports whether an address that is held can become the pod's: it is its own or its app's, or of a pod that seems to
// have ended. One of another owner is taken only on the word of a kubelet.
func mayTake(in Input, pod *kube.Pod, asked allocator.Pod, a *projections.Address) bool {
	if a.Labelled || inUse(a) && a.PodUID != pod.UID && lives(in.New, a.Owner.Namespace, a.Owner.Pod, a.PodUID) {
		return false
	}
	return a.Owner == asked.Owner || a.Owner == asked.Owner.Share() || pod.IP == a.Addr.String()
}
