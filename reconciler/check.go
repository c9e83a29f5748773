package reconciler

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"galaxy/allocator"
)

// Difference is something in which the cluster and the log differ.
type Difference struct {
	What   string // in words
	Remedy string // what would repair it, in words; "" where only a person can
	step   Step
}

// Check compares the whole log with the cluster, and does nothing.
func (r *Reconciler) Check() []Difference {
	in := Input{New: r.Source.Set(), View: r.Replica.View(), Live: r.Cluster != nil, Full: true}
	// who is found twice is judged: the evidence of its end is asked for when it is repaired
	in.Suspects = Decide(in, r.Rules).Suspects
	plan := Decide(in, r.Rules)
	differences := make([]Difference, 0, len(plan.Steps)+len(plan.Conflicts))
	for _, step := range plan.Steps {
		what, remedy := describeStep(step)
		differences = append(differences, Difference{What: what, Remedy: remedy, step: step})
	}
	for _, c := range plan.Conflicts {
		differences = append(differences, Difference{What: c.describe()})
	}
	for _, n := range plan.Notices {
		differences = append(differences, Difference{What: fmt.Sprintf("pod %s: %s", n.Pod, n.Message)})
	}
	if plan.Err != nil {
		differences = append(differences, Difference{What: plan.Err.Error()})
	}
	return differences
}

func (c Conflict) describe() string {
	switch {
	case !c.Taken:
		return fmt.Sprintf("the annotation of pod %s (uid %s) names %s, and nothing else says that it was given to it",
			c.Pod, c.Pod.UID, c.Address)
	case c.Holder.IsZero():
		return fmt.Sprintf("%s is shown by pod %s (uid %s), and by another running pod", c.Address, c.Pod, c.Pod.UID)
	default:
		return fmt.Sprintf("%s is shown by pod %s (uid %s), and the log holds it for %s", c.Address, c.Pod, c.Pod.UID,
			c.Holder.Describe())
	}
}

// KnowKinds waits until the workloads are known that addresses are kept for, or ctx ends. What is not known by then is
// taken as unknown, and kept.
func (r *Reconciler) KnowKinds(ctx context.Context) {
	r.knowKinds()
	for range knowAttempts {
		unknown := false
		for a := range r.Replica.View().Addresses(netip.Addr{}) {
			if a.Owner.App != "" && r.Source.Set().Workload(a.Owner).Unknown {
				unknown = true
				break
			}
		}
		if !unknown {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

const knowAttempts = 50

// Repair appends the events that repair a difference. Where a pod seems to have ended, the cluster itself is asked
// first; when it says no, nothing is done.
func (r *Reconciler) Repair(ctx context.Context, d Difference) error {
	if d.step.Command == nil {
		return fmt.Errorf("nothing repairs it by itself: %s", d.What)
	}
	d.step.Cause = "check: " + d.step.Cause
	return r.do(ctx, d.step)
}

func describeStep(step Step) (what, remedy string) {
	switch c := step.Command.(type) {
	case allocator.EndPod:
		if s := step.Confirm; s != nil {
			return fmt.Sprintf("%s is held for %s (uid %s), which is not in the cluster", s.Address,
					c.Pod.Owner.Describe(), s.UID),
				"end the pod: its release policy says what becomes of the address"
		}
		return fmt.Sprintf("%s (uid %s) has ended, and still holds addresses", c.Pod.Owner.Describe(), c.Pod.UID),
			"end the pod: its release policy says what becomes of the address"
	case allocator.Adopt:
		return fmt.Sprintf("%s is used by %s (uid %s) on node %s, and the log does not know it", c.Address,
				c.Pod.Owner.Describe(), c.Pod.UID, c.Node),
			"record that the pod has it"
	case allocator.Release:
		return fmt.Sprintf("%s is held for %s, and another pod uses it", c.Address, c.Owner.Describe()), "release it"
	case allocator.ChangeWorkload:
		return fmt.Sprintf("%s is gone or smaller, and the log keeps addresses for what it no longer has",
			c.Owner.Describe()), "release what it keeps too many"
	case allocator.Configure:
		return fmt.Sprintf("%s has other subnets than those in force", c.Source), "put them in force"
	case allocator.SizePool:
		return fmt.Sprintf("pool %s has another size than its object", c.Pool), fmt.Sprintf("size it %d", c.Size)
	case allocator.DeletePool:
		return fmt.Sprintf("pool %s has no object", c.Pool), "delete it"
	default:
		return fmt.Sprintf("%T", c), "carry it out"
	}
}
