package allocator

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"galaxy/eventlog"
	"galaxy/projections"
)

// leader is the one writing loop. One batch of commands is open: each is decided on the state that those before it
// leave, and its events are folded into the open transaction at once. One batch is in flight: its events are on their
// way to the log. While it is, the next batch is decided, folded and encoded, so neither waits for the other. Only when
// a batch is durable do readers see it, and are its callers answered.
//
//	callers ─▶ queue ─▶ open: decide, fold, encode ─▶ in flight: append ─▶ durable: publish, answer
//
// When the append loses against another writer, both batches are dropped, the log is read, and their callers' commands
// are decided again.
type leader struct {
	replica *Replica
	fence   eventlog.Fence
	limits  eventlog.Limits
	cursor  eventlog.Cursor // after the last event that was encoded
	durable *projections.DB // as of the last batch that landed

	waiting  []*call // to be decided before those in the queue
	open     *batch
	full     bool // the first of waiting does not fit in the open batch
	inFlight *batch
	landed   chan outcome
}

// batch is some commands and the transaction that they share.
type batch struct {
	txn     *projections.Txn
	after   eventlog.Head
	records []eventlog.Record
	events  []eventlog.Data
	bytes   int
	calls   []*call
	results []response
	db      *projections.DB // the state after the batch, once it is launched
}

// call is one caller who waits.
type call struct {
	ctx      context.Context
	cause    string
	command  Command
	response chan response
}

type response struct {
	result Result
	err    error
}

func (c *call) fail(err error) { c.response <- response{err: err} }

// outcome is what became of the batch in flight.
type outcome struct {
	err  error
	took time.Duration
}

// grace is how long the batch in flight may still take when the term has to end.
const grace = 5 * time.Second

func (l *leader) run(ctx context.Context) error {
	appending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	l.landed = make(chan outcome, 1)
	err := l.loop(ctx, appending)
	if l.inFlight != nil {
		impatient := time.AfterFunc(grace, cancel)
		l.settleLast(<-l.landed)
		impatient.Stop()
	}
	l.abandon()
	return err
}

func (l *leader) loop(ctx, appending context.Context) error {
	for {
		if err := l.fill(); err != nil {
			return err
		}
		if l.inFlight == nil && l.open != nil && len(l.open.calls) > 0 {
			l.launch(appending)
			continue
		}
		queue := l.replica.queue
		if l.full {
			queue = nil
		}
		select {
		case c := <-queue:
			l.waiting = append(l.waiting, c)
		case o := <-l.landed:
			if err := l.settle(ctx, appending, o); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill decides those who wait, as far as the open batch has room.
func (l *leader) fill() error {
	l.full = false
	for {
		for i, c := range l.waiting {
			fits, err := l.decide(c)
			if err != nil {
				l.waiting = l.waiting[i:]
				return err
			}
			if !fits {
				l.waiting, l.full = l.waiting[i:], true
				return nil
			}
		}
		l.waiting = l.waiting[:0]
		select {
		case c := <-l.replica.queue:
			l.waiting = append(l.waiting, c)
		default:
			return nil
		}
	}
}

// decide puts a command into the open batch, or answers it when it cannot be carried out. fits is false when the
// command has to wait for the next batch.
func (l *leader) decide(c *call) (fits bool, err error) {
	if err := c.ctx.Err(); err != nil {
		c.fail(err)
		return true, nil
	}
	b := l.opened()
	env := l.replica.Env()
	decided, result, err := Decide(&b.txn.View, c.command, env)
	if saysDone(err) {
		b.calls, b.results = append(b.calls, c), append(b.results, response{err: err})
		return true, nil
	}
	if err != nil {
		c.fail(err) // an error promises nothing, so it need not wait until what it was decided on is durable
		return true, nil
	}
	cursor := l.cursor
	events, records, size, err := l.encode(&cursor, c, env.Now, decided)
	if err != nil {
		c.fail(err)
		return true, nil
	}
	if len(b.records) > 0 && (len(b.records)+len(records) > l.limits.Events || b.bytes+size > l.limits.Bytes ||
		crosses(b.after.Seq, cursor.Head.Seq)) {
		return false, nil
	}
	for i, e := range events {
		if err := b.txn.Fold(e, hashAfter(records, i, cursor)); err != nil {
			// A defect in a decision. It must not reach the log, and the open transaction is spoilt.
			c.fail(err)
			return true, fmt.Errorf("decided on what cannot be: %w", err)
		}
	}
	l.cursor = cursor
	result.Seq = cursor.Head.Seq
	b.records, b.events, b.bytes = append(b.records, records...), append(b.events, decided...), b.bytes+size
	b.calls, b.results = append(b.calls, c), append(b.results, response{result: result})
	return true, nil
}

// saysDone reports whether an error says that what was asked for is so already: whoever hears it relies on that, as on
// a result.
func saysDone(err error) bool { return errors.Is(err, ErrNoPool) }

func (l *leader) opened() *batch {
	if l.open == nil {
		l.open = &batch{txn: l.replica.db.Write(), after: l.cursor.Head}
	}
	return l.open
}

func (l *leader) encode(cursor *eventlog.Cursor, c *call, now time.Time,
	decided []eventlog.Data) (events []eventlog.Event, records []eventlog.Record, size int, err error) {
	for _, data := range decided {
		e, r, err := cursor.Write(now, l.replica.config.Actor, c.cause, data)
		if err != nil {
			return nil, nil, 0, err
		}
		events, records, size = append(events, e), append(records, r), size+len(r.Bytes)
	}
	return events, records, size, nil
}

// hashAfter is the hash of the i-th record: the next one links to it, and the cursor stands after the last.
func hashAfter(records []eventlog.Record, i int, cursor eventlog.Cursor) eventlog.Hash {
	if i == len(records)-1 {
		return cursor.Head.Hash
	}
	return records[i].Hash()
}

// launch sends the open batch on its way, and writes it into memdb while it travels.
func (l *leader) launch(appending context.Context) {
	b := l.open
	l.open, l.full = nil, false
	l.inFlight = b
	config := l.replica.config
	go func() {
		start := config.Now()
		err := l.send(appending, b)
		l.landed <- outcome{err: err, took: config.Now().Sub(start)}
	}()
	runtime.Gosched() // let the transaction leave first
	b.txn.Commit()
	b.db = l.replica.db.Clone()
}

// send appends a batch. One without events, as all that its commands want is so already, must still be sure that this
// is no old news: another may lead by now.
func (l *leader) send(ctx context.Context, b *batch) error {
	log := l.replica.config.Log
	if len(b.records) > 0 {
		_, err := log.Append(ctx, l.replica.config.Stream, b.after, b.records, l.fence)
		return err
	}
	head, err := log.Head(ctx, l.replica.config.Stream)
	if err == nil && head != b.after {
		err = fmt.Errorf("%w: it is at event %d, not %d", eventlog.ErrConflict, head.Seq, b.after.Seq)
	}
	return err
}

func (b *batch) respond(err error) {
	for i, c := range b.calls {
		if err != nil {
			c.fail(err)
		} else {
			c.response <- b.results[i]
		}
	}
}

// settle ends the batch in flight. An error ends the term.
func (l *leader) settle(ctx, appending context.Context, o outcome) error {
	b := l.inFlight
	l.inFlight = nil
	switch {
	case o.err == nil:
		if l.open != nil && len(l.open.records) >= l.limits.Events/2 {
			l.launch(appending) // first of all: etcd should not wait while callers are answered
			l.publish(b, o)
			return nil
		}
		// A transaction costs etcd about as much as 50 events, so a small batch waits for those who, now that they are
		// answered, ask again at once.
		l.publish(b, o)
		runtime.Gosched()
		return nil
	case errors.Is(o.err, eventlog.ErrConflict):
		l.replica.config.Observer.Conflict()
		l.waiting = append(b.calls, l.reopen()...)
		return l.catchUp(ctx)
	case errors.Is(o.err, eventlog.ErrTooLarge):
		b.respond(o.err)
		l.waiting = l.reopen()
		return l.catchUp(ctx)
	default:
		b.respond(fmt.Errorf("append to the log: %w", o.err))
		return fmt.Errorf("append to the log: %w", o.err)
	}
}

func (l *leader) publish(b *batch, o outcome) {
	l.durable = b.db
	view := b.db.View()
	l.replica.view.Store(view)
	l.replica.feed.notify(b.events)
	l.replica.checkpoint(view)
	if len(b.records) > 0 {
		l.replica.config.Observer.Appended(len(b.records), b.bytes, o.took)
	}
	b.respond(nil)
}

// settleLast ends the batch in flight when the term is over.
func (l *leader) settleLast(o outcome) {
	b := l.inFlight
	l.inFlight = nil
	if o.err == nil {
		l.publish(b, o)
		return
	}
	b.respond(fmt.Errorf("append to the log: %w", o.err))
}

// reopen drops the open batch, and returns the calls that have to be decided again: its own, and those that waited.
func (l *leader) reopen() []*call {
	calls := l.waiting
	if l.open != nil {
		l.open.txn.Abort()
		calls = append(l.open.calls, calls...)
		l.open = nil
	}
	l.full = false
	return calls
}

// catchUp takes the log's word for what is true, from the last state known to be durable on.
func (l *leader) catchUp(ctx context.Context) error {
	r := l.replica
	r.db = l.durable.Clone()
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	l.durable, l.cursor = r.db.Clone(), r.db.View().Cursor()
	return nil
}

// abandon answers all who still wait for a decision.
func (l *leader) abandon() {
	for _, c := range l.reopen() {
		c.fail(ErrNotLeader)
	}
	l.waiting = nil
}
