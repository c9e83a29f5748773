package etcdlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
)

// Append adds the records in one transaction. See eventlog.Log; beside the errors named there, ErrNoSpace means that
// etcd refuses to store more and that nothing was written.
func (l *Log) Append(ctx context.Context, stream string, after eventlog.Head, records []eventlog.Record, fence eventlog.Fence) (eventlog.Head, error) {
	if err := l.checkAppend(stream, after, records); err != nil {
		return eventlog.Head{}, err
	}
	if err := ctx.Err(); err != nil {
		return eventlog.Head{}, fmt.Errorf("append to %s after event %d: %w", stream, after.Seq, err)
	}
	generation := l.generation.Load()
	if generation.ID != after.Generation {
		var err error
		if generation, err = l.readGeneration(ctx); err != nil {
			return eventlog.Head{}, err
		}
	}
	if generation.ID != after.Generation {
		return eventlog.Head{}, fmt.Errorf("append to %s after event %d of generation %s: %w: %s", stream, after.Seq, after.Generation, eventlog.ErrGeneration, generation.ID)
	}
	head, err := l.newAppending(stream, after, records, fence, generation.value).run(ctx)
	if err != nil {
		return eventlog.Head{}, fmt.Errorf("append to %s after event %d: %w", stream, after.Seq, err)
	}
	return head, nil
}

// checkAppend finds what is wrong with an append before etcd is asked.
func (l *Log) checkAppend(stream string, after eventlog.Head, records []eventlog.Record) error {
	if l.options.ReadOnly {
		return ErrReadOnly
	}
	if err := checkStream(stream); err != nil {
		return err
	}
	if len(records) == 0 {
		return fmt.Errorf("append to %s after event %d: no records", stream, after.Seq)
	}
	size := 0
	for i, r := range records {
		if r.Seq != after.Seq+uint64(i)+1 {
			return fmt.Errorf("append to %s after event %d: record %d has the number %d", stream, after.Seq, i, r.Seq)
		}
		size += len(r.Bytes)
	}
	if len(records) > l.options.MaxEvents || size > l.options.MaxBytes {
		return fmt.Errorf("append to %s: %w: %d records of %d bytes, at most %d of %d", stream, eventlog.ErrTooLarge, len(records), size, l.options.MaxEvents, l.options.MaxBytes)
	}
	return nil
}

// appending is one append on its way: a transaction that may be sent any number of times and lands at most once.
type appending struct {
	log    *Log
	fence  eventlog.Fence
	after  string // the value of the head that is appended after; "" for an empty stream
	first  []byte // the bytes of the first record
	next   eventlog.Head
	stream string

	conditions []clientv3.Cmp
	puts       []clientv3.Op
	gets       []clientv3.Op // what tells why it was refused: generation, head, the event at our first number, fence

	doubt bool // whether there was an attempt that may have landed, or may still
}

func (l *Log) newAppending(stream string, after eventlog.Head, records []eventlog.Record, fence eventlog.Fence, generation string) *appending {
	last := records[len(records)-1]
	a := &appending{
		log: l, fence: fence, stream: stream, first: records[0].Bytes,
		next: eventlog.Head{Seq: last.Seq, Hash: last.Hash(), Generation: after.Generation},
		puts: make([]clientv3.Op, 0, len(records)+1),
	}
	head, events := l.keys.head(stream), l.keys.events(stream)
	for _, r := range records {
		a.puts = append(a.puts, clientv3.OpPut(eventKey(events, r.Seq), string(r.Bytes)))
	}
	a.puts = append(a.puts, clientv3.OpPut(head, formatHead(a.next)))

	unmoved := clientv3.Compare(clientv3.CreateRevision(head), "=", 0)
	if after.Seq > 0 {
		a.after = formatHead(after)
		unmoved = clientv3.Compare(clientv3.Value(head), "=", a.after)
	}
	a.conditions = append(make([]clientv3.Cmp, 0, 3), unmoved, clientv3.Compare(clientv3.Value(l.keys.generation), "=", generation))
	a.gets = append(l.getHead(stream), clientv3.OpGet(eventKey(events, records[0].Seq)))
	if fence != (eventlog.Fence{}) {
		a.conditions = append(a.conditions, clientv3.Compare(clientv3.CreateRevision(fence.Key), "=", fence.Revision))
		a.gets = append(a.gets, clientv3.OpGet(fence.Key))
	}
	return a
}

// run sends the transaction until it is known what became of it.
func (a *appending) run(ctx context.Context) (eventlog.Head, error) {
	var pause backoff
	for {
		answer, err := a.send(ctx)
		if err == nil && answer.Succeeded {
			return a.next, nil
		}
		if isNoSpace(err) {
			answer, err = a.look(ctx, err)
		}
		if err == nil {
			return a.refused(answer)
		}
		if final := verdict(err); final != nil && !a.doubt {
			return eventlog.Head{}, final
		}
		a.doubt = true
		if waitErr := pause.wait(ctx); waitErr != nil {
			return eventlog.Head{}, fmt.Errorf("%w: %w, after: %w", eventlog.ErrOutcomeUnknown, waitErr, err)
		}
		if a.log.client.Ctx().Err() != nil {
			return eventlog.Head{}, fmt.Errorf("%w: etcd's client is closed, after: %w", eventlog.ErrOutcomeUnknown, err)
		}
	}
}

// verdict is the error of an append that etcd did not carry out and would not carry out if asked again, or nil.
func verdict(err error) error {
	switch {
	case isNoSpace(err):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case isTooLarge(err):
		return fmt.Errorf("%w: %w; lower the log's limits or raise etcd's", eventlog.ErrTooLarge, err)
	case isFinal(err):
		return err
	default:
		return nil
	}
}

func (a *appending) send(ctx context.Context) (*clientv3.TxnResponse, error) {
	attempt, cancel := context.WithTimeout(ctx, a.log.options.AttemptTimeout)
	defer cancel()
	return a.log.client.Txn(attempt).If(a.conditions...).Then(a.puts...).Else(a.gets...).Commit()
}

// look asks what a refusal would tell, because etcd answers "no space" also to a transaction that it did carry out, the
// last one below its quota. Without space nothing can be sent that would rule out an earlier attempt that is still on
// its way, so the cause comes back unless the stream has moved.
func (a *appending) look(ctx context.Context, cause error) (*clientv3.TxnResponse, error) {
	attempt, cancel := context.WithTimeout(ctx, a.log.options.AttemptTimeout)
	defer cancel()
	answer, err := a.log.client.Txn(attempt).Then(a.gets...).Commit()
	if err != nil {
		return nil, fmt.Errorf("%s; then: %s", cause, err) // neither is a verdict: it may have landed
	}
	if !a.landed(answer) && !a.moved(answer) {
		return nil, cause
	}
	a.doubt = true
	return answer, nil
}

// refused tells from the state at the moment of the refusal what became of the append. None of the reasons can pass: a
// head, a fence and a generation never come back, so an earlier attempt that is still on its way cannot land either.
func (a *appending) refused(answer *clientv3.TxnResponse) (eventlog.Head, error) {
	if a.doubt && a.landed(answer) {
		return a.next, nil
	}
	head, err := a.log.headIn(a.stream, answer)
	if errors.Is(err, ErrNoLog) {
		return eventlog.Head{}, fmt.Errorf("%w: %w", eventlog.ErrGeneration, err)
	}
	if err != nil {
		return eventlog.Head{}, err
	}
	if head.Generation != a.next.Generation {
		return eventlog.Head{}, fmt.Errorf("%w: %s, not %s", eventlog.ErrGeneration, head.Generation, a.next.Generation)
	}
	if a.fence != (eventlog.Fence{}) {
		if kvs := rangeOf(answer, 3); len(kvs) == 0 || kvs[0].CreateRevision != a.fence.Revision {
			return eventlog.Head{}, fmt.Errorf("%w: %s was created at revision %d", eventlog.ErrFenced, a.fence.Key, a.fence.Revision)
		}
	}
	return eventlog.Head{}, fmt.Errorf("%w: it is at event %d", eventlog.ErrConflict, head.Seq)
}

// landed reports whether the event at our first number is ours, byte for byte.
func (a *appending) landed(answer *clientv3.TxnResponse) bool {
	kvs := rangeOf(answer, 2)
	return len(kvs) > 0 && bytes.Equal(kvs[0].Value, a.first)
}

// moved reports whether the stream has left the head that we append after.
func (a *appending) moved(answer *clientv3.TxnResponse) bool {
	kvs := rangeOf(answer, 1)
	if len(kvs) == 0 {
		return a.after != ""
	}
	return string(kvs[0].Value) != a.after
}
