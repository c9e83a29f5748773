package reconciler

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/kube"
)

// Reasons of the events on objects.
const (
	eventConfigRefused = "FloatingIPConfigRefused"
	eventConfigApplied = "FloatingIPConfigApplied"
	eventConflict      = "FloatingIPConflict"
	eventUnproven      = "FloatingIPUnproven"
	eventWithheld      = "FloatingIPsWithheld"
)

// report shows what is wrong with the objects, each error once.
func (r *Reconciler) report(plan Plan) {
	text := ""
	if plan.Err != nil {
		text = plan.Err.Error()
	}
	switch {
	case plan.BadConfig != nil:
		r.configEvent(plan.BadConfig)
	case plan.InForce != 0 && (r.configTo != "" || r.Refused() != ""): // what was refused has been taken back
		r.configEvent(nil)
	}
	if text != "" && text != r.reported {
		r.CountError("object")
		r.Log.Warn("object invalid; keeping what was in force", zap.Error(plan.Err))
	}
	if text != "" || plan.Configured {
		r.reported = text
	}
	for _, c := range plan.Conflicts {
		r.reportConflict(c)
	}
	for _, n := range plan.Notices {
		r.reportNotice(n)
	}
}

// reportNotice shows a notice on its pod, once.
func (r *Reconciler) reportNotice(n Notice) {
	if !r.first(n.Pod, n.Reason) {
		return
	}
	r.Log.Warn("a pod has no address", zap.Stringer("pod", n.Pod), zap.String("uid", n.Pod.UID),
		zap.String("reason", n.Reason), zap.String("why", n.Message))
	if r.Cluster != nil {
		r.Cluster.ReportPod(n.Pod, true, n.Reason, n.Message)
	}
}

// first is true the first time that something is to be reported of a pod.
func (r *Reconciler) first(pod *kube.Pod, what string) bool {
	key := pod.UID + " " + what
	if r.notified[key] {
		return false
	}
	r.notified[key] = true
	return true
}

// reportConflict shows a conflict on its pod, once.
func (r *Reconciler) reportConflict(c Conflict) {
	if !r.first(c.Pod, c.Address.String()) {
		return
	}
	r.CountError("conflict")
	reason, message := eventConflict, fmt.Sprintf("the pod shows %s, which is held for %s (%s)", c.Address,
		c.Holder.Describe(), c.Holder)
	switch {
	case !c.Taken:
		reason = eventUnproven
		message = fmt.Sprintf("only the pod's own annotation says that it was given %s: the address is not recorded "+
			"as its own, and given to nobody else while the pod is there", c.Address)
	case c.Holder.IsZero():
		message = fmt.Sprintf("the pod shows %s, which another running pod shows, too", c.Address)
	}
	r.Log.Warn("address conflict: a running pod shows an address that the log does not give it",
		zap.Stringer("pod", c.Pod),
		zap.String("uid", c.Pod.UID),
		zap.Stringer("address", c.Address), zap.Stringer("holder", c.Holder))
	if r.Cluster != nil {
		r.Cluster.ReportPod(c.Pod, true, reason, message)
	}
}

// Refused says why the subnets that the objects have are not in force; "" if they are. Only who leads knows.
func (r *Reconciler) Refused() string {
	text, _ := r.refused.Load().(string)
	return text
}

// showConfig shows on the ConfigMap what has become of its subnets.
func (r *Reconciler) showConfig(step Step, err error) {
	if _, configures := step.Command.(allocator.Configure); !configures {
		return
	}
	var inUse *allocator.InUseError
	if data, ok := r.Source.Set().ConfigMap(r.Rules.ConfigNamespace, r.Rules.ConfigName); ok && errors.As(err, &inUse) {
		err = fmt.Errorf("%w; %s", err, howToForce(r.Rules, data[r.Rules.ConfigKey]))
	}
	r.configEvent(err)
}

// configEvent shows an event when it says something else than the last one did.
func (r *Reconciler) configEvent(err error) {
	text := fmt.Sprintf("the subnets are in force, since event %d", r.Replica.View().Config().Seq)
	refused := ""
	if err != nil {
		text = err.Error()
		refused = "the subnets in force stay: " + text
	}
	r.refused.Store(refused)
	if r.Cluster == nil || text == r.configTo {
		return
	}
	r.configTo = text
	if err != nil {
		r.Cluster.ReportConfig(true, eventConfigRefused, "the subnets in force stay: "+text)
		return
	}
	r.Cluster.ReportConfig(false, eventConfigApplied, text)
}
