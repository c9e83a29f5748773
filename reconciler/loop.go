package reconciler

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
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

// Config is what a Reconciler needs. Replica, Source and Log are required.
type Config struct {
	Replica  Replica
	Source   Source
	Rules    Rules
	Log      *zap.Logger
	Interval time.Duration     // between full looks; DefaultInterval if 0
	Confirm  time.Duration     // until a suspect is looked at again, or what has failed is tried again; DefaultConfirm if 0
	Fault    func(kind string) // told of each fault, for metrics; may be nil
}

// Defaults of Config.
const (
	DefaultInterval = time.Minute
	DefaultConfirm  = 2 * time.Second

	commandTimeout = 10 * time.Second
	leaderPoll     = 200 * time.Millisecond // how soon a new leader starts to reconcile
	maxDoubling    = 16                     // of the wait after a failure
)

// Reconciler makes the log follow the cluster's objects, while its replica leads.
type Reconciler struct {
	Config
	old      *objects.Set
	suspects map[netip.Addr]uint64
	led      bool
	next     time.Time // of the next full look
	failures int       // plans in a row that did not succeed as a whole
	reported string    // the last fault in the objects, so that each is reported once
}

// New makes a Reconciler.
func New(config Config) *Reconciler {
	if config.Interval == 0 {
		config.Interval = DefaultInterval
	}
	if config.Confirm == 0 {
		config.Confirm = DefaultConfirm
	}
	if config.Fault == nil {
		config.Fault = func(string) {}
	}
	return &Reconciler{Config: config}
}

// Run reconciles on every change of the objects and on every interval, until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	changed, cancel := r.Source.Subscribe()
	defer cancel()
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

// wake does what is due.
func (r *Reconciler) wake(ctx context.Context, now time.Time, changed bool) {
	leads := r.Replica.Leading()
	if !leads {
		if r.old == nil {
			r.old = r.Source.Set() // what changes from here on may be left to us by a leader that died
		}
		r.led = false
		return
	}
	full := !r.led || !now.Before(r.next)
	r.led = true
	if full || changed {
		r.reconcile(ctx, now, full)
	}
}

// reconcile makes and carries out one plan.
func (r *Reconciler) reconcile(ctx context.Context, now time.Time, full bool) {
	set := r.Source.Set()
	plan := Decide(Input{Old: r.old, New: set, View: r.Replica.View(), Full: full, Suspects: r.suspects}, r.Rules)
	r.report(plan.Fault)
	failed, behind := r.carryOut(ctx, plan.Steps)
	if !behind {
		r.old = set
	}
	if full {
		r.suspects = plan.Suspects
	}
	switch {
	case failed:
		r.failures++
		r.next = now.Add(min(r.Confirm<<min(r.failures, maxDoubling), r.Interval))
		return
	case full && len(r.suspects) > 0:
		r.next = now.Add(min(r.Confirm, r.Interval))
	case full || r.failures > 0:
		r.next = now.Add(r.Interval)
	}
	r.failures = 0
}

// carryOut gives the commands one by one. One that fails does not stop the others, unless the replica leads no more. behind
// says that the difference between the Sets has not been dealt with. A configuration that is refused, perhaps for long, is
// not of that kind: it is compared with what is in force each time.
func (r *Reconciler) carryOut(ctx context.Context, steps []Step) (failed, behind bool) {
	for _, step := range steps {
		err := r.do(ctx, step)
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, allocator.ErrNotLeader):
			return true, true
		case errors.Is(err, allocator.ErrNoPool): // deleted by somebody else
		default:
			_, configures := step.Command.(allocator.Configure)
			failed, behind = true, behind || !configures
			r.Fault("command")
			if r.failures == 0 { // what is tried again and again is reported once
				r.Log.Warn("a change of the cluster could not be followed", zap.String("cause", step.Cause),
					zap.String("command", fmt.Sprintf("%T", step.Command)), zap.Error(err))
			}
		}
	}
	return failed, behind
}

func (r *Reconciler) do(ctx context.Context, step Step) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	_, err := r.Replica.Do(ctx, step.Cause, step.Command)
	return err
}

// report tells a fault in the objects once.
func (r *Reconciler) report(fault error) {
	text := ""
	if fault != nil {
		text = fault.Error()
	}
	if text != "" && text != r.reported {
		r.Fault("object")
		r.Log.Warn("an object is not understood; what was in force stays", zap.Error(fault))
	}
	r.reported = text
}
