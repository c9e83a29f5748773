package journal

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"galaxy/eventlog"
)

// file is one stream of the log in a file. It has one writer, this process, so it needs no election: fences mean
// nothing to it.
type file struct {
	db      *bolt.DB
	stream  string
	reserve reserve

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, after every append
}

var _ eventlog.Log = (*file)(nil)

// The buckets, and the keys of meta.
var (
	bucketEvents    = []byte("events")    // sequence number, 8 bytes big endian → the bytes of the event
	bucketSnapshots = []byte("snapshots") // sequence number → a line with the head, and the snapshot
	bucketMeta      = []byte("meta")
	keyStream       = []byte("stream")
	keyHead         = []byte("head")
	keyReached      = []byte("reached")
)

// limits let a batch be as large as it is in etcd.
var limits = eventlog.Limits{Events: 127, Bytes: 1 << 20}

const (
	lockWait = 5 * time.Second
	page     = 1000 // records that are read in one go
)

func openFile(path, stream string) (*file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("file of the node's addresses: %w", err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("file of the node's addresses %s: another agent has it open; stop it first", path)
	case err != nil:
		return nil, fmt.Errorf("file of the node's addresses %s: %w; if it is damaged, move it away: the agent then "+
			"takes the node's addresses from etcd", path, err)
	}
	f := &file{db: db, stream: stream, reserve: reserve(path + ".reserve"), changed: make(chan struct{})}
	if err := db.Update(f.prepare); err != nil {
		return nil, errors.Join(fmt.Errorf("file of the node's addresses %s: %w", path, err), db.Close())
	}
	return f, nil
}

func (f *file) prepare(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketEvents, bucketSnapshots, bucketMeta} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	if of := meta.Get(keyStream); of != nil && string(of) != f.stream {
		return fmt.Errorf("it is of stream %s, and this node's is %s; move it away if the node was renamed", of,
			f.stream)
	}
	return meta.Put(keyStream, []byte(f.stream))
}

func key(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func readHead(tx *bolt.Tx) (head eventlog.Head, err error) {
	if text := tx.Bucket(bucketMeta).Get(keyHead); text != nil {
		err = json.Unmarshal(text, &head)
	}
	return head, err
}

func writeHead(tx *bolt.Tx, head eventlog.Head) error {
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(keyHead, text)
}

func (f *file) check(ctx context.Context, stream string) error {
	if stream != f.stream {
		return fmt.Errorf("stream %q: this file has only %s", stream, f.stream)
	}
	return ctx.Err()
}

// Head implements eventlog.Log.
func (f *file) Head(ctx context.Context, stream string) (head eventlog.Head, err error) {
	if err := f.check(ctx, stream); err != nil {
		return head, err
	}
	err = f.db.View(func(tx *bolt.Tx) error {
		head, err = readHead(tx)
		return err
	})
	return head, err
}

// Append implements eventlog.Log. It returns after the disk has it.
func (f *file) Append(ctx context.Context, stream string, after eventlog.Head, records []eventlog.Record,
	_ eventlog.Fence) (eventlog.Head, error) {
	if err := f.check(ctx, stream); err != nil {
		return eventlog.Head{}, err
	}
	if err := limits.Check(after, records); err != nil {
		return eventlog.Head{}, fmt.Errorf("append to the file of %s after event %d: %w", stream, after.Seq, err)
	}
	head := after
	err := f.update(func(tx *bolt.Tx) error {
		at, err := readHead(tx)
		switch {
		case err != nil:
			return err
		case at.Generation != after.Generation:
			return fmt.Errorf("%w: it was %q, and is %q", eventlog.ErrGeneration, after.Generation, at.Generation)
		case at != after:
			return fmt.Errorf("%w: it is at event %d, not %d", eventlog.ErrConflict, at.Seq, after.Seq)
		}
		head, err = put(tx, after, records)
		return err
	})
	if err != nil {
		return eventlog.Head{}, fmt.Errorf("append to the file of %s after event %d: %w", stream, after.Seq, err)
	}
	f.wake()
	return head, nil
}

// put writes records after a head, and the head after them. It makes sure of their numbers itself, as what is adopted
// has not been checked.
func put(tx *bolt.Tx, after eventlog.Head, records []eventlog.Record) (eventlog.Head, error) {
	events := tx.Bucket(bucketEvents)
	events.FillPercent = 0.95 // keys only ever ascend
	head := after
	for _, r := range records {
		if r.Seq != head.Seq+1 {
			return head, fmt.Errorf("record %d comes after event %d", r.Seq, head.Seq)
		}
		if err := events.Put(key(r.Seq), r.Bytes); err != nil {
			return head, err
		}
		head.Seq, head.Hash = r.Seq, r.Hash()
	}
	return head, writeHead(tx, head)
}

func (f *file) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *file) waiter() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// after reads up to a page of records after a sequence number, up to through (0: no bound).
func (f *file) after(seq, through uint64) (records []eventlog.Record, err error) {
	err = f.db.View(func(tx *bolt.Tx) error {
		head, err := readHead(tx)
		if err != nil {
			return err
		}
		if through == 0 || through > head.Seq {
			through = head.Seq
		}
		c := tx.Bucket(bucketEvents).Cursor()
		for k, v := c.Seek(key(seq + 1)); k != nil && len(records) < page; k, v = c.Next() {
			at := binary.BigEndian.Uint64(k)
			if at > through {
				break
			}
			if want := seq + uint64(len(records)) + 1; at != want {
				return fmt.Errorf("%w: event %d is missing in the file of %s; older events are in etcd",
					eventlog.ErrCorrupt, want, f.stream)
			}
			records = append(records, eventlog.Record{Seq: at, Bytes: append([]byte(nil), v...)})
		}
		if len(records) == 0 && seq < through {
			return fmt.Errorf("%w: event %d is missing in the file of %s", eventlog.ErrCorrupt, seq+1, f.stream)
		}
		return nil
	})
	return records, err
}

// Read implements eventlog.Log.
func (f *file) Read(ctx context.Context, stream string, after, through uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		head, err := f.Head(ctx, stream)
		if err != nil {
			yield(nil, err)
			return
		}
		if through == 0 || through > head.Seq {
			through = head.Seq
		}
		for after < through {
			records, err := f.after(after, through)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(records, nil) {
				return
			}
			after = records[len(records)-1].Seq
		}
	}
}

// Follow implements eventlog.Log.
func (f *file) Follow(ctx context.Context, stream string, after eventlog.Head) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		for {
			changed := f.waiter()
			head, err := f.Head(ctx, stream)
			if err == nil {
				err = f.knows(after, head)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for records, err := range f.Read(ctx, stream, after.Seq, head.Seq) {
				if err != nil {
					yield(nil, err)
					return
				}
				if !yield(records, nil) {
					return
				}
				last := records[len(records)-1]
				after.Seq, after.Hash = last.Seq, last.Hash()
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			}
		}
	}
}

// knows makes sure that a follower stands at an event of this file. Events that were trimmed cannot be compared any
// more.
func (f *file) knows(after, head eventlog.Head) error {
	if after.Generation != "" && head.Generation != after.Generation {
		return fmt.Errorf("%w: it was %q, and is %q", eventlog.ErrGeneration, after.Generation, head.Generation)
	}
	hash, known, err := f.hashAt(after.Seq)
	if err == nil && (after.Seq > head.Seq || known && hash != after.Hash) {
		err = fmt.Errorf("%w: event %d of the file of %s is not the one that was known", eventlog.ErrCorrupt, after.Seq,
			f.stream)
	}
	return err
}

// Limits implements eventlog.Log.
func (f *file) Limits() eventlog.Limits { return limits }

// SaveSnapshot implements eventlog.Log: the newest snapshot replaces the one before.
func (f *file) SaveSnapshot(ctx context.Context, stream string, at eventlog.Head, write func(io.Writer) error) error {
	if err := f.check(ctx, stream); err != nil {
		return err
	}
	text, err := encodeSnapshot(at, write)
	if err != nil {
		return err
	}
	return f.db.Update(func(tx *bolt.Tx) error {
		head, err := readHead(tx)
		if err == nil && head.Generation != at.Generation {
			err = fmt.Errorf("save the snapshot at event %d: %w: it was %q, and is %q", at.Seq, eventlog.ErrGeneration,
				at.Generation, head.Generation)
		}
		if err != nil {
			return err
		}
		b := tx.Bucket(bucketSnapshots)
		c := b.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.First() {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		return b.Put(key(at.Seq), text)
	})
}

// LoadSnapshot implements eventlog.Log.
func (f *file) LoadSnapshot(ctx context.Context, stream string,
	atMost uint64) (head eventlog.Head, content io.ReadCloser, err error) {
	if err := f.check(ctx, stream); err != nil {
		return head, nil, err
	}
	var text []byte
	err = f.db.View(func(tx *bolt.Tx) error {
		k, v := tx.Bucket(bucketSnapshots).Cursor().Last()
		if k != nil && (atMost == 0 || binary.BigEndian.Uint64(k) <= atMost) {
			text = append([]byte(nil), v...)
		}
		return nil
	})
	if err != nil {
		return head, nil, err
	}
	if text == nil {
		return head, nil, eventlog.ErrNoSnapshot
	}
	saved, content, err := decodeSnapshot(text)
	if err != nil {
		return head, nil, err
	}
	if now, err := f.Head(ctx, stream); err != nil || now.Generation != saved.Generation {
		return head, nil, errors.Join(err, eventlog.ErrNoSnapshot)
	}
	return saved, content, nil
}

// adopt makes the file follow a log: with its generation, and with records that the file does not have.
func (f *file) adopt(generation string, records []eventlog.Record) error {
	err := f.db.Update(func(tx *bolt.Tx) error {
		head, err := readHead(tx)
		if err != nil {
			return err
		}
		head.Generation = generation
		_, err = put(tx, head, records)
		return err
	})
	if err == nil {
		f.wake()
	}
	return err
}

// hashAt is the hash of an event in the file; known is false for one that it does not have.
func (f *file) hashAt(seq uint64) (hash eventlog.Hash, known bool, err error) {
	if seq == 0 {
		return eventlog.Hash{}, true, nil
	}
	err = f.db.View(func(tx *bolt.Tx) error {
		if text := tx.Bucket(bucketEvents).Get(key(seq)); text != nil {
			hash, known = eventlog.Record{Seq: seq, Bytes: text}.Hash(), true
		}
		return nil
	})
	return hash, known, err
}

// trim removes events up to and with a sequence number. The newest stays in any case, as the next one names its hash.
func (f *file) trim(through uint64) error {
	return f.db.Update(func(tx *bolt.Tx) error {
		head, err := readHead(tx)
		if err != nil {
			return err
		}
		b := tx.Bucket(bucketEvents)
		c := b.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.First() {
			if seq := binary.BigEndian.Uint64(k); seq > through || seq >= head.Seq {
				return nil
			}
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}
