package reconciler

import (
	"fmt"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
)

// Notice is something about a pod that nothing here repairs, and that its author ought to know.
type Notice struct {
	Pod     *kube.Pod
	Reason  string // of an event
	Message string
}

// Reasons of notices.
const (
	noticeBypassed = "FloatingIPBypassed"
	noticeNoSpare  = "FloatingIPRolloutWaits"
)

// notices finds pods that run without the address that they request, and rollouts that wait for an address which nobody
// will give back.
func (p *Plan) notices(in Input) {
	dry := in.dry()
	for pod := range in.New.Pods() {
		if !pod.Wants || pod.Deleting || pod.Finished() || pod.HostNetwork {
			continue
		}
		asks, err := kube.RequestIn(pod, in.New)
		switch {
		case err != nil: // filter says why
		case pod.Node != "" && in.bypassed(pod, asks):
			p.notice(pod, noticeBypassed, fmt.Sprintf("the pod requests a floating address and runs on %s without "+
				"one: it was bound past galaxy-ipam, as by spec.nodeName, as a static pod, or by a scheduler that "+
				"does not ask it", pod.Node))
		case pod.Node == "" && dry && in.needsSpare(asks):
			w := asks.Workload
			p.notice(pod, noticeNoSpare, fmt.Sprintf("%s keeps its %d addresses for %d replicas, and no other is "+
				"free: a rollout with maxUnavailable 0 needs one more for each pod of its maxSurge; set "+
				"maxUnavailable above 0, or add addresses",
				asks.Owner.AppLevel().Describe(), in.View.Scope(asks.Owner.AppLevel()).Held, w.Replicas))
		}
	}
}

func (p *Plan) notice(pod *kube.Pod, reason, message string) {
	p.Notices = append(p.Notices, Notice{pod, reason, message})
}

// bypassed is true for a pod that was bound and that the log gave nothing.
func (in Input) bypassed(pod *kube.Pod, asks allocator.Pod) bool {
	for a := range in.View.Held(asks.Owner) {
		if a.PodUID == pod.UID {
			return false
		}
	}
	return len(pod.Shows()) == 0 // else it is adopted, or a conflict
}

// dry is true when no subnet has an address that nobody holds.
func (in Input) dry() bool {
	subnets := in.View.Config().Subnets
	for i := range subnets {
		if in.View.Unheld(i) > 0 {
			return false
		}
	}
	return len(subnets) > 0
}

// needsSpare is true for a pod of a Deployment whose addresses are all held by its replicas, while its strategy wants
// more pods than that.
func (in Input) needsSpare(asks allocator.Pod) bool {
	w := asks.Workload
	return asks.Owner.IsSet() && asks.Policy != ipam.ReleaseOnDelete && asks.Owner.Pool == "" && w.Exists &&
		w.Surge > 0 &&
		in.View.Scope(asks.Owner.AppLevel()).Held >= w.Replicas
}
