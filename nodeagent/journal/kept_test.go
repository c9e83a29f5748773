package journal

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"galaxy/eventlog"
)

// What was kept is read as it was written; a file that is cut off or changed is not believed, whichever byte it is.
func TestKept(t *testing.T) {
	t.Parallel()
	k := Kept(filepath.Join(t.TempDir(), "nodes"))
	if _, _, err := k.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("there is none: %v", err)
	}
	for _, content := range []string{"first", "the second state"} {
		at := eventlog.Head{Seq: uint64(len(content)), Generation: "g"}
		if err := k.Save(at, func(w io.Writer) error { _, err := io.WriteString(w, content); return err }); err != nil {
			t.Fatal(err)
		}
		head, saved, err := k.Load()
		if err != nil || head != at {
			t.Fatalf("%+v %v", head, err)
		}
		if text, err := io.ReadAll(saved); err != nil || string(text) != content {
			t.Errorf("%q %v", text, err)
		}
	}
	fails := errors.New("no state")
	if err := k.Save(eventlog.Head{}, func(io.Writer) error { return fails }); !errors.Is(err, fails) {
		t.Errorf("Save: %v", err)
	}
	if all, err := os.ReadDir(filepath.Dir(string(k))); err != nil || len(all) != 1 {
		t.Errorf("files are left: %v %v", all, err)
	}
	whole, err := os.ReadFile(string(k))
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		spoilt := append([]byte(nil), whole...)
		spoilt[i] ^= 0x20
		for _, text := range [][]byte{spoilt, whole[:i]} {
			if err := os.WriteFile(string(k), text, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := k.Load(); !errors.Is(err, eventlog.ErrCorrupt) {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
}
