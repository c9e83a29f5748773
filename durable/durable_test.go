package durable_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"galaxy/durable"
)

// holds makes sure of what a file is, and that nothing else is in its folder.
func holds(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != text {
		t.Errorf("it is %q, want %q: %v", got, text, err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != mode {
		t.Errorf("it is %v, want the mode %v: %v", info.Mode(), mode, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("in the folder are %v: %v", entries, err)
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, c := range []struct {
		text string
		mode fs.FileMode
	}{{"old", 0o600}, {"new", 0o644}, {"", 0o600}} {
		if err := durable.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		holds(t, path, c.text, c.mode)
	}
	if err := durable.WriteFile(filepath.Join(path, "below"), nil, 0o600); err == nil {
		t.Error("a file has become a folder")
	}
}

// A link is replaced, and what it leads to stays as it is.
func TestReplaceLink(t *testing.T) {
	target := filepath.Join(t.TempDir(), "target")
	path := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.WriteFile(target, []byte("theirs"), 0o600), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "ours", 0o600)
	holds(t, target, "theirs", 0o600)
}

// What is cut short leaves the file as it was.
func TestFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := durable.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	cut := errors.New("cut short")
	err := durable.Replace(path, 0o600, func(to io.Writer) error {
		_, err := io.WriteString(to, "half")
		return errors.Join(err, cut)
	})
	if !errors.Is(err, cut) {
		t.Errorf("%v", err)
	}
	holds(t, path, "old", 0o600)
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string) func(io.Writer) error {
		return func(to io.Writer) error {
			_, err := io.WriteString(to, text)
			return err
		}
	}
	if err := durable.Create(path, 0o600, write("first")); err != nil {
		t.Fatal(err)
	}
	if err := durable.Create(path, 0o600, write("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
	holds(t, path, "first", 0o600)
}
