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
func (l *Log) Append(ctx context.Context, stream string, after eventlog.Head, records []eventlog.Record,
	fence eventlog.Fence) (eventlog.Head, error) {
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
		return eventlog.Head{}, fmt.Errorf("append to %s after event %d of generation %s: %w: %s", stream, after.Seq,
			after.Generation, eventlog.ErrGeneration, generation.ID)
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
	if err := eventlog.CheckStream(stream); err != nil {
		return err
	}
	if err := l.Limits().Check(after, records); err != nil {
		return fmt.Errorf("append to %s after event %d: %w", stream, after.Seq, err)
	}
	return nil
}

// What inspect asks for, after what getHead asks for.
const (
	atOurEvent = afterHead + iota // the event at our first number
	atFence
)

// appending is one append on its way: a transaction that may be sent any number of times and lands at most once.
type appending struct {
	log    *Log
	fence  eventlog.Fence
	after  string // the value of the head that is appended after; "" for an empty stream
	stream string
	ours   string // the key of the first record
	first  []byte // its bytes
	next   eventlog.Head

	conditions []clientv3.Cmp
	puts       []clientv3.Op

	doubt bool // whether there was an attempt that may have landed, or may still
}

func (l *Log) newAppending(stream string, after eventlog.Head, records []eventlog.Record, fence eventlog.Fence,
	generation string) *appending {
	last := records[len(records)-1]
	a := &appending{
		log: l, fence: fence, stream: stream, ours: eventKey(l.keys.events(stream), records[0].Seq),
		first: records[0].Bytes,
		next:  eventlog.Head{Seq: last.Seq, Hash: last.Hash(), Generation: after.Generation},
		puts:  make([]clientv3.Op, 0, len(records)+1),
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
	a.conditions = append(make([]clientv3.Cmp, 0, 4), unmoved,
		clientv3.Compare(clientv3.Value(l.keys.generation), "=", generation),
		// an event is never overwritten, whatever the head says
		clientv3.Compare(clientv3.CreateRevision(a.ours), "=", 0))
	if fence != (eventlog.Fence{}) {
		a.conditions = append(a.conditions, clientv3.Compare(clientv3.CreateRevision(fence.Key), "=", fence.Revision))
	}
	return a
}

// run sends the transaction until it is known what became of it.
func (a *appending) run(ctx context.Context) (eventlog.Head, error) {
	var pause backoff
	for {
		response, err := a.send(ctx)
		if err == nil && response.Succeeded {
			return a.next, nil
		}
		lost := err != nil
		switch {
		case err == nil:
			response, err = a.inspect(ctx)
		case isNoSpace(err):
			response, err = a.inspectAfterNoSpace(ctx, err)
		}
		if err == nil {
			return a.refused(response)
		}
		if final := verdict(err); final != nil && !a.doubt {
			return eventlog.Head{}, final
		}
		a.doubt = a.doubt || lost
		if waitErr := pause.wait(ctx); waitErr != nil {
			return eventlog.Head{}, fmt.Errorf("%w: %w, after: %w", eventlog.ErrOutcomeUnknown, waitErr, err)
		}
		if a.log.client.Ctx().Err() != nil {
			return eventlog.Head{}, fmt.Errorf("%w: etcd's client is closed, after: %w", eventlog.ErrOutcomeUnknown,
				err)
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
	return a.log.client.Txn(attempt).If(a.conditions...).Then(a.puts...).Commit()
}

// inspect reads what refused judges by. A refusal does not bring it along, since that would make every append dearer.
// It may be asked for later, because none of the reasons can pass: a head, a fence and a generation never come back.
func (a *appending) inspect(ctx context.Context) (*clientv3.TxnResponse, error) {
	attempt, cancel := context.WithTimeout(ctx, a.log.options.AttemptTimeout)
	defer cancel()
	gets := append(a.log.getHead(a.stream), clientv3.OpGet(a.ours))
	if a.fence != (eventlog.Fence{}) {
		gets = append(gets, clientv3.OpGet(a.fence.Key))
	}
	return a.log.client.Txn(attempt).Then(gets...).Commit()
}

// inspectAfterNoSpace is for a response that etcd gives also to a transaction that it did carry out, the last one below
// its quota. Without space nothing can be sent that would rule out an earlier attempt that is still on its way, so the
// cause comes back unless the stream has moved.
func (a *appending) inspectAfterNoSpace(ctx context.Context, cause error) (*clientv3.TxnResponse, error) {
	response, err := a.inspect(ctx)
	if err != nil {
		// neither is a verdict: it may have landed
		return nil, fmt.Errorf("%s; then: %s", cause, err) //nolint:errorlint // so neither is wrapped
	}
	if !a.landed(response) && !a.moved(response) {
		return nil, cause
	}
	a.doubt = true
	return response, nil
}

// refused reports what became of the append from what inspect found after a refusal. An earlier attempt that is still
// on its way cannot land any more, since its conditions are the same.
func (a *appending) refused(response *clientv3.TxnResponse) (eventlog.Head, error) {
	if a.doubt && a.landed(response) {
		return a.next, nil
	}
	head, err := a.log.headIn(a.stream, response)
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
		if kvs := rangeOf(response, atFence); len(kvs) == 0 || kvs[0].CreateRevision != a.fence.Revision {
			return eventlog.Head{}, fmt.Errorf("%w: %s was created at revision %d", eventlog.ErrFenced, a.fence.Key,
				a.fence.Revision)
		}
	}
	if !a.moved(response) && len(rangeOf(response, atOurEvent)) > 0 {
		return eventlog.Head{}, corrupt("there is an event after the head, which is at event %d", head.Seq)
	}
	return eventlog.Head{}, fmt.Errorf("%w: it is at event %d", eventlog.ErrConflict, head.Seq)
}

// landed reports whether the event at our first number is ours, byte for byte.
func (a *appending) landed(response *clientv3.TxnResponse) bool {
	kvs := rangeOf(response, atOurEvent)
	return len(kvs) > 0 && bytes.Equal(kvs[0].Value, a.first)
}

// moved reports whether the stream has left the head that we append after.
func (a *appending) moved(response *clientv3.TxnResponse) bool {
	kvs := rangeOf(response, atHead)
	if len(kvs) == 0 {
		return a.after != ""
	}
	return string(kvs[0].Value) != a.after
}
