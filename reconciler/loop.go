package reconciler

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/kube"
	"galaxy/kube/objects"
	"galaxy/projections"
)

// Replica is what is asked of the allocator; *allocator.Replica is one.
type Replica interface {
	Do(ctx context.Context, cause string, cmd allocator.Command) (allocator.Result, error)
	View() *projections.View
	Leading() bool
}

// Source is where the cluster's objects come from; *objects.Store is one.
type Source interface {
	Set() *objects.Set
	Subscribe() (changed <-chan struct{}, cancel func())
}

// Cluster is what can be asked of a real cluster, and written to it.
type Cluster interface {
	// Know makes sure that the workloads of a kind are among the objects.
	Know(kind string)
	// Gone returns the evidence that the pod of a uid has ended; "" while it has not. An error proves nothing.
	Gone(ctx context.Context, namespace, name, uid string) (evidence string, err error)
	// ReportConfig and ReportPod show events on objects.
	ReportConfig(warning bool, reason, message string)
	ReportPod(pod *kube.Pod, warning bool, reason, message string)
}

// Unassigner takes addresses back from a cloud provider before they are given up.
type Unassigner interface {
	// Unassign is called for each address that a command may give up. While it fails, the command is not given.
	Unassign(ctx context.Context, a *projections.Address) error
	// Repair ends what has stopped half-way.
	Repair(ctx context.Context) error
}

// Config is what a Reconciler needs. Replica, Source and Log are required.
type Config struct {
	Replica    Replica
	Source     Source
	Cluster    Cluster    // nil: the objects are from a file, and are all that there is to know
	Unassigner Unassigner // nil: no cloud provider
	Rules      Rules
	Log        *zap.Logger
	Interval   time.Duration // between full passes; DefaultInterval if 0
	// until a suspect is checked again, or what has failed is tried again; DefaultConfirm if 0
	Confirm    time.Duration
	CountError func(kind string) // counts an error by its kind, for metrics; may be nil
}

// Defaults of Config.
const (
	DefaultInterval = time.Minute
	DefaultConfirm  = 2 * time.Second

	commandTimeout = 10 * time.Second
	leaderPoll     = 50 * time.Millisecond // how soon a new leader starts to reconcile
	maxDoubling    = 16                    // of the wait after a failure
)

// Reconciler makes the log follow the cluster's objects, while its replica leads.
type Reconciler struct {
	Config
	old      *objects.Set
	suspects map[netip.Addr]uint64
	led      bool
	next     time.Time       // of the next full pass
	resolved int64           // when a former system's objects were resolved, as of the last pass
	failures int             // plans in a row that did not succeed as a whole
	reported string          // the last error in the objects, so that each is reported once
	configTo string          // what was last shown on the ConfigMap
	refused  atomic.Value    // string, see Refused
	notified map[string]bool // which conflict and notice each pod has been shown

	gate *Gate
}

// New makes a Reconciler.
func New(config Config) *Reconciler {
	if config.Interval == 0 {
		config.Interval = DefaultInterval
	}
	if config.Confirm == 0 {
		config.Confirm = DefaultConfirm
	}
	if config.CountError == nil {
		config.CountError = func(string) {}
	}
	return &Reconciler{Config: config, gate: newGate(), notified: map[string]bool{}}
}

// Gate must stand before everything that gives out addresses.
func (r *Reconciler) Gate() *Gate { return r.gate }

// Run reconciles on every change of the objects and on every interval, until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	changed, cancel := r.Source.Subscribe()
	defer cancel()
	defer r.endTerm()
	tick := time.NewTicker(leaderPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			r.wake(ctx, time.Now(), true)
		case now := <-tick.C:
			r.wake(ctx, now, false)
		}
	}
}

// endTerm closes the gate for the next lead.
func (r *Reconciler) endTerm() {
	r.led = false
	r.gate.shut(gateBegins)
}

// wake does what is due.
func (r *Reconciler) wake(ctx context.Context, now time.Time, changed bool) {
	leads := r.Replica.Leading()
	if !leads {
		if r.old == nil {
			r.old = r.Source.Set() // what changes from here on may be left to us by a leader that died
		}
		if r.led {
			r.endTerm()
		}
		return
	}
	if r.Cluster != nil && !r.Source.Set().KnowsPods() {
		return // nothing is known of the cluster yet
	}
	resolved := r.Replica.View().Origin().Resolved // what a former system kept is known from then on
	full := !r.led || !now.Before(r.next) || resolved != r.resolved
	r.led, r.resolved = true, resolved
	if full || changed {
		r.reconcile(ctx, now, full)
	}
}

// reconcile makes and carries out one plan. New subnets come first, and then the whole pass under them: what running
// pods use of them looks free until it is adopted.
func (r *Reconciler) reconcile(ctx context.Context, now time.Time, full bool) {
	set := r.Source.Set()
	if full {
		r.knowKinds()
	}
	plan := r.plan(set, full)
	refused := false
	if configure, rest := plan.configures(); configure != nil {
		r.gate.shut(gateSubnets)
		refused, _, _ = r.carryOut(ctx, []Step{*configure})
		plan.Steps = rest
		if full = true; !refused {
			plan = r.plan(set, full)
		}
	}
	r.report(plan)
	failed, behind, unadopted := r.carryOut(ctx, plan.Steps)
	if !behind {
		r.old = set
	}
	if full {
		r.suspects = plan.Suspects
		if unadopted == nil {
			unadopted = r.markAdopted(ctx, plan)
		}
		r.openGate(unadopted)
		failed = r.repair(ctx) != nil || failed
	}
	r.schedule(now, full, failed || refused || full && unadopted != nil)
}

func (r *Reconciler) plan(set *objects.Set, full bool) Plan {
	return Decide(Input{Old: r.old, New: set, View: r.Replica.View(), Live: r.Cluster != nil, Full: full,
		Suspects: r.suspects}, r.Rules)
}

// schedule sets when the next full pass is due. What a full pass has failed at is in no difference between Sets: only
// another full pass sees it again, and neither the success nor the failure of a pass over a difference puts that off.
func (r *Reconciler) schedule(now time.Time, full, failed bool) {
	switch {
	case failed:
		r.failures++
		if again := now.Add(min(r.Confirm<<min(r.failures, maxDoubling), r.Interval)); full || again.Before(r.next) {
			r.next = again
		}
	case full && len(r.suspects) > 0:
		r.failures, r.next = 0, now.Add(min(r.Confirm, r.Interval))
	case full:
		r.failures, r.next = 0, now.Add(r.Interval)
	}
}

// markAdopted records that this generation of the log knows of all running pods. Before subnets are in force nothing is
// known of any.
func (r *Reconciler) markAdopted(ctx context.Context, plan Plan) error {
	view := r.Replica.View()
	if r.Cluster == nil || view.Config().Seq == 0 || view.Origin().Adopted == view.Position().Head.Generation {
		return nil
	}
	adopted := 0
	for _, step := range plan.Steps {
		if _, adopts := step.Command.(allocator.Adopt); adopts {
			adopted++
		}
	}
	return r.do(ctx, Step{Cause: "the running pods were compared with the log",
		Command: allocator.MarkAdopted{Pods: adopted}})
}

// openGate opens the gate if all running pods are adopted, whatever else has failed, and otherwise says why it stays
// closed.
func (r *Reconciler) openGate(unadopted error) {
	open, was := r.gate.State()
	if unadopted == nil {
		r.gate.open()
		if !open {
			r.Log.Info("allocation gate open: running pods compared with the log")
		}
		return
	}
	reason := fmt.Sprintf("a running pod could not be recorded: %v", unadopted)
	r.gate.shut(reason)
	if reason == was {
		return
	}
	r.CountError("gate")
	r.Log.Error("allocation gate closed: a running pod could not be recorded", zap.Error(unadopted))
	if r.Cluster != nil {
		r.Cluster.ReportConfig(true, eventWithheld, "no address is given out: "+reason)
	}
}

// knowKinds makes sure that the workloads are watched which addresses are kept for, even if none of their pods is
// there.
func (r *Reconciler) knowKinds() {
	if r.Cluster == nil {
		return
	}
	kinds := map[string]bool{}
	for a := range r.Replica.View().Addresses(netip.Addr{}) {
		kinds[a.Owner.Kind] = true
	}
	for kind := range kinds {
		r.Cluster.Know(kind)
	}
}

// carryOut gives the commands one by one. One that fails does not stop the others, unless the replica leads no more.
// behind says that the difference between the Sets has not been dealt with. A configuration that is refused, perhaps
// for long, is not of that kind: it is compared with what is in force each time. Nor is an adoption: all running pods
// are checked again. unadopted says why a running pod is not known to the log, but for a conflict: such an address is
// held, and so given to nobody.
func (r *Reconciler) carryOut(ctx context.Context, steps []Step) (failed, behind bool, unadopted error) {
	for _, step := range steps {
		err := r.do(ctx, step)
		r.showConfig(step, err)
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, allocator.ErrNotLeader):
			return true, true, err
		case errors.Is(err, allocator.ErrNoPool): // deleted by somebody else
		default:
			failed, behind = true, behind || isOfDifference(step.Command)
			if _, adopts := step.Command.(allocator.Adopt); adopts && !allocator.Conflicts(err) {
				unadopted = err
			}
			r.CountError("command")
			if r.failures == 0 { // what is tried again and again is reported once
				r.Log.Warn("reconcile command failed", zap.String("cause", step.Cause),
					zap.String("command", fmt.Sprintf("%T", step.Command)), zap.Error(err))
			}
		}
	}
	return failed, behind, unadopted
}

// isOfDifference reports whether a command comes from what has changed, so that the same difference has to be checked
// again when it fails.
func isOfDifference(command allocator.Command) bool {
	switch command.(type) {
	case allocator.Configure, allocator.Adopt, allocator.Release:
		return false
	default:
		return true
	}
}

func (r *Reconciler) do(ctx context.Context, step Step) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cause := step.Cause
	if step.Confirm != nil {
		evidence, err := r.evidence(ctx, step.Confirm)
		if err != nil || evidence == "" {
			return err
		}
		cause += ": " + evidence
	}
	if err := r.unassign(ctx, step.Command); err != nil {
		return err
	}
	_, err := r.Replica.Do(ctx, cause, step.Command)
	return err
}

// evidence asks the cluster whether a suspect has really ended.
func (r *Reconciler) evidence(ctx context.Context, s *Suspect) (string, error) {
	evidence := "it is not among the objects, which are newer"
	if r.Cluster != nil {
		var err error
		if evidence, err = r.Cluster.Gone(ctx, s.Namespace, s.Name, s.UID); err != nil {
			return "", fmt.Errorf("%s may still be used by pod %s/%s: %w", s.Address, s.Namespace, s.Name, err)
		}
	}
	if evidence != "" {
		r.Log.Info("address held for an ended pod", zap.Stringer("address", s.Address),
			zap.Uint64("event", s.Seq),
			zap.String("pod", s.Namespace+"/"+s.Name), zap.String("uid", s.UID), zap.String("evidence", evidence))
	}
	return evidence, nil
}

// repair ends what the cloud provider and the log disagree on.
func (r *Reconciler) repair(ctx context.Context) error {
	if r.Unassigner == nil {
		return nil
	}
	err := r.Unassigner.Repair(ctx)
	if err != nil && r.failures == 0 && ctx.Err() == nil {
		r.CountError("cloud")
		r.Log.Warn("cloud provider out of sync with the log; retrying", zap.Error(err))
	}
	return err
}

// unassign notifies the cloud provider of what a command is about to give up.
func (r *Reconciler) unassign(ctx context.Context, command allocator.Command) error {
	if r.Unassigner == nil {
		return nil
	}
	for _, a := range allocator.GivesUp(r.Replica.View(), command) {
		if err := r.Unassigner.Unassign(ctx, a); err != nil {
			return err
		}
	}
	return nil
}
