// Package memlog is the event log in memory: the same contract as etcdlog, for tests and dry runs. Its fences,
// generation and faults are set by hand.
package memlog

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"galaxy/eventlog"
)

// DefaultLimits are those of an etcd that is configured as it comes.
var DefaultLimits = eventlog.Limits{Events: 127, Bytes: 1 << 20}

// Log is a log in memory. Records that it yields share their bytes with it: they are to be read only.
type Log struct {
	mu         sync.Mutex
	limits     eventlog.Limits
	generation string
	streams    map[string]*stream
	fences     map[string]int64
	fault      func(stream string, after eventlog.Head) Fault
	changed    chan struct{} // closed, and made anew, at every change that a follower waits for
}

type stream struct {
	head      eventlog.Head
	records   []eventlog.Record // records[i].Seq == i+1; only ever appended to, so that readers may keep a slice of it
	snapshots []snapshot        // ascending
}

var _ eventlog.Log = (*Log)(nil)

// New makes an empty log of a new generation.
func New() *Log { return NewWithLimits(DefaultLimits) }

// NewWithLimits makes an empty log with other limits than the default.
func NewWithLimits(limits eventlog.Limits) *Log {
	return &Log{limits: limits, generation: rand.Text(), streams: map[string]*stream{}, fences: map[string]int64{},
		changed: make(chan struct{})}
}

// Limits are what one Append may carry.
func (l *Log) Limits() eventlog.Limits { return l.limits }

// of is the stream of that name. The caller holds mu.
func (l *Log) of(name string) *stream {
	s := l.streams[name]
	if s == nil {
		s = &stream{head: eventlog.Head{Generation: l.generation}}
		l.streams[name] = s
	}
	return s
}

// wake lets followers look again. The caller holds mu.
func (l *Log) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Head reads the newest position of a stream.
func (l *Log) Head(ctx context.Context, stream string) (eventlog.Head, error) {
	if err := check(ctx, stream); err != nil {
		return eventlog.Head{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(stream).head, nil
}

func check(ctx context.Context, stream string) error {
	if stream == "" || strings.Contains(stream, "/") {
		return fmt.Errorf("stream %q: want a name without slashes", stream)
	}
	return ctx.Err()
}

// Append adds the records. See eventlog.Log.
func (l *Log) Append(ctx context.Context, stream string, after eventlog.Head, records []eventlog.Record,
	fence eventlog.Fence) (eventlog.Head, error) {
	if err := check(ctx, stream); err != nil {
		return eventlog.Head{}, err
	}
	if err := l.limits.Check(after, records); err != nil {
		return eventlog.Head{}, fmt.Errorf("append to %s after event %d: %w", stream, after.Seq, err)
	}
	fault := l.faultFor(stream, after)
	if fault.Err != nil && !fault.Landed {
		return eventlog.Head{}, fmt.Errorf("append to %s after event %d: %w", stream, after.Seq, fault.Err)
	}
	head, err := l.append(stream, after, records, fence)
	if err == nil {
		err = fault.Err
	}
	if err != nil {
		return eventlog.Head{}, fmt.Errorf("append to %s after event %d: %w", stream, after.Seq, err)
	}
	return head, nil
}

func (l *Log) append(name string, after eventlog.Head, records []eventlog.Record,
	fence eventlog.Fence) (eventlog.Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.of(name)
	if after.Generation != l.generation {
		return eventlog.Head{}, fmt.Errorf("%w: %s, not %s", eventlog.ErrGeneration, l.generation, after.Generation)
	}
	if revision, held := l.fences[fence.Key]; fence != (eventlog.Fence{}) && (!held || revision != fence.Revision) {
		return eventlog.Head{}, fmt.Errorf("%w: %s was created at revision %d", eventlog.ErrFenced, fence.Key,
			fence.Revision)
	}
	if after != s.head {
		return eventlog.Head{}, fmt.Errorf("%w: it is at event %d", eventlog.ErrConflict, s.head.Seq)
	}
	for _, r := range records {
		s.records = append(s.records, eventlog.Record{Seq: r.Seq, Bytes: slices.Clone(r.Bytes)})
	}
	last := records[len(records)-1]
	s.head.Seq, s.head.Hash = last.Seq, last.Hash()
	l.wake()
	return s.head, nil
}

// batch is how many records are yielded at once.
const batch = 1024

// Read yields the records after a sequence number. See eventlog.Log. A through that lies past the head reads to the
// head.
func (l *Log) Read(ctx context.Context, stream string, after, through uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		if err := check(ctx, stream); err != nil {
			yield(nil, err)
			return
		}
		l.mu.Lock()
		records := l.of(stream).records
		l.mu.Unlock()
		if through > 0 && through < uint64(len(records)) {
			records = records[:through]
		}
		if after >= uint64(len(records)) {
			return
		}
		for part := range slices.Chunk(records[after:], batch) {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(slices.Clone(part), nil) {
				return
			}
		}
	}
}

// Follow yields all records after a head and then those that come. See eventlog.Log. The head's generation may be
// empty: then it is that of the log at the call. When ctx ends, the last that is yielded is its error.
func (l *Log) Follow(ctx context.Context, stream string, after eventlog.Head) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		for {
			if err := check(ctx, stream); err != nil {
				yield(nil, err)
				return
			}
			records, generation, changed, err := l.since(stream, after)
			if err != nil {
				yield(nil, fmt.Errorf("follow stream %s after event %d: %w", stream, after.Seq, err))
				return
			}
			after.Generation = generation
			if len(records) == 0 {
				select {
				case <-ctx.Done():
				case <-changed:
				}
				continue
			}
			last := records[len(records)-1]
			after.Seq, after.Hash = last.Seq, last.Hash()
			if !yield(records, nil) {
				return
			}
		}
	}
}

// since is what a follower at a head has not seen yet, and what it waits for when that is nothing.
func (l *Log) since(name string, after eventlog.Head) (records []eventlog.Record, generation string,
	changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.of(name)
	if after.Generation != "" && after.Generation != l.generation {
		return nil, "", nil, fmt.Errorf("%w: %s, not %s", eventlog.ErrGeneration, l.generation, after.Generation)
	}
	if after.Seq > s.head.Seq {
		return nil, "", nil, fmt.Errorf("%w: the head is at event %d", eventlog.ErrCorrupt, s.head.Seq)
	}
	if after.Seq > 0 && s.records[after.Seq-1].Hash() != after.Hash {
		return nil, "", nil, fmt.Errorf("%w: event %d hashes to %s, it was known as %s", eventlog.ErrCorrupt, after.Seq,
			s.records[after.Seq-1].Hash(), after.Hash)
	}
	rest := s.records[after.Seq:]
	return slices.Clone(rest[:min(batch, len(rest))]), l.generation, l.changed, nil
}
