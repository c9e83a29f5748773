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
	"strconv"
	"strings"
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
	Damaged() map[string]error       // the streams that are not in Heads as they are damaged
	Read(ctx context.Context, stream string) iter.Seq2[[]eventlog.Record, error]
}

// Progress is called now and then with how many events of how many are done. It may be nil.
type Progress func(done, total uint64)

// Backup writes a log to w, event by event. Every event is checked on the way as a reader would: a log that is corrupt,
// or holds events that this program does not know, is an error and not a backup. What was written to w before an error
// is useless. Only the streams of single nodes are judged each by itself, as a node's own user writes them: one that is
// damaged is left out, and the manifest says so. To know that before the first line is written they are read twice.
func Backup(ctx context.Context, source Source, w io.Writer, progress Progress) (Manifest, error) {
	m, err := manifestOf(ctx, source)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
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

// manifestOf finds out what a backup will hold.
func manifestOf(ctx context.Context, source Source) (Manifest, error) {
	m := Manifest{
		Format: Format, Version: Version, Generation: source.Generation(), Revision: source.Revision(),
		Time: time.Now().UTC().Round(0), Streams: []Stream{},
	}
	damaged := source.Damaged()
	for name, head := range source.Heads() {
		s := Stream{Name: name, Seq: head.Seq, Hash: head.Hash}
		if eventlog.IsOfNode(name) {
			err := s.read(ctx, source, func(eventlog.Record) error { return nil })
			if IsDamage(err) {
				damaged[name] = err
				continue
			}
			if err != nil {
				return m, fmt.Errorf("stream %s: %w", name, err)
			}
		}
		m.Streams = append(m.Streams, s)
	}
	for _, name := range slices.Sorted(maps.Keys(damaged)) {
		if !eventlog.IsOfNode(name) {
			return m, fmt.Errorf("stream %q: %w", name, damaged[name])
		}
		m.LeftOut = append(m.LeftOut, LeftOut{Name: strconv.QuoteToASCII(name), Why: damaged[name].Error()})
	}
	slices.SortFunc(m.Streams, func(a, b Stream) int { return strings.Compare(a.Name, b.Name) })
	return m, nil
}

// IsDamage reports whether an error is about what stands in the log, and not about how it is reached.
func IsDamage(err error) bool {
	var unknown *eventlog.UnknownTypeError
	var version *eventlog.VersionError
	return errors.Is(err, eventlog.ErrCorrupt) || errors.As(err, &unknown) || errors.As(err, &version)
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
	return s.read(ctx, source, func(r eventlog.Record) error {
		if w.done++; w.done%1000 == 0 || w.done == w.total {
			w.progress.report(w.done, w.total)
		}
		return w.line(r.Bytes)
	})
}

// read takes the events of a stream to each, checked as a reader would, and makes sure that they reach its head.
func (s Stream) read(ctx context.Context, source Source, each func(eventlog.Record) error) error {
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
			if err := each(r); err != nil {
				return err
			}
		}
	}
	return s.reached(cursor.Head)
}

// reached makes sure that a stream ends where its head is.
func (s Stream) reached(head eventlog.Head) error {
	if head.Seq != s.Seq {
		return fmt.Errorf("%w: it ends with event %d, its head is at event %d", eventlog.ErrCorrupt, head.Seq, s.Seq)
	}
	if head.Hash != s.Hash {
		return fmt.Errorf("%w: event %d hashes to %s, the head says %s", eventlog.ErrCorrupt, head.Seq, head.Hash,
			s.Hash)
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
