package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/klauspost/compress/zstd"

	"galaxy/eventlog"
)

// Source is a whole log at one moment; *etcdlog.Export is one.
type Source interface {
	Generation() string
	Revision() int64                 // of etcd at that moment
	Heads() map[string]eventlog.Head // of the streams that have events
	Read(ctx context.Context, stream string) iter.Seq2[[]eventlog.Record, error]
}

// Progress is told now and then how many events of how many are done. It may be nil.
type Progress func(done, total uint64)

// Backup writes a log to w, event by event. Every event is checked on the way as a reader would: a log that is corrupt, or
// holds events that this program does not know, is an error and not a backup. What was written to w before an error is
// useless.
func Backup(ctx context.Context, source Source, w io.Writer, progress Progress) (Manifest, error) {
	heads := source.Heads()
	m := Manifest{Format: Format, Version: Version, Generation: source.Generation(), Revision: source.Revision(), Time: time.Now().UTC().Round(0), Streams: []Stream{}}
	for _, name := range slices.Sorted(maps.Keys(heads)) {
		m.Streams = append(m.Streams, Stream{Name: name, Seq: heads[name].Seq, Hash: heads[name].Hash})
	}
	encoder, err := zstd.NewWriter(w)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	b := &writer{to: bufio.NewWriterSize(encoder, 64<<10), sum: sha256.New(), progress: progress, total: m.Events()}
	if err := errors.Join(b.all(ctx, source, m), b.to.Flush(), encoder.Close()); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	return m, nil
}

// writer writes the lines of a backup and sums them up.
type writer struct {
	to       *bufio.Writer
	sum      hash.Hash
	progress Progress
	done     uint64
	total    uint64
}

func (w *writer) all(ctx context.Context, source Source, m Manifest) error {
	if err := w.json(m); err != nil {
		return err
	}
	for _, s := range m.Streams {
		if err := w.stream(ctx, source, s); err != nil {
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
	}
	return w.json(seal{hex.EncodeToString(w.sum.Sum(nil))})
}

func (w *writer) stream(ctx context.Context, source Source, s Stream) error {
	if err := w.json(section{s.Name, s.Seq}); err != nil {
		return err
	}
	var cursor eventlog.Cursor
	for records, err := range source.Read(ctx, s.Name) {
		if err != nil {
			return err
		}
		for _, r := range records {
			if _, err := cursor.Read(r); err != nil {
				return err
			}
			// No event is written with line breaks, though JSON would allow them.
			if bytes.IndexByte(r.Bytes, '\n') >= 0 {
				return fmt.Errorf("%w: event %d has more than one line", eventlog.ErrCorrupt, r.Seq)
			}
			if err := w.line(r.Bytes); err != nil {
				return err
			}
		}
		w.done += uint64(len(records))
		w.progress.report(w.done, w.total)
	}
	return s.reached(cursor.Head)
}

// reached makes sure that a stream ends where its head is.
func (s Stream) reached(head eventlog.Head) error {
	if head.Seq != s.Seq {
		return fmt.Errorf("%w: it ends with event %d, its head is at event %d", eventlog.ErrCorrupt, head.Seq, s.Seq)
	}
	if head.Hash != s.Hash {
		return fmt.Errorf("%w: event %d hashes to %s, the head says %s", eventlog.ErrCorrupt, head.Seq, head.Hash, s.Hash)
	}
	return nil
}

func (w *writer) json(value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return w.line(line)
}

func (w *writer) line(line []byte) error {
	w.sum.Write(line)
	w.sum.Write([]byte{'\n'})
	_, err := w.to.Write(line)
	return errors.Join(err, w.to.WriteByte('\n'))
}

func (p Progress) report(done, total uint64) {
	if p != nil {
		p(done, total)
	}
}
