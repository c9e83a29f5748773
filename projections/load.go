package projections

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"galaxy/eventlog"
)

// Until is a point of a stream: the state after the event Seq, or after the last event that is not later than Time. The
// zero Until is the head.
type Until struct {
	Seq  uint64
	Time time.Time
}

// Load builds the state of a stream as of a point: from the newest snapshot before it, and the events after that.
// Progress, if not nil, is called with the sequence number reached, now and then.
func Load(ctx context.Context, log eventlog.Log, stream string, until Until, progress func(seq uint64)) (*DB, error) {
	db, err := base(ctx, log, stream, until)
	if err != nil {
		return nil, err
	}
	err = db.CatchUp(ctx, log.Read(ctx, stream, db.View().position.Head.Seq, until.Seq), until, progress)
	return db, err
}

// base is the newest snapshot that is not past the point, or the empty state. A snapshot that cannot be read is passed
// over: the log has it all.
func base(ctx context.Context, log eventlog.Log, stream string, until Until) (*DB, error) {
	for atMost := until.Seq; ; {
		head, saved, err := log.LoadSnapshot(ctx, stream, atMost)
		if errors.Is(err, eventlog.ErrNoSnapshot) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("find a snapshot: %w", err)
		}
		db, err := Restore(saved)
		_ = saved.Close() // read to its end, or given up
		if err == nil && db.fits(head, until) {
			return db, nil
		}
		if head.Seq <= 1 {
			break
		}
		atMost = head.Seq - 1
	}
	head, err := log.Head(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("read the head of %s: %w", stream, err)
	}
	return New(head.Generation), nil
}

func (db *DB) fits(head eventlog.Head, until Until) bool {
	p := db.View().position
	return p.Head == head && (until.Time.IsZero() || !p.Time.After(until.Time))
}

// CatchUp folds batches of records as they come, one transaction a batch, until they end or pass the point. Records are
// decoded beside the folding, as both cost about the same.
func (db *DB) CatchUp(ctx context.Context, batches iter.Seq2[[]eventlog.Record, error], until Until,
	progress func(seq uint64)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	decoded := make(chan decodedBatch, 2)
	go decode(ctx, db.View().Cursor(), batches, until, decoded)
	for batch := range decoded {
		if err := db.foldBatch(batch); err != nil {
			return err
		}
		if progress != nil && len(batch.events) > 0 {
			progress(batch.events[len(batch.events)-1].Seq)
		}
		if batch.err != nil {
			return batch.err
		}
	}
	return ctx.Err()
}

type decodedBatch struct {
	events []eventlog.Event
	hashes []eventlog.Hash
	err    error // what came after the events
}

func decode(ctx context.Context, cursor eventlog.Cursor, batches iter.Seq2[[]eventlog.Record, error], until Until,
	out chan<- decodedBatch) {
	defer close(out)
	for records, err := range batches {
		batch := decodedBatch{err: err}
		passed := false
		for _, r := range records {
			e, err := cursor.Read(r)
			if passed = err == nil && !until.Time.IsZero() && e.Time.After(until.Time); err != nil || passed {
				batch.err = err
				break
			}
			batch.events, batch.hashes = append(batch.events, e), append(batch.hashes, cursor.Head.Hash)
		}
		select {
		case out <- batch:
		case <-ctx.Done():
			return
		}
		if batch.err != nil || passed {
			return
		}
	}
}

func (db *DB) foldBatch(batch decodedBatch) error {
	if len(batch.events) == 0 {
		return nil
	}
	t := db.Write()
	for i, e := range batch.events {
		if err := t.Fold(e, batch.hashes[i]); err != nil {
			t.Abort()
			return err
		}
	}
	t.Commit()
	return nil
}
