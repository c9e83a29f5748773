package etcdlog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
)

// LoadSnapshot opens the newest snapshot. See eventlog.Log. When its reader fails, an older one may still be whole: ask
// again with atMost one less than the sequence number of the damaged one.
func (l *Log) LoadSnapshot(ctx context.Context, stream string, atMost uint64) (eventlog.Head, io.ReadCloser, error) {
	if err := eventlog.CheckStream(stream); err != nil {
		return eventlog.Head{}, nil, err
	}
	g, err := l.readGeneration(ctx)
	if err != nil {
		return eventlog.Head{}, nil, err
	}
	manifests, _, revision, err := l.storedSnapshots(ctx, stream)
	if err != nil {
		return eventlog.Head{}, nil, fmt.Errorf("list the snapshots of %s: %w", stream, err)
	}
	for _, m := range manifests {
		if m.Generation != g.ID || atMost > 0 && m.Seq > atMost {
			continue
		}
		parts := &partReader{ctx: ctx, client: l.client, dir: l.keys.snapshotDir(stream, m.Seq), manifest: m,
			revision: revision, sum: sha256.New()}
		decoder, err := zstd.NewReader(parts, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return eventlog.Head{}, nil, fmt.Errorf("open the snapshot of %s at event %d: %w", stream, m.Seq, err)
		}
		return m.head(), &snapshotReader{decoder: decoder, parts: parts}, nil
	}
	return eventlog.Head{}, nil, fmt.Errorf("stream %s: %w", stream, eventlog.ErrNoSnapshot)
}

// A snapshot is at most maxExpansion * stored + minExpanded bytes once it is decompressed: rows of a real one shrink to
// a twentieth.
const (
	maxExpansion = 256
	minExpanded  = 1 << 20
)

// snapshotReader says in its errors which snapshot is damaged, and ends one that expands beyond measure: a node's user
// writes the snapshots of the node's own stream.
type snapshotReader struct {
	decoder *zstd.Decoder
	parts   *partReader
	bytes   int64 // decompressed
}

func (r *snapshotReader) Read(p []byte) (int, error) {
	n, err := r.decoder.Read(p)
	if r.bytes += int64(n); r.bytes > maxExpansion*r.parts.bytes+minExpanded {
		n, err = 0, fmt.Errorf("it expands more than %d-fold", maxExpansion)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("snapshot at event %d: %w", r.parts.manifest.Seq, err)
	}
	return n, err
}

func (r *snapshotReader) Close() error {
	r.decoder.Close()
	return nil
}

// partReader joins the parts of a snapshot and ends with an error instead of io.EOF if they are not what was written.
type partReader struct {
	ctx      context.Context
	client   *clientv3.Client
	dir      string
	manifest manifest
	revision int64 // at which the snapshot was there, so that a newer one cannot remove it under the reader
	part     int
	bytes    int64
	rest     []byte
	sum      hash.Hash
}

func (r *partReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.part == r.manifest.Parts {
			return 0, r.end()
		}
		if err := r.get(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *partReader) get() error {
	key := r.dir + partName(r.manifest.ID, r.part)
	response, err := r.client.Get(r.ctx, key, clientv3.WithRev(r.revision))
	if isCompacted(err) {
		response, err = r.client.Get(r.ctx, key)
	}
	if err != nil {
		return fmt.Errorf("part %d: %w", r.part, err)
	}
	if len(response.Kvs) == 0 {
		return fmt.Errorf("part %d of %d is missing", r.part, r.manifest.Parts)
	}
	r.rest = response.Kvs[0].Value
	r.sum.Write(r.rest)
	r.bytes += int64(len(r.rest))
	r.part++
	return nil
}

// end judges the whole once all parts are read.
func (r *partReader) end() error {
	if r.bytes != r.manifest.Bytes {
		return fmt.Errorf("%d bytes, want %d", r.bytes, r.manifest.Bytes)
	}
	if sum := hex.EncodeToString(r.sum.Sum(nil)); sum != r.manifest.SHA256 {
		return fmt.Errorf("its SHA-256 is %s, want %s", sum, r.manifest.SHA256)
	}
	return io.EOF
}
