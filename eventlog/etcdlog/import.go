package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
)

// ErrNotEmpty means that a log cannot be imported where something is already.
var ErrNotEmpty = errors.New("not empty")

// Import writes a whole log into an empty prefix. While it lasts, a marker keeps everybody from using what is there;
// the generation, without which there is no log, is written last, and takes the marker's place. After a crash it can be
// begun again with the same origin, or undone with AbortImport.
type Import struct {
	client  *clientv3.Client
	keys    keys
	options Options
	next    Generation // that the log will have
	marker  string     // the value of the marker
}

// marking is the marker of an import that is under way.
type marking struct {
	Restoring Origin    `json:"restoring"`
	Begun     time.Time `json:"begun"`
}

// BeginImport prepares the prefix of options for a log of this origin. It fails with ErrNotEmpty, and says what is
// there, unless the prefix has no log (leases are no obstacle) or only the beginning of an import of the same origin.
func BeginImport(ctx context.Context, client *clientv3.Client, options Options, from Origin) (*Import, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	if options.ReadOnly {
		return nil, ErrReadOnly
	}
	i := &Import{client: client, keys: newKeys(options.Prefix), options: options,
		next: NewGeneration(time.Now(), &from)}
	if err := i.mark(ctx); err != nil {
		return nil, fmt.Errorf("import into %s: %w", options.Prefix, err)
	}
	return i, nil
}

// mark puts the marker, or adopts the one that is there.
func (i *Import) mark(ctx context.Context) error {
	value, err := json.Marshal(marking{Restoring: *i.next.RestoredFrom, Begun: i.next.Created})
	if err != nil {
		return err
	}
	var vacant []clientv3.Cmp
	for _, key := range []string{i.keys.generation, i.keys.restoring} {
		vacant = append(vacant, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
	}
	var queries []clientv3.Op
	for _, root := range []string{i.keys.heads, i.keys.logs, i.keys.snapshots} {
		vacant = append(vacant, clientv3.Compare(clientv3.CreateRevision(root).WithPrefix(), "=", 0))
		queries = append(queries, clientv3.OpGet(root, clientv3.WithPrefix(), clientv3.WithKeysOnly(),
			clientv3.WithLimit(1)))
	}
	queries = append(queries, clientv3.OpGet(i.keys.generation), clientv3.OpGet(i.keys.restoring))
	response, err := i.client.Txn(ctx).If(vacant...).Then(clientv3.OpPut(i.keys.restoring,
		string(value))).Else(queries...).Commit()
	if err != nil {
		return err
	}
	if response.Succeeded {
		i.marker = string(value)
		return nil
	}
	if kvs := rangeOf(response, 4); len(kvs) > 0 {
		return i.adopt(kvs[0].Value)
	}
	for n := 3; n >= 0; n-- {
		if kvs := rangeOf(response, n); len(kvs) > 0 {
			return fmt.Errorf("%w: there is %s", ErrNotEmpty, kvs[0].Key)
		}
	}
	return fmt.Errorf("%w: somebody else is at work there", ErrNotEmpty)
}

// adopt goes on with an import that was broken off. All of it is written again, which changes nothing where it is
// already.
func (i *Import) adopt(value []byte) error {
	var m marking
	if err := json.Unmarshal(value, &m); err != nil {
		return corrupt("the marker %q of an import: %w", value, err)
	}
	if from := i.next.RestoredFrom; m.Restoring.Generation != from.Generation || m.Restoring.Revision != from.Revision {
		return fmt.Errorf("%w: the import of another log, of generation %s at revision %d, has begun and not ended",
			ErrNotEmpty, m.Restoring.Generation, m.Restoring.Revision)
	}
	i.marker = string(value)
	return nil
}

// Append writes records of a stream, which must have no holes from event 1 on over all calls. It may be repeated.
func (i *Import) Append(ctx context.Context, stream string, records []eventlog.Record) error {
	if err := eventlog.CheckStream(stream); err != nil {
		return err
	}
	events := i.keys.events(stream)
	var puts []clientv3.Op
	size := 0
	for n, r := range records {
		puts = append(puts, clientv3.OpPut(eventKey(events, r.Seq), string(r.Bytes)))
		size += len(r.Bytes)
		last := n == len(records)-1
		if !last && len(puts) < i.options.MaxEvents && size+len(records[n+1].Bytes) <= i.options.MaxBytes {
			continue
		}
		if err := i.write(ctx, puts); err != nil {
			return fmt.Errorf("import stream %s up to event %d: %w", stream, r.Seq, err)
		}
		puts, size = puts[:0], 0
	}
	return nil
}

// importAttempts bounds how often a transaction is sent whose response was lost. All of an import may be sent again.
const importAttempts = 10

// write sends a transaction that lands only while the import goes on.
func (i *Import) write(ctx context.Context, ops []clientv3.Op) error {
	var pause backoff
	for attempt := 1; ; attempt++ {
		response, err := i.client.Txn(ctx).If(clientv3.Compare(clientv3.Value(i.keys.restoring), "=",
			i.marker)).Then(ops...).Commit()
		if err == nil && !response.Succeeded {
			return errors.New("the import was ended by somebody else")
		}
		if err == nil || isFinal(err) || isTooLarge(err) || attempt == importAttempts {
			return err
		}
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// Generation is the one that the log gets with Commit.
func (i *Import) Generation() Generation { return i.next }

// Commit makes the log: it writes the heads, under the new generation, and then the generation itself.
func (i *Import) Commit(ctx context.Context, heads map[string]eventlog.Head) error {
	value, err := json.Marshal(i.next)
	if err != nil {
		return fmt.Errorf("encode the generation of the log: %w", err)
	}
	var puts []clientv3.Op
	for stream, head := range heads {
		head.Generation = i.next.ID
		puts = append(puts, clientv3.OpPut(i.keys.head(stream), formatHead(head)))
	}
	for part := range slices.Chunk(puts, i.options.MaxEvents) {
		if err := i.write(ctx, part); err != nil {
			return fmt.Errorf("import the heads: %w", err)
		}
	}
	err = i.write(ctx, []clientv3.Op{clientv3.OpPut(i.keys.generation, string(value)),
		clientv3.OpDelete(i.keys.restoring)})
	if err == nil {
		return nil
	}
	// The response may have been lost, and the attempt after it refused because the marker was gone.
	if now, getErr := i.client.Get(ctx, i.keys.generation); getErr == nil && len(now.Kvs) > 0 &&
		string(now.Kvs[0].Value) == string(value) {
		return nil
	}
	return fmt.Errorf("complete the import: %w", err)
}

// AbortImport removes what an import that was broken off has written. It does nothing when none has begun, and never
// touches a complete log.
func AbortImport(ctx context.Context, client *clientv3.Client, options Options) error {
	options, err := options.complete()
	if err != nil {
		return err
	}
	k := newKeys(options.Prefix)
	_, err = client.Txn(ctx).If(
		clientv3.Compare(clientv3.CreateRevision(k.restoring), ">", 0),
		clientv3.Compare(clientv3.CreateRevision(k.generation), "=", 0),
	).Then(
		clientv3.OpDelete(k.heads, clientv3.WithPrefix()),
		clientv3.OpDelete(k.logs, clientv3.WithPrefix()),
		clientv3.OpDelete(k.restoring),
	).Commit()
	if err != nil {
		return fmt.Errorf("abort the import into %s: %w", options.Prefix, err)
	}
	return nil
}
