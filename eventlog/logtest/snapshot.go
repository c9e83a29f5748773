package logtest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"galaxy/eventlog"
)

func save(t *testing.T, log eventlog.Log, at eventlog.Head, content []byte) {
	t.Helper()
	err := log.SaveSnapshot(background(t), stream, at, func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// load fails the test unless the newest snapshot up to atMost is this one.
func load(t *testing.T, log eventlog.Log, atMost uint64, want eventlog.Head, content []byte) {
	t.Helper()
	at, r, err := log.LoadSnapshot(background(t), stream, atMost)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if at != want || !bytes.Equal(got, content) {
		t.Fatalf("snapshot at %+v of %d bytes, want %+v of %d bytes", at, len(got), want, len(content))
	}
}

func snapshots(t *testing.T, rig Rig) {
	large := make([]byte, 3<<20) // several parts, since it cannot be compressed
	rand.Read(large)             // never fails
	contents := [][]byte{[]byte("the first"), {}, large}
	heads := make([]eventlog.Head, len(contents))
	at := head(t, rig.Log)
	for i, content := range contents {
		at, _ = extend(t, rig.Log, at, 10)
		heads[i] = at
		save(t, rig.Log, at, content)
		load(t, rig.Second, 0, at, content)
	}
	kept := uint64(20) // the older of two
	if rig.Lone {
		kept = 30
	} else {
		load(t, rig.Second, 29, heads[1], contents[1])
		load(t, rig.Second, kept, heads[1], contents[1])
	}
	if _, _, err := rig.Log.LoadSnapshot(background(t), stream, kept-1); !errors.Is(err, eventlog.ErrNoSnapshot) {
		t.Fatalf("the oldest of three snapshots is still there: %v", err)
	}
	save(t, rig.Log, heads[2], []byte("once more"))
	load(t, rig.Second, 0, heads[2], []byte("once more"))
	if rig.Lone {
		return
	}
	load(t, rig.Second, 29, heads[1], contents[1])
	if _, _, err := rig.Log.LoadSnapshot(background(t), "nodes", 0); !errors.Is(err, eventlog.ErrNoSnapshot) {
		t.Fatalf("a snapshot of a stream that has none: %v", err)
	}
}

func snapshotNotCompleted(t *testing.T, rig Rig) {
	at, _ := extend(t, rig.Log, head(t, rig.Log), 10)
	broken := errors.New("the writer broke off")
	err := rig.Log.SaveSnapshot(background(t), stream, at, func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 100)); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("save a snapshot that cannot be written: %v", err)
	}
	if _, _, err := rig.Log.LoadSnapshot(background(t), stream, 0); !errors.Is(err, eventlog.ErrNoSnapshot) {
		t.Fatalf("a snapshot that was not completed: %v", err)
	}
}

func snapshotGeneration(t *testing.T, rig Rig) {
	at, _ := extend(t, rig.Log, head(t, rig.Log), 10)
	save(t, rig.Log, at, []byte("old"))
	rig.Regenerate(t)
	if _, _, err := rig.Log.LoadSnapshot(background(t), stream, 0); !errors.Is(err, eventlog.ErrNoSnapshot) {
		t.Fatalf("a snapshot of another generation: %v", err)
	}
	err := rig.Log.SaveSnapshot(background(t), stream, at, func(io.Writer) error { return nil })
	if !errors.Is(err, eventlog.ErrGeneration) {
		t.Fatalf("save a snapshot of another generation: %v", err)
	}
	now := head(t, rig.Log)
	save(t, rig.Log, now, []byte("new"))
	load(t, rig.Second, 0, now, []byte("new"))
}
