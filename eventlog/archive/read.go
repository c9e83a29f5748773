package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"

	"github.com/go-json-experiment/json"
	"github.com/klauspost/compress/zstd"

	"galaxy/eventlog"
)

// ErrDamaged means that a backup is not as it was written: cut short, or changed.
var ErrDamaged = errors.New("the backup is damaged")

// maxLine bounds what a damaged backup can make a reader hold in memory. No etcd takes an event of that size.
const maxLine = 64 << 20

// Reader reads a backup once, from front to back.
type Reader struct {
	manifest Manifest
	decoder  *zstd.Decoder
	from     *bufio.Reader
	sum      hash.Hash // of the lines that were read
	line     []byte
}

// Open reads the manifest of a backup. The reader is to be closed; that does not close r.
func Open(r io.Reader) (*Reader, error) {
	decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxLine))
	if err != nil {
		return nil, fmt.Errorf("open a backup: %w", err)
	}
	b := &Reader{decoder: decoder, from: bufio.NewReaderSize(decoder, 64<<10), sum: sha256.New()}
	if err := b.readManifest(); err != nil {
		decoder.Close()
		return nil, fmt.Errorf("open a backup: %w", err)
	}
	return b, nil
}

// readManifest names a foreign or newer format before it refuses fields that it does not know.
func (b *Reader) readManifest() error {
	if err := b.next(); err != nil {
		return err
	}
	var kind struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(b.line, &kind); err != nil {
		return fmt.Errorf("%w: its first line: %w", ErrDamaged, err)
	}
	if err := (Manifest{Format: kind.Format, Version: kind.Version}).check(); err != nil {
		return err
	}
	if err := json.Unmarshal(b.line, &b.manifest, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: its first line: %w", ErrDamaged, err)
	}
	if err := b.manifest.check(); err != nil {
		return fmt.Errorf("%w: its first line: %w", ErrDamaged, err)
	}
	return nil
}

// Manifest is what the backup says of itself.
func (b *Reader) Manifest() Manifest { return b.manifest }

// Close frees what the reader holds.
func (b *Reader) Close() error {
	b.decoder.Close()
	return nil
}

// Entry is an event in a backup.
type Entry struct {
	Stream string
	Record eventlog.Record
	Event  eventlog.Event
}

// Entries yields the events of all streams, one stream after the other, each event checked against the one before it.
// It ends with an error unless the file is whole and every stream ends at its head: ErrDamaged, eventlog.ErrCorrupt, or
// that an event is unknown. Until it has ended, nothing that it has yielded is to be relied on. It can be used once.
func (b *Reader) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, s := range b.manifest.Streams {
			more, err := b.stream(s, yield)
			if err != nil {
				yield(Entry{}, fmt.Errorf("backup: stream %s: %w", s.Name, err))
				return
			}
			if !more {
				return
			}
		}
		if err := b.end(); err != nil {
			yield(Entry{}, fmt.Errorf("backup: %w", err))
		}
	}
}

// stream yields the events of one stream, and reports whether the caller wants more.
func (b *Reader) stream(s Stream, yield func(Entry, error) bool) (more bool, err error) {
	var head section
	if err := b.json(&head); err != nil {
		return false, err
	}
	if head.Stream != s.Name || head.Events != s.Seq {
		return false, fmt.Errorf("%w: %d events of stream %q follow, want %d", ErrDamaged, head.Events, head.Stream,
			s.Seq)
	}
	var cursor eventlog.Cursor
	for seq := uint64(1); seq <= s.Seq; seq++ {
		if err := b.next(); err != nil {
			return false, err
		}
		r := eventlog.Record{Seq: seq, Bytes: append([]byte(nil), b.line...)}
		e, err := cursor.Read(r)
		if err != nil {
			return false, err
		}
		if !yield(Entry{s.Name, r, e}, nil) {
			return false, nil
		}
	}
	return true, s.reached(cursor.Head)
}

// end reads the last line and makes sure that it is right and the last.
func (b *Reader) end() error {
	sum := hex.EncodeToString(b.sum.Sum(nil))
	var last seal
	if err := b.json(&last); err != nil {
		return err
	}
	if last.SHA256 != sum {
		return fmt.Errorf("%w: its SHA-256 is %s, its last line says %s", ErrDamaged, sum, last.SHA256)
	}
	if _, err := b.from.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows its last line", ErrDamaged)
	}
	return nil
}

func (b *Reader) json(into any) error {
	if err := b.next(); err != nil {
		return err
	}
	if err := json.Unmarshal(b.line, into, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// next reads a line into b.line and adds it to the sum.
func (b *Reader) next() error {
	b.line = b.line[:0]
	for {
		part, err := b.from.ReadSlice('\n')
		b.line = append(b.line, part...)
		if len(b.line) > maxLine {
			return fmt.Errorf("%w: a line is longer than %d bytes", ErrDamaged, maxLine)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it ends too early", ErrDamaged)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		b.sum.Write(b.line)
		b.line = b.line[:len(b.line)-1]
		return nil
	}
}

// Verify reads a whole backup and reports the first thing that is wrong with it.
func Verify(r io.Reader, progress Progress) (Manifest, error) {
	b, err := Open(r)
	if err != nil {
		return Manifest{}, err
	}
	defer b.decoder.Close()
	done := uint64(0)
	for _, err := range b.Entries() {
		if err != nil {
			return Manifest{}, err
		}
		if done++; done%reportEvery == 0 {
			progress.report(done, b.manifest.Events())
		}
	}
	progress.report(done, b.manifest.Events())
	return b.manifest, nil
}

// reportEvery is how many events lie between two reports of progress.
const reportEvery = 1000
