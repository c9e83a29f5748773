package archive_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"galaxy/eventlog"
	"galaxy/eventlog/archive"
	"galaxy/eventlog/memlog"
)

// source is a log in memory, as it is now.
type source struct {
	log   eventlog.Log
	heads map[string]eventlog.Head
	bad   map[string]error
}

func (s source) Generation() string              { return cmp.Or(s.heads["ipam"].Generation, "g") }
func (s source) Revision() int64                 { return 42 }
func (s source) Heads() map[string]eventlog.Head { return s.heads }
func (s source) Damaged() map[string]error       { return maps.Clone(s.bad) }
func (s source) Read(ctx context.Context, stream string) iter.Seq2[[]eventlog.Record, error] {
	return s.log.Read(ctx, stream, 0, s.heads[stream].Seq)
}

// fill appends so many events to every stream of a new log.
func fill(t testing.TB, streams map[string]int) source {
	t.Helper()
	s := source{memlog.New(), map[string]eventlog.Head{}, map[string]error{}}
	for stream, n := range streams {
		head, err := s.log.Head(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		cursor := eventlog.Cursor{Head: head}
		for i := range n {
			_, r, err := cursor.Write(time.Unix(int64(i), 0), "test", "",
				&eventlog.PoolSized{Pool: fmt.Sprint(stream, "-", i), Size: i})
			if err != nil {
				t.Fatal(err)
			}
			if head, err = s.log.Append(t.Context(), stream, head, []eventlog.Record{r}, eventlog.Fence{}); err != nil {
				t.Fatal(err)
			}
		}
		s.heads[stream] = head
	}
	return s
}

// target collects what is restored.
type target struct {
	records   map[string][]eventlog.Record
	committed map[string]eventlog.Head
}

func (r *target) Append(_ context.Context, stream string, records []eventlog.Record) error {
	if r.records == nil {
		r.records = map[string][]eventlog.Record{}
	}
	r.records[stream] = append(r.records[stream], records...)
	return nil
}

func (r *target) Commit(_ context.Context, heads map[string]eventlog.Head) error {
	r.committed = heads
	return nil
}

func backup(t testing.TB, s source) ([]byte, archive.Manifest) {
	t.Helper()
	var file bytes.Buffer
	m, err := archive.Backup(t.Context(), s, &file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes(), m
}

func unpack(t testing.TB, file []byte) []byte {
	t.Helper()
	d, err := zstd.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	text, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var encoder = sync.OnceValues(func() (*zstd.Encoder,
	error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
})

func pack(text []byte) []byte {
	e, err := encoder()
	if err != nil {
		panic(err)
	}
	return e.EncodeAll(text, nil)
}

func TestBackupAndRestore(t *testing.T) {
	s := fill(t, map[string]int{"ipam": 2500, "nodes": 3, "node-a": 1})
	var reports []uint64
	var file bytes.Buffer
	m, err := archive.Backup(t.Context(), s, &file, func(done, total uint64) {
		if total != 2504 {
			t.Errorf("total %d", total)
		}
		reports = append(reports, done)
	})
	if err != nil {
		t.Fatal(err)
	}
	if m.Events() != 2504 || len(m.Streams) != 3 || m.Streams[0].Name != "ipam" || m.Revision != 42 ||
		m.Generation != s.Generation() {
		t.Errorf("manifest %+v", m)
	}
	if len(reports) == 0 || reports[len(reports)-1] != 2504 {
		t.Errorf("progress %v", reports)
	}
	if verified, err := archive.Verify(bytes.NewReader(file.Bytes()), nil); err != nil || verified.Events() != 2504 {
		t.Errorf("verify: %+v, %v", verified, err)
	}
	r, err := archive.Open(&file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // it never fails
	var to target
	if err := archive.Restore(t.Context(), r, &to, nil); err != nil {
		t.Fatal(err)
	}
	for stream, head := range s.heads {
		if to.committed[stream] != head {
			t.Errorf("head of %s is %+v, want %+v", stream, to.committed[stream], head)
		}
		n := 0
		for records, err := range s.Read(t.Context(), stream) {
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range records {
				if got := to.records[stream][n]; got.Seq != want.Seq || !bytes.Equal(got.Bytes, want.Bytes) {
					t.Fatalf("stream %s, event %d: %s, want %s", stream, got.Seq, got.Bytes, want.Bytes)
				}
				n++
			}
		}
		if len(to.records[stream]) != n {
			t.Errorf("%d events of %s, want %d", len(to.records[stream]), stream, n)
		}
	}
}

func TestEmptyLog(t *testing.T) {
	file, m := backup(t, source{log: memlog.New()})
	if m.Events() != 0 {
		t.Errorf("manifest %+v", m)
	}
	if _, err := archive.Verify(bytes.NewReader(file), nil); err != nil {
		t.Error(err)
	}
}

// The format, line by line: readers of others rely on it.
func TestFormat(t *testing.T) {
	file, m := backup(t, fill(t, map[string]int{"ipam": 2}))
	lines := strings.Split(string(unpack(t, file)), "\n")
	if len(lines) != 6 || lines[5] != "" {
		t.Fatalf("%d lines", len(lines))
	}
	stamp := m.Time.Format(time.RFC3339Nano)
	for i, want := range map[int]string{
		0: `{"format":"galaxy-log-backup","version":1,"generation":"` + m.Generation + `","revision":42,"time":"` +
			stamp + `","streams":[{"name":"ipam","seq":2,"hash":"` + m.Streams[0].Hash.String() + `"}]}`,
		1: `{"stream":"ipam","events":2}`,
		2: `{"v":1,"seq":1,"type":"PoolSized","time":"1970-01-01T00:00:00Z","actor":"test","prev":"","data":{"pool":"ipam-0","size":0}}`,
	} {
		if lines[i] != want {
			t.Errorf("line %d is\n%s\nwant\n%s", i+1, lines[i], want)
		}
	}
	if hash := eventlog.Hash(sum(lines[:4])); lines[4] != `{"sha256":"`+hex.EncodeToString(hash[:])+`"}` {
		t.Errorf("last line %s", lines[4])
	}
}

// Whatever is cut off or changed, in the file or in its text, is an error and never a wrong log.
func TestDamage(t *testing.T) {
	file, _ := backup(t, fill(t, map[string]int{"ipam": 20, "nodes": 3}))
	verify := func(what string, damaged []byte) {
		t.Helper()
		if _, err := archive.Verify(bytes.NewReader(damaged), nil); err == nil {
			t.Errorf("%s: not noticed", what)
		}
	}
	for n := 0; n < len(file); n += 3 {
		verify(fmt.Sprintf("file cut to %d bytes", n), file[:n])
	}
	text := unpack(t, file)
	for n := 0; n < len(text); n += 29 {
		verify(fmt.Sprintf("text cut to %d bytes", n), pack(text[:n]))
		changed := bytes.Clone(text)
		changed[n] ^= 1
		verify(fmt.Sprintf("byte %d of the text changed", n), pack(changed))
	}
	verify("something added to the text", pack(append(bytes.Clone(text), '\n')))
	verify("something added to the file", append(bytes.Clone(file), 'x'))
	verify("two files in one", append(bytes.Clone(file), file...))
}

// Damage leaves the target uncommitted.
func TestRestoreOfDamage(t *testing.T) {
	file, _ := backup(t, fill(t, map[string]int{"ipam": 3000}))
	text := unpack(t, file)
	r, err := archive.Open(bytes.NewReader(pack(text[:len(text)-100])))
	if err != nil {
		t.Fatal(err)
	}
	var to target
	if err := archive.Restore(t.Context(), r, &to, nil); !errors.Is(err, archive.ErrDamaged) || to.committed != nil {
		t.Errorf("restore: %v, committed %v", err, to.committed)
	}
}

// reseal makes the last line right again after an edit: only the chain of hashes can show it.
func reseal(text []byte) []byte {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	hash := sum(lines[:len(lines)-1])
	lines[len(lines)-1] = `{"sha256":"` + hex.EncodeToString(hash[:]) + `"}`
	return []byte(strings.Join(lines, "\n") + "\n")
}

func TestRefusals(t *testing.T) {
	file, _ := backup(t, fill(t, map[string]int{"ipam": 5}))
	text := string(unpack(t, file))
	edit := func(old, with string) []byte {
		if !strings.Contains(text, old) {
			t.Fatalf("the text has no %q", old)
		}
		return pack(reseal([]byte(strings.Replace(text, old, with, 1))))
	}
	tests := map[string]struct {
		file []byte
		want string
	}{
		"nothing":   {nil, "ends too early"},
		"no backup": {pack([]byte("{}\n")), "it is no backup of a log"},
		"no zstd":   {[]byte(text), "invalid input"},
		"newer backup": {edit(`"version":1`, `"version":2,"more":{}`),
			"the backup has version 2, this program understands version 1"},
		"unknown type": {edit("PoolSized", "PoolPainted"), `unknown type "PoolPainted"`},
		"newer envelope": {edit(`{"v":1`, `{"v":9`),
			"event 1 has envelope version 9, this program understands version 1"},
		"event edited":   {edit("ipam-1", "ipam-9"), "event 3 follows the hash"},
		"last edited":    {edit("ipam-4", "ipam-9"), "the head says"},
		"events missing": {edit(`{"stream":"ipam","events":5}`, `{"stream":"ipam","events":4}`), "want 5"},
		"unknown field":  {edit(`{"stream":"ipam",`, `{"x":1,"stream":"ipam",`), "unknown object member"},
		"manifest, streams": {edit(`"streams":[`, `"streams":[{"name":"z","seq":1,"hash":"`+strings.Repeat("a", 64)+
			`"},`), `stream "ipam" stands after stream "z"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := archive.Verify(bytes.NewReader(test.file), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A log that contradicts itself is not backed up as if it were whole.
func TestBackupOfDamage(t *testing.T) {
	s := fill(t, map[string]int{"ipam": 5})
	head := s.heads["ipam"]
	for name, wrong := range map[string]eventlog.Head{
		"hash": {Seq: 5, Generation: head.Generation, Hash: eventlog.Hash{1}},
		"more": {Seq: 6, Generation: head.Generation, Hash: head.Hash},
	} {
		s.heads["ipam"] = wrong
		if _, err := archive.Backup(t.Context(), s, io.Discard, nil); !errors.Is(err, eventlog.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBackupToFullDisk(t *testing.T) {
	full := errors.New("the disk is full")
	if _, err := archive.Backup(t.Context(), fill(t, map[string]int{"ipam": 50}), failing{full}, nil); !errors.Is(err,
		full) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzOpen feeds a reader what nobody wrote: it may refuse, but not panic, hang or swallow memory.
func FuzzOpen(f *testing.F) {
	file, _ := backup(f, fill(f, map[string]int{"ipam": 5, "nodes": 2}))
	text := unpack(f, file)
	f.Add(text, true)
	f.Add(text[:len(text)/2], true)
	f.Add(file, false)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, data []byte, text bool) {
		if text {
			data = pack(data)
		}
		r, err := archive.Open(bytes.NewReader(data))
		if err != nil {
			return
		}
		defer r.Close() //nolint:errcheck // it never fails
		var n uint64
		for e, err := range r.Entries() {
			if err != nil {
				return
			}
			if again, err := eventlog.Decode(e.Record); err != nil || again.Seq != e.Event.Seq {
				t.Fatalf("%+v, %v", again, err)
			}
			n++
		}
		if n != r.Manifest().Events() {
			t.Fatalf("%d events, the manifest says %d", n, r.Manifest().Events())
		}
	})
}

// A node's stream that is damaged keeps nobody from a backup of the others, and the manifest says that it is left out;
// a stream of galaxy-ipam's own does.
func TestDamagedStreams(t *testing.T) {
	s := fill(t, map[string]int{"ipam": 5, "nodes": 3, "node-a": 4, "node-b": 2})
	wrong := s.heads["node-a"]
	wrong.Seq++
	s.heads["node-a"] = wrong
	s.bad["node-\x1b[2J"] = fmt.Errorf("%w: its head is no JSON", eventlog.ErrCorrupt)
	var file bytes.Buffer
	m, err := archive.Backup(t.Context(), s, &file, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, stream := range m.Streams {
		names = append(names, stream.Name)
	}
	if fmt.Sprint(names) != "[ipam node-b nodes]" || len(m.LeftOut) != 2 || m.LeftOut[0].Name != `"node-\x1b[2J"` ||
		m.LeftOut[1].Name != `"node-a"` {
		t.Errorf("the backup has %v and leaves out %+v", names, m.LeftOut)
	}
	r, err := archive.Open(&file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // it was only read
	events := 0
	for _, err := range r.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		events++
	}
	if events != 10 || len(r.Manifest().LeftOut) != 2 {
		t.Errorf("%d events, left out %+v", events, r.Manifest().LeftOut)
	}
	s.bad["nodes"] = fmt.Errorf("%w: its head is no JSON", eventlog.ErrCorrupt)
	if _, err := archive.Backup(t.Context(), s, io.Discard, nil); !errors.Is(err, eventlog.ErrCorrupt) ||
		!strings.Contains(err.Error(), `stream "nodes"`) {
		t.Errorf("a backup without the stream nodes: %v", err)
	}
}
