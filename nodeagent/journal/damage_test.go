package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"galaxy/eventlog"
)

// filled is a file with events.
func filled(t *testing.T, events int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.db")
	j, err := Open(path, "n", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	var cursor eventlog.Cursor
	for range events {
		before := cursor.Head
		_, r, err := cursor.Write(time.Now(), "n", "", &eventlog.AddressReleased{Reason: strings.Repeat("p", 200)})
		if err == nil {
			_, err = j.Log().Append(t.Context(), "node-n", before, []eventlog.Record{r}, eventlog.Fence{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A damaged file ends nobody's process: it is moved away, whatever has happened to it, and the node begins with an
// empty one, as a new node does. One that is whole is kept.
func TestDamagedFile(t *testing.T) {
	reopened := func(path string) uint64 {
		t.Helper()
		j, err := Open(path, "n", zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close() //nolint:errcheck // it was only read
		head, err := j.Log().Head(t.Context(), "node-n")
		if err != nil {
			t.Fatal(err)
		}
		return head.Seq
	}
	if head := reopened(filled(t, 300)); head != 300 {
		t.Fatalf("a file that is whole has %d events", head)
	}
	text, err := os.ReadFile(filled(t, 300))
	if err != nil {
		t.Fatal(err)
	}
	damages := map[string]func([]byte) []byte{
		"cut":          func(b []byte) []byte { return b[:16384] },
		"cut short":    func(b []byte) []byte { return b[:5000] },
		"of something": func([]byte) []byte { return []byte(strings.Repeat("no database", 1000)) },
		"a bit of an event": func(b []byte) []byte {
			i := bytes.Index(b, []byte("AddressReleased"))
			b[i] ^= 1
			return b
		},
	}
	for page := 2; page*4096 < len(text); page += 5 {
		damages[fmt.Sprintf("page %d", page)] = func(b []byte) []byte {
			for i := range 64 {
				b[page*4096+i] = 0xff
			}
			return b
		}
	}
	for what, damage := range damages {
		path := filepath.Join(t.TempDir(), "node.db")
		if err := os.WriteFile(path, damage(bytes.Clone(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		head := reopened(path)
		aside, _ := filepath.Glob(path + ".damaged-*")
		// a page may be a free one
		if whole := head == 300 && len(aside) == 0; !whole && (head != 0 || len(aside) != 1) {
			t.Errorf("%s: it has %d events, moved away is %v", what, head, aside)
		}
	}
}

// A moment of the future, from a clock that was ahead, lets no node go on for longer.
func TestReachedInTheFuture(t *testing.T) {
	path := filled(t, 1)
	j, err := Open(path, "n", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	err = j.file.db.Update(func(tx *bolt.Tx) error {
		text, err := time.Now().AddDate(1, 0, 0).MarshalText()
		if err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(keyReached, text)
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if j, err = Open(path, "n", zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		if j.Reached().After(time.Now()) {
			t.Errorf("etcd was reached at %s", j.Reached())
		}
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}
