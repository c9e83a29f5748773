package galaxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/projections"
)

// Choice is what becomes, without asking, of objects that a former system has left.
type Choice string

// The choices.
const (
	Wait            Choice = "wait"    // a person has to say
	ImportUnasked   Choice = "import"  // the log takes over what it can; the rest is left as it is
	DiscardUnasked  Choice = "discard" // they mean nothing any more, and are deleted
	resolverPause          = time.Second
	resolverPatient        = 30 * time.Second
)

// Choices are all of them.
func Choices() []Choice { return []Choice{Wait, ImportUnasked, DiscardUnasked} }

// LeadReplica is what a Resolver asks of the allocator; *allocator.Replica is one.
type LeadReplica interface {
	Replica
	View() *projections.View
}

// Resolver sees to it that nothing is given out over the head of a former system. It works while its replica leads.
type Resolver struct {
	Replica LeadReplica
	Read    func(context.Context) (Objects, error)
	Cluster func() Cluster
	Pools   PoolNamespaces
	Choice  Choice
	Log     *zap.Logger
	// Waits shows what is waited for where people look; "" when nothing is any more. It is called when that changes.
	Waits func(reason string)
}

// Detect finds out whether a former system has left objects, and records it. It must have returned before anything is
// given out, and tries until it knows.
func (r *Resolver) Detect(ctx context.Context) error {
	for failed := ""; ; {
		err := r.detect(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if text := err.Error(); !errors.Is(err, allocator.ErrNotLeader) && text != failed {
			failed = text
			r.Log.Warn("cannot tell whether a former system has left objects; nothing is given out until that is known",
				zap.Error(err))
			r.Waits("it is not known whether a former system has left objects: " + text)
		}
		pause := resolverPause
		if errors.Is(err, allocator.ErrNotLeader) { // not yet
			pause /= 100
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (r *Resolver) detect(ctx context.Context) error {
	view := r.Replica.View()
	if view.Origin().Outcome != "" {
		return nil
	}
	objects, err := r.Read(ctx)
	if err != nil {
		return err
	}
	n := objects.Former(view.Position().Head.Seq == 0)
	if n == 0 && view.Origin().Source == "" {
		_, err := r.Replica.Do(ctx, cause, allocator.ResolveFormer{Source: Source, Outcome: eventlog.FormerNone})
		return err
	}
	if view.Origin().Source != "" { // found by an earlier term: what was counted on an empty log stays
		return nil
	}
	_, err = r.Replica.Do(ctx, cause, allocator.FindFormer{Source: Source, Objects: n})
	return err
}

// Run resolves what Detect has found: by itself if it may, else it reports what is waited for until somebody has said
// it.
func (r *Resolver) Run(ctx context.Context) error {
	reported, failed := false, ""
	for ctx.Err() == nil {
		origin := r.Replica.View().Origin()
		if !origin.Awaits() {
			if reported {
				r.Log.Info("what a former system has left is resolved", zap.String("outcome", string(origin.Outcome)),
					zap.Int("left", origin.Left))
				r.Waits("")
			}
			return nil
		}
		if !reported {
			reported = true
			err := &allocator.FormerError{Source: origin.Source, Objects: origin.Objects}
			r.Log.Warn("waiting for a migration", zap.Int("objects", origin.Objects),
				zap.String("choice", string(r.Choice)), zap.Error(err))
			r.Waits(err.Error())
		}
		if err := r.resolve(ctx); err != nil && ctx.Err() == nil && err.Error() != failed {
			failed = err.Error()
			r.Log.Warn("what a former system has left is not resolved yet; trying again", zap.Error(err))
			r.Waits(fmt.Sprintf("no address is given out yet: what a former system has left is not resolved: %v", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(resolverPause):
		}
	}
	return nil
}

// errNotYet holds an import back until the subnets are in force and the running pods are adopted: what they run with is
// theirs.
var errNotYet = errors.New("the subnets are not in force yet, or the running pods not recorded")

func (r *Resolver) resolve(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, resolverPatient)
	defer cancel()
	view := r.Replica.View()
	if r.Choice == Wait {
		// A leader reads the log only when another was faster. To ask again for what is so makes it look whether
		// somebody has said it meanwhile; then this is refused.
		_, err := r.Replica.Do(ctx, cause, allocator.FindFormer{Source: view.Origin().Source,
			Objects: view.Origin().Objects})
		if errors.Is(err, allocator.ErrUnsupported) || errors.Is(err, allocator.ErrNotLeader) {
			return nil
		}
		return err
	}
	if r.Choice == DiscardUnasked {
		return Discard(ctx, r.Replica, view.Origin().Objects)
	}
	if view.Config().Seq == 0 || view.Origin().Adopted != view.Position().Head.Generation {
		return errNotYet
	}
	objects, err := r.Read(ctx)
	if err != nil {
		return err
	}
	plan, err := Apply(ctx, r.Replica, Decide(objects, view, r.Cluster(), r.Pools), nil)
	for _, item := range plan.Items {
		if item.Verdict == Leave {
			r.Log.Warn("an object of the former system is not taken over, and left as it is",
				zap.String("kind", item.Kind), zap.String("name", item.Name),
				zap.String("key", item.Key), zap.String("why", item.Why))
		}
	}
	if err == nil {
		r.Log.Info("took over from the former system", zap.Int("taken", plan.Count(Take)),
			zap.Int("known", plan.Count(Known)), zap.Int("left", plan.Count(Leave)))
	}
	return err
}
