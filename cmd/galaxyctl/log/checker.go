package log

import (
	"fmt"
	"iter"
	"net/netip"

	"galaxy/eventlog"
	"galaxy/projections"
)

// foldBatch is how many events are folded in one transaction.
const foldBatch = 1000

// checker walks through a whole log, stream by stream. It recomputes what can be recomputed: that sequence numbers have no
// hole, that each event names the hash of the one before it, that time never runs back, and that no event contradicts those
// before it.
type checker struct {
	heads    map[string]eventlog.Head // where each stream must end
	progress func(done, total uint64)
	total    uint64
	done     uint64

	stream string
	cursor eventlog.Cursor
	db     *projections.DB
	txn    *projections.Txn // open while the stream is read
	folded int              // events in it

	found []verdict
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

// begin turns to a stream.
func (c *checker) begin(stream string) {
	c.stream, c.cursor, c.db = stream, eventlog.Cursor{}, nil
	c.db = projections.New(c.heads[stream].Generation)
}

// take checks the next record of the stream. The first error is the first fault of the log.
func (c *checker) take(r eventlog.Record) error {
	e, err := c.cursor.Read(r)
	if err != nil {
		return c.fault(err)
	}
	if err := c.fold(e); err != nil {
		return c.fault(err)
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
		return c.fault(fmt.Errorf("%w: it ends with event %d, its head is at event %d", eventlog.ErrCorrupt, reached.Seq, head.Seq))
	}
	if reached.Hash != head.Hash {
		return c.fault(fmt.Errorf("%w: event %d hashes to %s, the head says %s", eventlog.ErrCorrupt, head.Seq, reached.Hash, head.Hash))
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

func (c *checker) fault(err error) error { return fmt.Errorf("stream %s: %w", c.stream, err) }

func count[T any](rows iter.Seq[T]) *int {
	n := 0
	for range rows {
		n++
	}
	return &n
}
