package log

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"galaxy/eventlog"
	"galaxy/projections"
)

// foldBatch is how many events are folded in one transaction.
const foldBatch = 1000

// checker walks through a whole log, stream by stream. It recomputes what can be recomputed: that sequence numbers have
// no hole, that each event names the hash of the one before it, that time never runs back, and that no event
// contradicts those before it.
type checker struct {
	heads    map[string]eventlog.Head // where each stream must end
	progress func(done, total uint64)
	total    uint64
	done     uint64

	stream    string
	stopped   bool         // it is wrong, and is not read any further
	snapshots []savedState // that are still to be compared
	cursor    eventlog.Cursor
	db        *projections.DB
	txn       *projections.Txn // open while the stream is read
	folded    int              // events in it

	found []verdict
}

// savedState is a snapshot: what it says the events up to one lead to.
type savedState struct {
	at     eventlog.Head // that it is stored under
	inside eventlog.Head // that it says itself
	digest string
}

// all checks a stream from its first event to its head.
func (c *checker) all(records iter.Seq2[[]eventlog.Record, error]) error {
	for batch, err := range records {
		if err != nil {
			return err
		}
		for _, r := range batch {
			if err := c.take(r); err != nil {
				return err
			}
		}
	}
	return c.end()
}

// compare compares the state with a snapshot at this event, if there is one.
func (c *checker) compare() error {
	for i, p := range c.snapshots {
		if p.at.Seq != c.cursor.Head.Seq {
			continue
		}
		c.commit()
		c.snapshots = slices.Delete(c.snapshots, i, i+1)
		if p.at.Hash != c.cursor.Head.Hash || p.inside != p.at || p.digest != c.db.View().Digest() {
			return fmt.Errorf("%w: the snapshot at event %d is not the state that the events lead to: it was "+
				"changed; delete it (it is made again), "+
				"and restart every galaxy-ipam that began from it", eventlog.ErrCorrupt, p.at.Seq)
		}
		return nil
	}
	return nil
}

// verdict is a stream that was found to be right.
type verdict struct {
	Stream string        `json:"stream"`
	Events uint64        `json:"events"`
	Head   eventlog.Hash `json:"head"`
	Held   *int          `json:"heldAddresses,omitempty"` // of the streams that have addresses
	Nodes  *int          `json:"nodes,omitempty"`         // of the stream nodes
	Digest string        `json:"digest,omitempty"`        // of the state
}

func newChecker(heads map[string]eventlog.Head, progress func(done, total uint64)) *checker {
	c := &checker{heads: heads, progress: progress}
	for _, head := range heads {
		c.total += head.Seq
	}
	return c
}

// begin turns to a stream, of which there are these snapshots. The one before may have ended anywhere.
func (c *checker) begin(stream string, snapshots []savedState) {
	if c.txn != nil {
		c.txn.Abort()
	}
	c.stream, c.stopped, c.snapshots, c.cursor, c.txn = stream, false, snapshots, eventlog.Cursor{}, nil
	c.db = projections.New(c.heads[stream].Generation)
}

// take checks the next record of the stream. The first error is the first of the log.
func (c *checker) take(r eventlog.Record) error {
	e, err := c.cursor.Read(r)
	if err != nil {
		return err
	}
	if err := c.fold(e); err != nil {
		return err
	}
	if err := c.compare(); err != nil {
		return err
	}
	if c.done++; c.done%foldBatch == 0 {
		c.progress(c.done, c.total)
	}
	return nil
}

func (c *checker) fold(e eventlog.Event) error {
	if c.txn == nil {
		c.txn = c.db.Write()
	}
	if err := c.txn.Fold(e, c.cursor.Head.Hash); err != nil {
		return err
	}
	if c.folded++; c.folded%foldBatch == 0 {
		c.commit()
	}
	return nil
}

func (c *checker) commit() {
	if c.txn != nil {
		c.txn.Commit()
		c.txn = nil
	}
}

// end makes sure that the stream ends at its head.
func (c *checker) end() error {
	head, reached := c.heads[c.stream], c.cursor.Head
	if reached.Seq != head.Seq {
		return fmt.Errorf("%w: it ends with event %d, its head is at event %d", eventlog.ErrCorrupt, reached.Seq,
			head.Seq)
	}
	if reached.Hash != head.Hash {
		return fmt.Errorf("%w: event %d hashes to %s, the head says %s", eventlog.ErrCorrupt, head.Seq, reached.Hash,
			head.Hash)
	}
	for _, p := range c.snapshots {
		return fmt.Errorf("%w: it ends with event %d, and there is a snapshot at event %d: events were removed",
			eventlog.ErrCorrupt, reached.Seq, p.at.Seq)
	}
	c.commit()
	view := c.db.View()
	v := verdict{Stream: c.stream, Events: head.Seq, Head: head.Hash, Digest: view.Digest()}
	if c.stream == eventlog.StreamNodes {
		v.Nodes = count(view.Nodes())
	} else {
		v.Held = count(view.Addresses(netip.Addr{}))
	}
	c.found = append(c.found, v)
	return nil
}

func count[T any](rows iter.Seq[T]) *int {
	n := 0
	for range rows {
		n++
	}
	return &n
}
