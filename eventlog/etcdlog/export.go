package etcdlog

import (
	"context"
	"fmt"
	"iter"
	"maps"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
)

// Export is the whole log as it was at one revision of etcd. The log may grow meanwhile.
type Export struct {
	log        *Log
	generation string
	revision   int64
	heads      map[string]eventlog.Head
}

// Export looks at all streams at one moment.
func (l *Log) Export(ctx context.Context) (*Export, error) {
	answer, err := l.client.Txn(ctx).Then(
		clientv3.OpGet(l.keys.generation),
		clientv3.OpGet(l.keys.heads, clientv3.WithPrefix()),
		clientv3.OpGet(l.keys.restoring, clientv3.WithKeysOnly()),
		clientv3.OpGet(l.keys.logs, clientv3.WithPrefix(), clientv3.WithCountOnly()),
	).Commit()
	if err != nil {
		return nil, fmt.Errorf("export the log: %w", err)
	}
	if len(rangeOf(answer, 2)) > 0 {
		return nil, fmt.Errorf("%s: %w", l.keys.restoring, ErrRestoring)
	}
	g, err := l.learnGeneration(rangeOf(answer, 0))
	if err != nil {
		return nil, err
	}
	e := &Export{log: l, generation: g.ID, revision: answer.Header.Revision, heads: map[string]eventlog.Head{}}
	counted := uint64(0)
	for _, kv := range rangeOf(answer, 1) {
		stream := string(kv.Key[len(l.keys.heads):])
		head, err := parseHead(kv.Value)
		if err != nil {
			return nil, corrupt("the head of stream %s: %w", stream, err)
		}
		if head.Generation != g.ID {
			return nil, corrupt("the head of stream %s is of generation %s, the log of generation %s", stream, head.Generation, g.ID)
		}
		e.heads[stream] = head
		counted += head.Seq
	}
	// Fewer are found missing when they are read; more would be left out without a word.
	if stored := uint64(answer.Responses[3].GetResponseRange().Count); stored > counted {
		return nil, corrupt("there are %d events under %s, but the heads account for %d: a head is missing or was put back", stored, l.keys.logs, counted)
	}
	return e, nil
}

// Generation is the id of the log's generation.
func (e *Export) Generation() string { return e.generation }

// Revision is that of etcd at the moment of the export.
func (e *Export) Revision() int64 { return e.revision }

// Heads are the streams that have events, and where they stood.
func (e *Export) Heads() map[string]eventlog.Head { return maps.Clone(e.heads) }

// Read yields all records of a stream up to its head in Heads. See eventlog.Log.
func (e *Export) Read(ctx context.Context, stream string) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		r := &reading{log: e.log, stream: stream, events: e.log.keys.events(stream), head: e.heads[stream], revision: e.revision}
		r.pages(ctx, 0, yield)
	}
}
