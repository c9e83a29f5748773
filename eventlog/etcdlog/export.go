package etcdlog

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
)

// Export is the whole log as it was at one revision of etcd. The log may grow meanwhile.
type Export struct {
	log        *Log
	generation string
	revision   int64
	heads      map[string]eventlog.Head
	damaged    map[string]error
}

// Export looks at all streams at one moment. What is wrong with one stream is in Damaged, and keeps nobody from the
// others: a node's user may write what it likes under its own keys.
func (l *Log) Export(ctx context.Context) (*Export, error) {
	response, err := l.client.Txn(ctx).Then(
		clientv3.OpGet(l.keys.generation),
		clientv3.OpGet(l.keys.heads, clientv3.WithPrefix()),
		clientv3.OpGet(l.keys.restoring, clientv3.WithKeysOnly()),
		clientv3.OpGet(l.keys.logs, clientv3.WithPrefix(), clientv3.WithCountOnly()),
	).Commit()
	if err != nil {
		return nil, fmt.Errorf("export the log: %w", err)
	}
	if len(rangeOf(response, 2)) > 0 {
		return nil, fmt.Errorf("%s: %w", l.keys.restoring, ErrRestoring)
	}
	stored := uint64(response.Responses[3].GetResponseRange().Count)
	if stored > 0 && len(rangeOf(response, 0)) == 0 {
		return nil, corrupt("the key %s is gone, and %d events are there", l.keys.generation, stored)
	}
	g, err := l.learnGeneration(rangeOf(response, 0))
	if err != nil {
		return nil, err
	}
	e := &Export{log: l, generation: g.ID, revision: response.Header.Revision, heads: map[string]eventlog.Head{},
		damaged: map[string]error{}}
	for _, kv := range rangeOf(response, 1) {
		stream := string(kv.Key[len(l.keys.heads):])
		if head, err := e.headOf(stream, kv.Value); err != nil {
			e.damaged[stream] = err
		} else {
			e.heads[stream] = head
		}
	}
	return e, e.countStreams(ctx)
}

func (e *Export) headOf(stream string, value []byte) (eventlog.Head, error) {
	if err := eventlog.CheckStream(stream); err != nil {
		return eventlog.Head{}, corrupt("%w", err)
	}
	head, err := parseHead(value)
	if err != nil {
		return eventlog.Head{}, corrupt("its head: %w", err)
	}
	if head.Generation != e.generation {
		return eventlog.Head{}, corrupt("its head is of generation %q, the log of generation %s", head.Generation,
			e.generation)
	}
	return head, nil
}

// countStreams compares how many events each stream has with its head. Fewer are found missing when they are read;
// more, also of a stream without a head, would be left out without a word. It is two questions a stream, as one sum for
// all of them could be made up.
func (e *Export) countStreams(ctx context.Context) error {
	logs := e.log.keys.logs
	end := clientv3.GetPrefixRangeEnd(logs)
	for at := logs; ; {
		first, err := e.log.client.Get(ctx, at, clientv3.WithRange(end), clientv3.WithLimit(1), clientv3.WithKeysOnly(),
			clientv3.WithRev(e.revision))
		if err != nil {
			return fmt.Errorf("count the events of each stream: %w", err)
		}
		if len(first.Kvs) == 0 {
			return nil
		}
		stream, _, _ := strings.Cut(string(first.Kvs[0].Key[len(logs):]), "/")
		events := e.log.keys.events(stream)
		all, err := e.log.client.Get(ctx, events, clientv3.WithPrefix(), clientv3.WithCountOnly(),
			clientv3.WithRev(e.revision))
		if err != nil {
			return fmt.Errorf("count the events of each stream: %w", err)
		}
		if head := e.heads[stream].Seq; uint64(all.Count) > head && e.damaged[stream] == nil {
			e.damaged[stream] = corrupt("there are %d events under %q, but its head accounts for %d: it is missing "+
				"or was put back", all.Count, events, head)
			delete(e.heads, stream)
		}
		at = clientv3.GetPrefixRangeEnd(events)
	}
}

// Damaged are the streams that are not in Heads, and what is wrong with each. Their names may be anything.
func (e *Export) Damaged() map[string]error { return maps.Clone(e.damaged) }

// Generation is the id of the log's generation.
func (e *Export) Generation() string { return e.generation }

// Revision is that of etcd at the moment of the export.
func (e *Export) Revision() int64 { return e.revision }

// Heads are the streams that have events, and where they stood.
func (e *Export) Heads() map[string]eventlog.Head { return maps.Clone(e.heads) }

// Read yields all records of a stream up to its head in Heads. See eventlog.Log.
func (e *Export) Read(ctx context.Context, stream string) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		r := &reading{log: e.log, stream: stream, events: e.log.keys.events(stream), head: e.heads[stream],
			revision: e.revision}
		r.pages(ctx, 0, yield)
	}
}
