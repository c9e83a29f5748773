package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
)

const stream = "node-a"

// pen writes events into a log, as a replica does.
type pen struct {
	log    eventlog.Log
	cursor eventlog.Cursor
	n      int
}

type fatal interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func newPen(t fatal, log eventlog.Log) *pen {
	t.Helper()
	head, err := log.Head(context.Background(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return &pen{log: log, cursor: eventlog.Cursor{Head: head}}
}

func (p *pen) write(t fatal, n int) {
	t.Helper()
	for range n {
		p.n++
		after := p.cursor.Head
		data := &eventlog.PoolDeleted{Pool: fmt.Sprint("p", p.n)}
		_, r, err := p.cursor.Write(time.Unix(int64(p.n), 0), "test", "", data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.log.Append(context.Background(), stream, after, []eventlog.Record{r},
			eventlog.Fence{}); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t fatal, path string) *Journal { return openAs(t, path, "a") }

func openAs(t fatal, path, node string) *Journal {
	t.Helper()
	j, err := Open(path, node, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func all(t fatal, log eventlog.Log) []string {
	t.Helper()
	var texts []string
	for records, err := range log.Read(context.Background(), stream, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			texts = append(texts, fmt.Sprint(r.Seq, " ", string(r.Bytes)))
		}
	}
	return texts
}

func noFence() eventlog.Fence { return eventlog.Fence{} }

// forwarded copies until etcd has everything.
func forwarded(t fatal, j *Journal, remote eventlog.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	go func() { ended <- j.Forward(running, remote, noFence) }()
	head, err := j.Log().Head(ctx, stream)
	if err == nil {
		err = j.Wait(ctx, head.Seq)
	}
	stop()
	if err = errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
}

// Whatever fails on the way, before or after the send, and however often the agent is restarted, etcd ends with the
// same events in the same order, none missing and none twice.
func TestForwardLaw(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n), "node.db")
		remote := memlog.NewWithLimits(eventlog.Limits{Events: 3, Bytes: 1 << 20})
		remote.SetFault(func(string, eventlog.Head) memlog.Fault {
			switch rapid.IntRange(0, 3).Draw(t, "fault") {
			case 0:
				return memlog.Fault{Err: errors.New("not sent")}
			case 1:
				return memlog.Fault{Err: errors.New("the response is lost"), Landed: true}
			default:
				return memlog.Fault{}
			}
		})
		for range rapid.IntRange(1, 3).Draw(t, "lives") {
			j := open(t, path)
			if err := j.Begin(context.Background(), remote); err != nil {
				t.Fatal(err)
			}
			newPen(t, j.Log()).write(t, rapid.IntRange(0, 10).Draw(t, "events"))
			for range rapid.IntRange(0, 4).Draw(t, "attempts") {
				_, _ = j.forward(context.Background(), remote, eventlog.Fence{}) // some fail: that is the point
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
		remote.SetFault(nil)
		j := open(t, path)
		defer j.Close() //nolint:errcheck // nothing was written
		if err := j.Begin(context.Background(), remote); err != nil {
			t.Fatal(err)
		}
		forwarded(t, j, remote)
		if ours, theirs := all(t, j.Log()), all(t, remote); !slices.Equal(ours, theirs) {
			t.Fatalf("the file has\n%s\nand etcd\n%s", strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
		}
	})
}

// A file that is lost, or is older than etcd, is filled from etcd.
func TestFileIsFilled(t *testing.T) {
	remote := memlog.New()
	newPen(t, remote).write(t, 2500)
	path := filepath.Join(t.TempDir(), "node.db")
	j := open(t, path)
	if err := j.Begin(t.Context(), remote); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(all(t, j.Log()), all(t, remote)) || j.Waiting() != 0 {
		t.Error("the file is not what etcd has")
	}
	p := newPen(t, remote)
	p.n = 5000
	p.write(t, 10)
	if err := j.Begin(t.Context(), remote); err != nil || !slices.Equal(all(t, j.Log()), all(t, remote)) {
		t.Errorf("an older file: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// An etcd that was restored from a backup gets what it has forgotten; the log's new generation is taken over.
func TestRestoredRemote(t *testing.T) {
	remote := memlog.New()
	j := open(t, filepath.Join(t.TempDir(), "node.db"))
	defer j.Close() //nolint:errcheck // the test is over
	if err := j.Begin(t.Context(), remote); err != nil {
		t.Fatal(err)
	}
	newPen(t, j.Log()).write(t, 5)
	forwarded(t, j, remote)
	restored := memlog.New() // of a backup after event 3
	head, err := restored.Head(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	for records, err := range remote.Read(t.Context(), stream, 0, 3) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := restored.Append(t.Context(), stream, head, records, eventlog.Fence{}); err != nil {
			t.Fatal(err)
		}
	}
	forwarded(t, j, restored) // it notices while it runs
	newPen(t, j.Log()).write(t, 1)
	forwarded(t, j, restored)
	if ours, theirs := all(t, j.Log()), all(t, restored); len(theirs) != 6 || !slices.Equal(ours, theirs) {
		t.Errorf("the restored etcd has %d events, want 6", len(theirs))
	}
}

// Two machines that used one name, or a file of another node, are not mixed up.
func TestDiverged(t *testing.T) {
	remote := memlog.New()
	j := open(t, filepath.Join(t.TempDir(), "node.db"))
	defer j.Close() //nolint:errcheck // the test is over
	if err := j.Begin(t.Context(), remote); err != nil {
		t.Fatal(err)
	}
	newPen(t, j.Log()).write(t, 3)
	other := newPen(t, remote)
	other.n = 100
	other.write(t, 1)
	if err := j.Forward(t.Context(), remote, noFence); !errors.Is(err, ErrDiverged) {
		t.Errorf("etcd has another first event: %v", err)
	}
	other.write(t, 5)
	if err := j.Begin(t.Context(), remote); !errors.Is(err, ErrDiverged) {
		t.Errorf("etcd has more events, and others: %v", err)
	}
	if _, err := Open(j.file.db.Path()+"x", "a", zap.NewNop()); err != nil {
		t.Error(err)
	}
	foreign := filepath.Join(t.TempDir(), "node.db")
	b, err := Open(foreign, "b", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(foreign, "a", zap.NewNop()); err == nil || !strings.Contains(err.Error(), "stream node-b") {
		t.Errorf("the file of another node: %v", err)
	}
}

// While etcd is away, events wait in the file; Wait and Reached report it.
func TestOutage(t *testing.T) {
	remote := memlog.New()
	path := filepath.Join(t.TempDir(), "node.db")
	j := open(t, path)
	if err := j.Begin(t.Context(), remote); err != nil {
		t.Fatal(err)
	}
	reached := j.Reached()
	remote.SetFault(func(string, eventlog.Head) memlog.Fault { return memlog.Fault{Err: errors.New("away")} })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Forward(ctx, remote, noFence) }()
	newPen(t, j.Log()).write(t, 4)
	short, done := context.WithTimeout(ctx, 50*time.Millisecond)
	defer done()
	if err := j.Wait(short, 4); err == nil || j.Waiting() != 4 {
		t.Errorf("etcd is away: %v, %d wait", err, j.Waiting())
	}
	remote.SetFault(nil)
	if err := j.Wait(ctx, 4); err != nil || j.Waiting() != 0 || !j.Reached().After(reached) {
		t.Errorf("etcd is back: %v, %d wait", err, j.Waiting())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	defer again.Close() //nolint:errcheck // nothing was written
	if again.Reached().IsZero() {
		t.Error("a restart has forgotten when etcd was reached")
	}
}

// The newest snapshot stands for the events that were trimmed.
func TestSnapshotAndTrim(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "node.db"))
	defer j.Close() //nolint:errcheck // the test is over
	if err := j.Begin(t.Context(), memlog.New()); err != nil {
		t.Fatal(err)
	}
	newPen(t, j.Log()).write(t, 20)
	head, err := j.Log().Head(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := j.Log().LoadSnapshot(t.Context(), stream, 0); !errors.Is(err, eventlog.ErrNoSnapshot) {
		t.Errorf("no snapshot: %v", err)
	}
	if err := j.Log().SaveSnapshot(t.Context(), stream, head, func(w io.Writer) error {
		_, err := io.WriteString(w, "state\nof 20")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	at, content, err := j.Log().LoadSnapshot(t.Context(), stream, 0)
	if err != nil || at != head {
		t.Fatalf("%v, %v", at, err)
	}
	if text, err := io.ReadAll(content); err != nil || string(text) != "state\nof 20" {
		t.Errorf("%q, %v", text, err)
	}
	if err := j.file.trim(15); err != nil {
		t.Fatal(err)
	}
	if records, err := j.file.after(15, 0); err != nil || len(records) != 5 {
		t.Errorf("%d events are left, %v", len(records), err)
	}
	if _, err := j.file.after(3, 0); !errors.Is(err, eventlog.ErrCorrupt) {
		t.Errorf("events that were trimmed: %v", err)
	}
	newPen(t, j.Log()).write(t, 1)
}

func FuzzSnapshot(f *testing.F) {
	f.Add([]byte(`{"seq":1,"hash":"","generation":"g"}` + "\nrest"))
	f.Fuzz(func(t *testing.T, text []byte) {
		head, content, err := decodeSnapshot(text)
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(content)
		again, err := encodeSnapshot(head, func(w io.Writer) error { _, err := w.Write(rest); return err })
		if err != nil {
			t.Fatal(err)
		}
		if back, _, err := decodeSnapshot(again); err != nil || back != head {
			t.Errorf("%v, %v", back, err)
		}
	})
}
