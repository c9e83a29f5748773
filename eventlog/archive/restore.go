package archive

import (
	"context"
	"fmt"

	"galaxy/eventlog"
)

// Target is where a log is restored to; an *etcdlog.Import is one. Nothing that it is given counts before Commit.
type Target interface {
	Append(ctx context.Context, stream string, records []eventlog.Record) error
	Commit(ctx context.Context, heads map[string]eventlog.Head) error
}

// restoreBytes bounds the events that are handed to a target at once.
const restoreBytes = 1 << 20

// Restore writes the events of a backup to a target, and commits them once the whole backup was read and found right.
// An error before that leaves the target as after a crash: begun and not committed.
func Restore(ctx context.Context, backup *Reader, target Target, progress Progress) error {
	r := &restoring{target: target, progress: progress, total: backup.manifest.Events()}
	for entry, err := range backup.Entries() {
		if err != nil {
			return err
		}
		if err := r.add(ctx, entry); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	if err := r.flush(ctx); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := target.Commit(ctx, backup.manifest.Heads()); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// restoring collects events of one stream until there are enough of them.
type restoring struct {
	target   Target
	progress Progress
	stream   string
	records  []eventlog.Record
	bytes    int
	done     uint64
	total    uint64
}

func (r *restoring) add(ctx context.Context, e Entry) error {
	if e.Stream != r.stream || r.bytes+len(e.Record.Bytes) > restoreBytes || len(r.records) == reportEvery {
		if err := r.flush(ctx); err != nil {
			return err
		}
	}
	r.stream = e.Stream
	r.records = append(r.records, e.Record)
	r.bytes += len(e.Record.Bytes)
	return nil
}

func (r *restoring) flush(ctx context.Context) error {
	if len(r.records) == 0 {
		return nil
	}
	if err := r.target.Append(ctx, r.stream, r.records); err != nil {
		return err
	}
	r.done += uint64(len(r.records))
	r.progress.report(r.done, r.total)
	r.records, r.bytes = nil, 0
	return nil
}
