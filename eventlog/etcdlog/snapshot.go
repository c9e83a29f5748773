package etcdlog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/klauspost/compress/zstd"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
)

const (
	partBytes     = 1<<20 - 1<<12 // of a snapshot's part; with its key it stays under 1 MiB
	keptSnapshots = 2             // so that a damaged one leaves another
	manifestName  = "manifest"

	discardTimeout = 5 * time.Second // for tidying up after a snapshot that was not completed
)

// manifest makes a snapshot visible. It names its parts, so that those of two writers at one event never mix.
type manifest struct {
	Seq        uint64        `json:"seq"`
	Hash       eventlog.Hash `json:"hash"`
	Generation string        `json:"generation"`
	ID         string        `json:"id"`     // the beginning of the names of the parts
	Parts      int           `json:"parts"`  // numbered from 0
	Bytes      int64         `json:"bytes"`  // of all parts
	SHA256     string        `json:"sha256"` // of all parts, in order
}

func (m manifest) head() eventlog.Head {
	return eventlog.Head{Seq: m.Seq, Hash: m.Hash, Generation: m.Generation}
}

func partName(id string, part int) string { return fmt.Sprintf("%s-%05d", id, part) }

// snapshotDir is the prefix of everything about a snapshot of a stream at an event.
func (k keys) snapshotDir(stream string, seq uint64) string {
	return eventKey(k.snapshots+stream+"/", seq) + "/"
}

// SaveSnapshot compresses what write produces and stores it in parts. Afterwards only the two newest snapshots of the
// stream are left, and none of another generation. See eventlog.Log.
func (l *Log) SaveSnapshot(ctx context.Context, stream string, at eventlog.Head, write func(io.Writer) error) error {
	if l.options.ReadOnly {
		return ErrReadOnly
	}
	if err := eventlog.CheckStream(stream); err != nil {
		return err
	}
	g, err := l.readGeneration(ctx)
	if err != nil {
		return err
	}
	if g.ID != at.Generation {
		return fmt.Errorf("save a snapshot of %s at event %d of generation %s: %w: %s", stream, at.Seq, at.Generation,
			eventlog.ErrGeneration, g.ID)
	}
	w := &partWriter{ctx: ctx, client: l.client, id: randomID(4), dir: l.keys.snapshotDir(stream, at.Seq),
		sum: sha256.New()}
	if err := w.writeAll(write); err != nil {
		w.discard()
		return fmt.Errorf("save a snapshot of %s at event %d: %w", stream, at.Seq, err)
	}
	if err := l.publish(ctx, w, at, g.value); err != nil {
		w.discard()
		return fmt.Errorf("save a snapshot of %s at event %d: %w", stream, at.Seq, err)
	}
	if err := l.pruneSnapshots(ctx, stream, at); err != nil {
		return fmt.Errorf("remove old snapshots of %s: %w", stream, err)
	}
	return nil
}

// publish writes the manifest, provided that nobody has removed the parts and the log is still the same.
func (l *Log) publish(ctx context.Context, w *partWriter, at eventlog.Head, generation string) error {
	value, err := json.Marshal(manifest{
		Seq: at.Seq, Hash: at.Hash, Generation: at.Generation,
		ID: w.id, Parts: w.parts, Bytes: w.bytes, SHA256: hex.EncodeToString(w.sum.Sum(nil)),
	})
	if err != nil {
		return err
	}
	response, err := l.client.Txn(ctx).If(
		clientv3.Compare(clientv3.CreateRevision(w.dir+partName(w.id, 0)), ">", 0),
		clientv3.Compare(clientv3.Value(l.keys.generation), "=", generation),
	).Then(clientv3.OpPut(w.dir+manifestName, string(value))).Commit()
	if err != nil {
		return err
	}
	if !response.Succeeded {
		return errors.New("its parts were removed, or the log replaced, while it was written")
	}
	return nil
}

// partWriter stores what is written to it in keys of partBytes.
type partWriter struct {
	ctx    context.Context
	client *clientv3.Client
	dir    string
	id     string
	buffer []byte
	parts  int
	bytes  int64
	sum    hash.Hash
}

// writeAll stores the whole of what write produces, in at least one part.
func (w *partWriter) writeAll(write func(io.Writer) error) error {
	encoder, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if err := write(encoder); err != nil {
		return errors.Join(err, encoder.Close())
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	if len(w.buffer) > 0 || w.parts == 0 {
		return w.put()
	}
	return nil
}

func (w *partWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), partBytes-len(w.buffer))
		w.buffer = append(w.buffer, rest[:n]...)
		rest = rest[n:]
		if len(w.buffer) == partBytes {
			if err := w.put(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (w *partWriter) put() error {
	if _, err := w.client.Put(w.ctx, w.dir+partName(w.id, w.parts), string(w.buffer)); err != nil {
		return fmt.Errorf("part %d: %w", w.parts, err)
	}
	w.sum.Write(w.buffer)
	w.bytes += int64(len(w.buffer))
	w.buffer = w.buffer[:0]
	w.parts++
	return nil
}

// discard removes the parts of a snapshot that is not to be. What it cannot remove, the next snapshot does.
func (w *partWriter) discard() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), discardTimeout)
	defer cancel()
	w.client.Delete(ctx, w.dir+w.id+"-", clientv3.WithPrefix()) //nolint:errcheck // see above
}

// storedSnapshots lists what there is of a stream's snapshots: the manifests, newest first, and the keys of all parts.
func (l *Log) storedSnapshots(ctx context.Context,
	stream string) (manifests []manifest, parts []string, revision int64, err error) {
	root := l.keys.snapshots + stream + "/"
	response, err := l.client.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, nil, 0, err
	}
	for i := len(response.Kvs) - 1; i >= 0; i-- {
		key := string(response.Kvs[i].Key)
		if !strings.HasSuffix(key, "/"+manifestName) {
			parts = append(parts, key)
			continue
		}
		value, err := l.client.Get(ctx, key, clientv3.WithRev(response.Header.Revision))
		if err != nil {
			return nil, nil, 0, err
		}
		// What cannot be read is no snapshot. It is derived data: the log is replayed instead.
		if m, ok := parseManifest(value, key, root); ok {
			manifests = append(manifests, m)
		}
	}
	return manifests, parts, response.Header.Revision, nil
}

func parseManifest(value *clientv3.GetResponse, key, root string) (manifest, bool) {
	var m manifest
	if len(value.Kvs) == 0 || json.Unmarshal(value.Kvs[0].Value, &m) != nil {
		return manifest{}, false
	}
	return m, key == eventKey(root, m.Seq)+"/"+manifestName
}

// pruneSnapshots keeps the newest snapshots of the generation of at, and parts that may still get their manifest.
func (l *Log) pruneSnapshots(ctx context.Context, stream string, at eventlog.Head) error {
	manifests, parts, _, err := l.storedSnapshots(ctx, stream)
	if err != nil {
		return err
	}
	var kept []string // the beginnings of the keys that stay
	for _, m := range manifests {
		dir := l.keys.snapshotDir(stream, m.Seq)
		if m.Generation == at.Generation && len(kept) < keptSnapshots {
			kept = append(kept, dir+m.ID+"-")
			continue
		}
		if _, err := l.client.Txn(ctx).Then(clientv3.OpDelete(dir+manifestName),
			clientv3.OpDelete(dir+m.ID+"-", clientv3.WithPrefix())).Commit(); err != nil {
			return err
		}
	}
	ours := l.keys.snapshotDir(stream, at.Seq)
	for _, key := range parts {
		if hasAnyPrefix(key, kept) || key >= ours && !strings.HasPrefix(key, ours) {
			continue
		}
		if _, err := l.client.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func hasAnyPrefix(key string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
