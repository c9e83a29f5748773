package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
)

// Log is the log of one cluster on etcd. It is safe for concurrent use and has nothing to close; the client is the
// caller's.
type Log struct {
	client  *clientv3.Client
	keys    keys
	options Options

	generation atomic.Pointer[storedGeneration] // the newest that was read; never nil after Open
}

var _ eventlog.Log = (*Log)(nil)

// Open opens the log under a prefix, and begins it if there is none. With Options.ReadOnly it begins nothing and fails
// with ErrNoLog. It fails with ErrRestoring while a restore into the prefix has not ended.
func Open(ctx context.Context, client *clientv3.Client, options Options) (*Log, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	l := &Log{client: client, keys: newKeys(options.Prefix), options: options}
	_, err = l.readGeneration(ctx)
	if errors.Is(err, ErrNoLog) && !options.ReadOnly && !options.MustExist {
		err = l.createLog(ctx)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Limits are what one Append may carry, as the options say.
func (l *Log) Limits() eventlog.Limits {
	return eventlog.Limits{Events: l.options.MaxEvents, Bytes: l.options.MaxBytes}
}

// Prefix is the root of the log's keys.
func (l *Log) Prefix() string { return l.options.Prefix }

// Streams names the streams that have events, sorted.
func (l *Log) Streams(ctx context.Context) ([]string, error) {
	response, err := l.client.Get(ctx, l.keys.heads, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("list the streams of the log: %w", err)
	}
	streams := make([]string, len(response.Kvs))
	for i, kv := range response.Kvs {
		streams[i] = string(kv.Key[len(l.keys.heads):])
	}
	return streams, nil
}

// Head reads the newest position of a stream, linearizably.
func (l *Log) Head(ctx context.Context, stream string) (eventlog.Head, error) {
	if err := eventlog.CheckStream(stream); err != nil {
		return eventlog.Head{}, err
	}
	response, err := l.client.Txn(ctx).Then(l.getHead(stream)...).Commit()
	if err != nil {
		return eventlog.Head{}, fmt.Errorf("read the head of stream %s: %w", stream, err)
	}
	return l.headIn(stream, response)
}

// What getHead asks for, by the place in the response. More may follow.
const (
	atGeneration = iota
	atHead
	atFirstEvent
	afterHead
)

// getHead asks for what headIn looks at.
func (l *Log) getHead(stream string) []clientv3.Op {
	return []clientv3.Op{
		atGeneration: clientv3.OpGet(l.keys.generation),
		atHead:       clientv3.OpGet(l.keys.head(stream)),
		atFirstEvent: clientv3.OpGet(eventKey(l.keys.events(stream), 1), clientv3.WithKeysOnly()),
	}
}

// headIn takes the head of a stream out of a response to getHead.
func (l *Log) headIn(stream string, response *clientv3.TxnResponse) (eventlog.Head, error) {
	g, err := l.learnGeneration(rangeOf(response, atGeneration))
	if err != nil {
		return eventlog.Head{}, err
	}
	kvs := rangeOf(response, atHead)
	if len(kvs) == 0 && len(rangeOf(response, atFirstEvent)) > 0 {
		return eventlog.Head{}, corrupt("stream %s has events and no head", stream)
	}
	if len(kvs) == 0 {
		return eventlog.Head{Generation: g.ID}, nil
	}
	head, err := parseHead(kvs[0].Value)
	if err != nil {
		return eventlog.Head{}, corrupt("the head of stream %s: %w", stream, err)
	}
	if head.Generation != g.ID {
		return eventlog.Head{}, corrupt("the head of stream %s is of generation %s, the log of generation %s", stream,
			head.Generation, g.ID)
	}
	return head, nil
}

// keyValue is a key as etcd stores it.
type keyValue = mvccpb.KeyValue

// rangeOf is the result of the n-th operation of a transaction, which was a get.
func rangeOf(response *clientv3.TxnResponse, n int) []*keyValue {
	return response.Responses[n].GetResponseRange().Kvs
}
