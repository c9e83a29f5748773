// Package journal is a node's stream in a file of the node, and what copies it to etcd. The agent writes every event
// into the file first, with fsync, so that pods get their addresses while etcd cannot be reached; being the only writer
// of its stream, it can copy the events later, in order, and nothing conflicts.
package journal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"galaxy/eventlog"
	"galaxy/pause"
)

// Errors of Begin and Forward.
var (
	// ErrUnreachable means that etcd does not answer: try again.
	ErrUnreachable = errors.New("etcd does not answer")
	// ErrDiverged means that the file and etcd have different pasts: two machines have used one node name, or the file
	// is that of another node. Neither can be repaired without losing what one of them knows.
	ErrDiverged = errors.New("the node's file and etcd have different pasts")
)

// Pauses of Forward.
const (
	firstPause = 50 * time.Millisecond
	mostPause  = 5 * time.Second
	headPoll   = 3 * time.Second  // at etcd's head, while there is nothing to copy
	noteEvery  = 10 * time.Second // when etcd was reached, into the file
	attempt    = 5 * time.Second
	// keepEvents are kept in the file although etcd has them, so that an etcd that was restored from a backup can get
	// them again.
	keepEvents = 100_000
)

// Journal is the file, and what is known of its copy in etcd.
type Journal struct {
	file *file
	log  *zap.Logger

	mu      sync.Mutex
	copied  eventlog.Head // what etcd has for sure
	reached time.Time
	noted   time.Time
	newCopy chan struct{} // closed, and made anew, whenever copied changes
}

// Open opens the file of a node, and makes it if it is not there. One that is damaged is moved away, and a new one is
// made: what etcd has is taken into it by Begin, and nothing is given out before.
func Open(path, node string, log *zap.Logger) (*Journal, error) {
	if err := checkFile(path); errors.Is(err, errDamaged) {
		aside, failed := setAside(path, time.Now())
		if failed != nil {
			return nil, fmt.Errorf("file of the node's addresses %s: %w; move it away: the agent then takes the "+
				"node's addresses from etcd", path, errors.Join(err, failed))
		}
		log.Error("the file of the node's addresses is damaged: it is moved away, and the node's addresses are taken "+
			"from etcd; what etcd had not heard of is lost",
			zap.String("file", path), zap.String("moved to", aside), zap.Error(err))
	}
	f, err := openFile(path, eventlog.StreamOfNode(node))
	if err != nil {
		return nil, err
	}
	j := &Journal{file: f, log: log, newCopy: make(chan struct{})}
	err = f.db.View(func(tx *bolt.Tx) error {
		if text := tx.Bucket(bucketMeta).Get(keyReached); text != nil {
			return j.reached.UnmarshalText(text)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("file of the node's addresses %s: %w", path, err), f.db.Close())
	}
	// the clock was ahead then, and would let the node give addresses for as long
	if now := time.Now(); j.reached.After(now) {
		j.reached = now
		j.note(now)
	}
	return j, nil
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.db.Close() }

// Log is the node's stream as the file has it.
func (j *Journal) Log() eventlog.Log { return j.file }

// Reached is when etcd answered last; the zero Time if it never did. It survives a restart, to within some seconds.
func (j *Journal) Reached() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.reached
}

// Waiting is how many events etcd does not have yet.
func (j *Journal) Waiting() int {
	head, err := j.file.Head(context.Background(), j.file.stream)
	if err != nil {
		return 0
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return int(head.Seq - min(j.copied.Seq, head.Seq))
}

// Wait waits until etcd has an event.
func (j *Journal) Wait(ctx context.Context, seq uint64) error {
	for {
		j.mu.Lock()
		have, changed := j.copied.Seq, j.newCopy
		j.mu.Unlock()
		if have >= seq {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait until etcd has event %d of %s: %w", seq, j.file.stream, ctx.Err())
		}
	}
}

// has notes that etcd has everything up to a head.
func (j *Journal) has(head eventlog.Head) {
	now := time.Now()
	j.mu.Lock()
	j.copied, j.reached = head, now
	note := now.Sub(j.noted) > noteEvery
	if note {
		j.noted = now
	}
	close(j.newCopy)
	j.newCopy = make(chan struct{})
	j.mu.Unlock()
	if note {
		j.note(now)
	}
}

// note writes into the file when etcd was reached.
func (j *Journal) note(now time.Time) {
	err := j.file.db.Update(func(tx *bolt.Tx) error {
		text, err := now.MarshalText()
		if err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(keyReached, text)
	})
	if err != nil {
		j.log.Warn("cannot note when etcd was reached", zap.Error(err))
	}
}

// Begin makes file and etcd agree, before the first new event. What only etcd has is taken into the file, which may be
// new; what only the file has is left to Forward.
func (j *Journal) Begin(ctx context.Context, remote eventlog.Log) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // a long past takes a while to read
	defer cancel()
	theirs, err := remote.Head(ctx, j.file.stream)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	ours, err := j.file.Head(ctx, j.file.stream)
	if err != nil {
		return err
	}
	if theirs.Seq > ours.Seq {
		if err := j.fetch(ctx, remote, ours, theirs); err != nil {
			return err
		}
	} else if err := j.recognise(ours, theirs); err != nil {
		return err
	}
	j.has(theirs)
	return nil
}

// recognise makes sure that what etcd has is the beginning of what the file has. An etcd that was restored from a
// backup has another generation, and may have forgotten the newest events; it gets them again.
func (j *Journal) recognise(ours, theirs eventlog.Head) error {
	hash, known, err := j.file.hashAt(theirs.Seq)
	if err != nil {
		return err
	}
	if !known || hash != theirs.Hash {
		return diverged(ours, theirs)
	}
	if ours.Generation == theirs.Generation {
		return nil
	}
	if ours.Seq > 0 {
		j.log.Warn("etcd's log has a new generation: it was restored from a backup; what the backup does not have of "+
			"this node is written to it again",
			zap.Uint64("its event", theirs.Seq), zap.Uint64("our event", ours.Seq),
			zap.String("generation", theirs.Generation))
	}
	return j.file.adopt(theirs.Generation, nil)
}

// fetch takes what only etcd has into the file.
func (j *Journal) fetch(ctx context.Context, remote eventlog.Log, ours, theirs eventlog.Head) error {
	from := ours.Seq
	if from > 0 {
		from-- // our newest event is read, too, to be compared
	}
	cursor := eventlog.Cursor{Head: ours}
	for records, err := range remote.Read(ctx, j.file.stream, from, theirs.Seq) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		if len(records) > 0 && records[0].Seq == ours.Seq {
			if records[0].Hash() != ours.Hash {
				return diverged(ours, theirs)
			}
			records = records[1:]
		}
		for _, r := range records {
			if _, err := cursor.Read(r); err != nil {
				return fmt.Errorf("stream %s in etcd: %w", j.file.stream, err)
			}
		}
		if err := j.file.adopt(theirs.Generation, records); err != nil {
			return err
		}
	}
	return nil
}

func diverged(ours, theirs eventlog.Head) error {
	return fmt.Errorf("%w: the file is at event %d with the hash %.16s, etcd at event %d with %.16s; either two "+
		"machines use one node name (rename one), or the file is of another node: "+
		"stop the agent, move the file away and start it again, and what etcd has is in force", ErrDiverged, ours.Seq,
		ours.Hash, theirs.Seq, theirs.Hash)
}

// Forward copies what is appended to the file, in order, until ctx ends. It fails with ErrDiverged, and with nothing
// else.
func (j *Journal) Forward(ctx context.Context, remote eventlog.Log, fence func() eventlog.Fence) error {
	wait := firstPause
	for ctx.Err() == nil {
		changed := j.file.waiter()
		more, err := j.forward(ctx, remote, fence())
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrDiverged):
			return err
		case err != nil:
			j.log.Debug("the node's events are not copied to etcd", zap.Error(err))
			_ = pause.For(ctx, wait/2+rand.N(wait)) // the loop sees that ctx has ended
			wait = min(2*wait, mostPause)
			continue
		}
		wait = firstPause
		if more {
			continue
		}
		j.trim()
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(headPoll):
		}
	}
	return nil
}

// forward copies one batch, or reads etcd's head if there is nothing to copy. more is true while there may be more.
func (j *Journal) forward(ctx context.Context, remote eventlog.Log, fence eventlog.Fence) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	j.mu.Lock()
	copied := j.copied
	j.mu.Unlock()
	records, err := j.file.after(copied.Seq, 0)
	if err != nil {
		return false, err
	}
	if len(records) == 0 {
		return false, j.checkHead(ctx, remote, copied)
	}
	head, err := remote.Append(ctx, j.file.stream, copied, fitting(records, remote.Limits()), fence)
	if errors.Is(err, eventlog.ErrConflict) || errors.Is(err, eventlog.ErrGeneration) {
		return true, j.Begin(ctx, remote) // a response that was lost, or an etcd that was restored
	}
	if err != nil {
		return false, err
	}
	j.has(head)
	return true, nil
}

// checkHead makes sure that etcd still has what it had.
func (j *Journal) checkHead(ctx context.Context, remote eventlog.Log, copied eventlog.Head) error {
	head, err := remote.Head(ctx, j.file.stream)
	if err != nil {
		return err
	}
	if head != copied {
		return j.Begin(ctx, remote)
	}
	j.has(head)
	return nil
}

// fitting are as many of the records as one append may carry.
func fitting(records []eventlog.Record, limits eventlog.Limits) []eventlog.Record {
	size := 0
	for i, r := range records {
		size += len(r.Bytes)
		if i > 0 && (i >= limits.Events || size > limits.Bytes) {
			return records[:i]
		}
	}
	return records
}

// trim forgets what etcd has had for long, and what a snapshot stands for.
func (j *Journal) trim() {
	head, saved, err := j.file.LoadSnapshot(context.Background(), j.file.stream, 0)
	if err != nil {
		return // no snapshot: all is needed
	}
	_ = saved.Close() // it is only in memory
	j.mu.Lock()
	copied := j.copied.Seq
	j.mu.Unlock()
	if through := min(head.Seq, copied); through > 2*keepEvents {
		if err := j.file.trim(through - keepEvents); err != nil {
			j.log.Warn("old events stay in the node's file", zap.Error(err))
		}
	}
}
