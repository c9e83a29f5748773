package lease

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/pause"
)

// Change is a leased key that has appeared or vanished, or whose value is another.
type Change struct {
	Key   string
	Value []byte // nil if it is gone
	Gone  bool
}

// Watch yields who is alive under a prefix: first all the keys that are there, in one batch that may be empty, then
// what changes. After trouble with etcd it reads them all again and yields only the differences. It ends with the error
// of ctx.
func Watch(ctx context.Context, client *clientv3.Client, prefix string) iter.Seq2[[]Change, error] {
	return func(yield func([]Change, error) bool) {
		w := &watching{client: client, prefix: prefix, yield: yield}
		for {
			revision, err := w.list(ctx)
			if err == nil && !w.stopped {
				w.follow(ctx, revision+1)
			}
			if w.stopped {
				return
			}
			if err := pause.For(ctx, retryWait); err != nil {
				yield(nil, fmt.Errorf("watch %s: %w", prefix, err))
				return
			}
		}
	}
}

type watching struct {
	client  *clientv3.Client
	prefix  string
	known   map[string]int64 // the mod revisions of the keys that are there; nil before the first list
	yield   func([]Change, error) bool
	stopped bool // the caller wants no more
}

// list yields how the keys differ from what was known.
func (w *watching) list(ctx context.Context) (int64, error) {
	response, err := w.client.Get(ctx, w.prefix, clientv3.WithPrefix())
	if err != nil {
		return 0, err
	}
	first, before := w.known == nil, w.known
	w.known = make(map[string]int64, len(response.Kvs))
	changes := make([]Change, 0, len(response.Kvs))
	for _, kv := range response.Kvs {
		key := string(kv.Key)
		w.known[key] = kv.ModRevision
		if before[key] != kv.ModRevision {
			changes = append(changes, Change{Key: key, Value: kv.Value})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, there := w.known[key]; !there {
			changes = append(changes, Change{Key: key, Gone: true})
		}
	}
	if first || len(changes) > 0 {
		w.pass(changes)
	}
	return response.Header.Revision, nil
}

// follow yields changes until the watch fails or recheck has passed, after which the keys are listed again.
func (w *watching) follow(ctx context.Context, from int64) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), recheck)
	defer cancel()
	for response := range w.client.Watch(ctx, w.prefix, clientv3.WithPrefix(), clientv3.WithRev(from)) {
		if response.Err() != nil {
			return
		}
		changes := make([]Change, 0, len(response.Events))
		for _, e := range response.Events {
			key := string(e.Kv.Key)
			if e.Type == clientv3.EventTypeDelete {
				delete(w.known, key)
				changes = append(changes, Change{Key: key, Gone: true})
				continue
			}
			w.known[key] = e.Kv.ModRevision
			changes = append(changes, Change{Key: key, Value: e.Kv.Value})
		}
		if len(changes) > 0 {
			w.pass(changes)
		}
		if w.stopped {
			return
		}
	}
}

func (w *watching) pass(changes []Change) { w.stopped = !w.yield(changes, nil) }
