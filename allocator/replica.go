package allocator

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"galaxy/eventlog"
	"galaxy/projections"
)

// Observer counts what the replica does, for metrics. Its methods must return at once.
type Observer interface {
	Appended(events, bytes int, took time.Duration) // one transaction of the log
	Conflict()                                      // a batch was decided again, as another writer was faster
	Folded(events int)                              // events of the log that were read and folded
}

// Config is what a replica needs. Log, Actor and Now are required.
type Config struct {
	Log      eventlog.Log
	Stream   string // whose state it is, and that it writes while it leads; eventlog.StreamIPAM if ""
	Actor    string // names this process in the log; no two processes may share it
	Now      func() time.Time
	Rules    Rules
	Observer Observer
	// Checkpoint is handed durable views at sequence numbers that are the same on all replicas. It must return at once.
	// May be nil.
	Checkpoint func(*projections.View)
	// Occupants are the pods that show addresses, as the cluster says now. May be nil.
	Occupants func() Occupants
}

// queueLength is how many callers may wait; more have to wait to be let in.
const queueLength = 4096

// Replica is one process's state of a stream. It follows the log, or leads; the caller runs Follow and Lead in turn,
// never two at once. View and Do may be used from many goroutines all the time.
type Replica struct {
	config      Config
	queue       chan *call
	db          *projections.DB // owned by whichever of Follow and Lead runs
	view        atomic.Pointer[projections.View]
	leading     atomic.Bool
	current     atomic.Bool // the view has reached a head that was read linearizably
	feed        feed
	unpublished []eventlog.Data // folded, and not yet published; owned as db is
}

// NewReplica loads the newest state of the log. Progress, if not nil, is called with the sequence number reached, now
// and then.
func NewReplica(ctx context.Context, config Config, progress func(seq uint64)) (*Replica, error) {
	if delay := config.Rules.ReuseDelay; delay < 0 || delay > projections.MaxReuseDelay || delay%time.Second != 0 {
		return nil, fmt.Errorf("reuse delay %s: want whole seconds from 0 to %s", delay, projections.MaxReuseDelay)
	}
	if config.Observer == nil {
		config.Observer = nopObserver{}
	}
	if config.Stream == "" {
		config.Stream = eventlog.StreamIPAM
	}
	db, err := projections.Load(ctx, config.Log, config.Stream, projections.Until{}, progress)
	if err != nil {
		return nil, fmt.Errorf("load the state of %s: %w", config.Stream, err)
	}
	r := &Replica{config: config, queue: make(chan *call, queueLength), db: db}
	r.publish()
	r.current.Store(true)
	config.Observer.Folded(int(r.View().Position().Head.Seq))
	return r, nil
}

// View is the newest durable state. It never changes; ask again for a newer one.
func (r *Replica) View() *projections.View { return r.view.Load() }

// Rules are the operator's choices that decisions follow.
func (r *Replica) Rules() Rules { return r.config.Rules }

// Env is what a decision made now takes from outside the view.
func (r *Replica) Env() Env {
	env := Env{Now: r.config.Now(), Rules: r.config.Rules, MaxEvents: r.config.Log.Limits().Events}
	if r.config.Occupants != nil {
		env.Occupants = r.config.Occupants()
	}
	return env
}

// Leading reports whether this replica decides.
func (r *Replica) Leading() bool { return r.leading.Load() }

// Unready says why this replica serves nobody well: its view had not caught up with the head of the log when it last
// followed or led. "" when it does.
func (r *Replica) Unready() string {
	if r.current.Load() {
		return ""
	}
	return "this replica has not caught up with the head of the log"
}

func (r *Replica) publish() {
	r.view.Store(r.db.View())
	r.feed.notify(r.unpublished)
	r.unpublished = nil
}

// Do decides a command and returns when its events are durable. cause stands in the log: the uid of a pod, the id of a
// request. A command with more to do than one transaction can hold is repeated until it is done.
//
// Errors of the decision are typed, see errors.go. When ctx ends first, the command may still be carried out: it is
// idempotent, so ask again.
func (r *Replica) Do(ctx context.Context, cause string, command Command) (Result, error) {
	var sum Result
	for {
		result, err := r.once(ctx, cause, command)
		if err != nil {
			return sum, err
		}
		sum.Released = append(sum.Released, result.Released...)
		result.Released = sum.Released
		if sum = result; !sum.More {
			return sum, nil
		}
	}
}

func (r *Replica) once(ctx context.Context, cause string, command Command) (Result, error) {
	if !r.leading.Load() {
		return Result{}, ErrNotLeader
	}
	c := &call{ctx: ctx, cause: cause, command: command, response: make(chan response, 1)}
	select {
	case r.queue <- c:
	case <-ctx.Done():
		return Result{}, fmt.Errorf("wait for a place in the queue: %w", ctx.Err())
	}
	if !r.leading.Load() {
		r.refuseQueued() // the term has ended meanwhile, and may have looked into the queue before
	}
	select {
	case a := <-c.response:
		return a.result, a.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("wait for the decision, which may still be carried out: %w", ctx.Err())
	}
}

// Follow folds what others append until ctx ends, then returns nil. Any other end is an error: the log cannot be read,
// or is not to be trusted.
func (r *Replica) Follow(ctx context.Context) error {
	head := r.View().Position().Head
	for records, err := range r.config.Log.Follow(ctx, r.config.Stream, head) {
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			r.current.Store(false)
			return fmt.Errorf("follow %s: %w", r.config.Stream, err)
		}
		if err := r.fold(records); err != nil {
			r.current.Store(false)
			return err
		}
		r.publish()
	}
	return nil
}

// catchUp folds all up to the head, read linearizably: nothing may be decided on old news.
func (r *Replica) catchUp(ctx context.Context) error {
	head, err := r.config.Log.Head(ctx, r.config.Stream)
	if err != nil {
		return fmt.Errorf("read the head of %s: %w", r.config.Stream, err)
	}
	known := r.db.View().Position().Head
	if head.Generation != known.Generation {
		return fmt.Errorf("%w: it was %q, and is %q", eventlog.ErrGeneration, known.Generation, head.Generation)
	}
	if head.Seq > known.Seq {
		for records, err := range r.config.Log.Read(ctx, r.config.Stream, known.Seq, head.Seq) {
			if err == nil {
				err = r.fold(records)
			}
			if err != nil {
				return err
			}
		}
	}
	if reached := r.db.View().Position().Head; reached != head {
		return fmt.Errorf("%w: its head is event %d with hash %q, but reading it ends at event %d with hash %q",
			eventlog.ErrCorrupt, head.Seq, head.Hash, reached.Seq, reached.Hash)
	}
	r.publish()
	r.current.Store(true)
	return nil
}

func (r *Replica) fold(records []eventlog.Record) error {
	t := r.db.Write()
	events := make([]eventlog.Data, 0, len(records))
	for _, record := range records {
		e, err := t.FoldRecord(record)
		if err != nil {
			t.Abort()
			return err
		}
		events = append(events, e.Data)
		if e.Seq%checkpointEvery == 0 && r.config.Checkpoint != nil {
			t.Commit()
			r.checkpoint(r.db.View())
			t = r.db.Write()
		}
	}
	t.Commit()
	r.unpublished = append(r.unpublished, events...)
	r.config.Observer.Folded(len(records))
	return nil
}

// Lead decides the commands of callers until ctx ends or the replica is deposed, and then returns nil or the reason, an
// eventlog.ErrFenced among them. It begins by catching up with the log.
func (r *Replica) Lead(ctx context.Context, fence eventlog.Fence) error {
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	l := &leader{replica: r, fence: fence, limits: r.config.Log.Limits(), cursor: r.db.View().Cursor(),
		durable: r.db.Clone()}
	r.leading.Store(true)
	err := l.run(ctx)
	r.leading.Store(false)
	r.db = l.durable
	r.publish()
	r.refuseQueued()
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// refuseQueued answers those who asked while the term ended.
func (r *Replica) refuseQueued() {
	for {
		select {
		case c := <-r.queue:
			c.fail(ErrNotLeader)
		default:
			return
		}
	}
}

type nopObserver struct{}

func (nopObserver) Appended(int, int, time.Duration) {}
func (nopObserver) Conflict()                        {}
func (nopObserver) Folded(int)                       {}
