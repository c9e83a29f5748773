package memlog

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"galaxy/eventlog"
)

const keptSnapshots = 2 // of a stream, as in etcdlog

type snapshot struct {
	head    eventlog.Head
	content []byte
}

// SaveSnapshot stores what write produces. Afterwards only the two newest snapshots of the stream are left.
func (l *Log) SaveSnapshot(ctx context.Context, stream string, at eventlog.Head, write func(io.Writer) error) error {
	if err := check(ctx, stream); err != nil {
		return err
	}
	var content bytes.Buffer
	if err := write(&content); err != nil {
		return fmt.Errorf("save a snapshot of %s at event %d: %w", stream, at.Seq, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.Generation != l.generation {
		return fmt.Errorf("save a snapshot of %s at event %d: %w: %s, not %s", stream, at.Seq, eventlog.ErrGeneration,
			l.generation, at.Generation)
	}
	s := l.of(stream)
	kept := slices.DeleteFunc(s.snapshots, func(old snapshot) bool {
		return old.head.Seq == at.Seq || old.head.Generation != l.generation
	})
	kept = append(kept, snapshot{at, content.Bytes()})
	slices.SortFunc(kept, func(a, b snapshot) int { return cmp.Compare(a.head.Seq, b.head.Seq) })
	s.snapshots = kept[max(0, len(kept)-keptSnapshots):]
	return nil
}

// LoadSnapshot opens the newest snapshot that is not past atMost (0: any).
func (l *Log) LoadSnapshot(ctx context.Context, stream string, atMost uint64) (eventlog.Head, io.ReadCloser, error) {
	if err := check(ctx, stream); err != nil {
		return eventlog.Head{}, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range slices.Backward(l.of(stream).snapshots) {
		if s.head.Generation == l.generation && (atMost == 0 || s.head.Seq <= atMost) {
			return s.head, io.NopCloser(bytes.NewReader(s.content)), nil
		}
	}
	return eventlog.Head{}, nil, fmt.Errorf("stream %s: %w", stream, eventlog.ErrNoSnapshot)
}
