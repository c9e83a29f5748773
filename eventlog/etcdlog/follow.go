package etcdlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
)

// Follow yields all records after a head and then those that come. See eventlog.Log. The head's generation may be
// empty: then it is that of the log at the call. When ctx ends, the last that is yielded is its error.
func (l *Log) Follow(ctx context.Context, stream string, after eventlog.Head) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		f := &following{log: l, stream: stream, events: l.keys.events(stream), at: after, yield: yield}
		if err := eventlog.CheckStream(stream); err != nil {
			yield(nil, err)
			return
		}
		if err := f.run(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

// errStopped means that the caller of Follow wants no more.
var errStopped = errors.New("the follower has stopped")

// following is one follower: it reads to the head, watches from there, and begins again whenever the watch can no
// longer be trusted to be complete.
type following struct {
	log    *Log
	stream string
	events string        // the prefix of the stream's events
	at     eventlog.Head // of the newest record that was yielded
	yield  func([]eventlog.Record, error) bool
}

func (f *following) run(ctx context.Context) error {
	var pause backoff
	for {
		before := f.at.Seq
		revision, err := f.catchUp(ctx)
		if err == nil {
			err = f.watch(ctx, revision+1)
		}
		switch {
		case errors.Is(err, errStopped):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case f.at.Generation != "" && (errors.Is(err, ErrNoLog) || errors.Is(err, ErrRestoring)):
			return fmt.Errorf("follow stream %s after event %d of generation %s: %w: %w", f.stream, f.at.Seq,
				f.at.Generation, eventlog.ErrGeneration, err)
		case err != nil && (isFinal(err) || f.log.client.Ctx().Err() != nil):
			return err
		}
		if err == nil || f.at.Seq > before {
			pause = backoff{}
		}
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// catchUp yields what there is, and returns the revision at which it was read.
func (f *following) catchUp(ctx context.Context) (int64, error) {
	start, err := f.start(ctx)
	if err != nil {
		return 0, err
	}
	if err := f.check(start.head); err != nil {
		return 0, err
	}
	// A compaction may move the reading to a newer revision, but only what was there at the first is sure to be seen.
	revision := start.revision
	var failed error
	start.pages(ctx, 0, func(records []eventlog.Record, err error) bool {
		if err == nil {
			err = f.pass(records)
		}
		failed = err
		return err == nil
	})
	return revision, failed
}

// start reads the head and the first page, and makes sure that the event we stand at is still the one we know.
func (f *following) start(ctx context.Context) (*reading, error) {
	ctx, cancel := context.WithTimeout(ctx, f.log.options.AttemptTimeout)
	defer cancel()
	start, err := f.log.start(ctx, f.stream, f.at.Seq)
	if err != nil || f.at.Seq == 0 || f.at.Seq >= start.head.Seq {
		return start, err
	}
	known, err := f.log.client.Get(ctx, eventKey(f.events, f.at.Seq))
	if err != nil {
		return nil, fmt.Errorf("read stream %s, event %d: %w", f.stream, f.at.Seq, err)
	}
	if len(known.Kvs) == 0 {
		return nil, f.lost(ctx, f.at.Seq)
	}
	if hash := eventlog.Hash(sha256.Sum256(known.Kvs[0].Value)); hash != f.at.Hash {
		return nil, f.diagnose(ctx, corrupt("stream %s: event %d hashes to %s, it was known as %s", f.stream, f.at.Seq,
			hash, f.at.Hash))
	}
	return start, nil
}

// check compares the newest head with what we know of the stream.
func (f *following) check(head eventlog.Head) error {
	switch {
	case f.at.Generation == "":
		f.at.Generation = head.Generation
	case f.at.Generation != head.Generation:
		return fmt.Errorf("follow stream %s after event %d of generation %s: %w: %s", f.stream, f.at.Seq,
			f.at.Generation, eventlog.ErrGeneration, head.Generation)
	}
	if head.Seq < f.at.Seq {
		return corrupt("stream %s: the head is at event %d, event %d was there before", f.stream, head.Seq, f.at.Seq)
	}
	if head.Seq == f.at.Seq && head.Hash != f.at.Hash {
		return corrupt("stream %s: the head has hash %s for event %d, it was known as %s", f.stream, head.Hash,
			head.Seq, f.at.Hash)
	}
	return nil
}

// watch yields what comes. It returns nil when the stream must be read again.
func (f *following) watch(ctx context.Context, from int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	responses := f.log.client.Watch(clientv3.WithRequireLeader(ctx), f.events,
		clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithFragment())
	tick := time.NewTicker(f.log.options.CheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case response, open := <-responses:
			if !open || isCompacted(response.Err()) {
				return nil
			}
			if err := response.Err(); err != nil {
				return fmt.Errorf("watch stream %s: %w", f.stream, err)
			}
			if complete, err := f.take(ctx, response.Events); err != nil || !complete {
				return err
			}
		case <-tick.C:
			if behind, err := f.compare(ctx); err != nil || behind {
				return err
			}
		}
	}
}

// take yields the new records among the events of a watch. It is not complete when there is a hole before them.
func (f *following) take(ctx context.Context, events []*clientv3.Event) (complete bool, err error) {
	records := make([]eventlog.Record, 0, len(events))
	next := f.at.Seq + 1
	for _, e := range events {
		seq, err := seqOf(e.Kv.Key, f.events)
		if err != nil {
			return false, corrupt("stream %s: %w", f.stream, err)
		}
		if e.Type == clientv3.EventTypeDelete {
			return false, f.lost(ctx, seq)
		}
		if !e.IsCreate() {
			return false, f.diagnose(ctx, corrupt("stream %s: event %d was overwritten", f.stream, seq))
		}
		if seq < next {
			continue
		}
		if seq > next {
			return false, nil
		}
		records = append(records, eventlog.Record{Seq: seq, Bytes: e.Kv.Value})
		next++
	}
	if len(records) == 0 {
		return true, nil
	}
	return true, f.pass(records)
}

// compare looks whether the head is where we are. It is behind when something has come that no watch brought.
func (f *following) compare(ctx context.Context) (behind bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.log.options.AttemptTimeout)
	defer cancel()
	head, err := f.log.Head(ctx, f.stream)
	if err != nil {
		return false, err
	}
	return head.Seq > f.at.Seq, f.check(head)
}

// pass yields records that follow on what was yielded before.
func (f *following) pass(records []eventlog.Record) error {
	last := records[len(records)-1]
	f.at.Seq, f.at.Hash = last.Seq, last.Hash()
	if !f.yield(records, nil) {
		return errStopped
	}
	return nil
}

// lost is the error of an event that was deleted.
func (f *following) lost(ctx context.Context, seq uint64) error {
	return f.diagnose(ctx, corrupt("stream %s: event %d was deleted", f.stream, seq))
}

// diagnose turns damage into ErrGeneration when it comes of the whole log being replaced.
func (f *following) diagnose(ctx context.Context, damage error) error {
	head, err := f.log.Head(ctx, f.stream)
	if errors.Is(err, ErrNoLog) || err == nil && f.at.Generation != "" && head.Generation != f.at.Generation {
		return fmt.Errorf("%w: %w", eventlog.ErrGeneration, damage)
	}
	return damage
}
