package durable_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"galaxy/durable"
)

// What is in place of a file and is none is neither followed nor waited for.
func TestReadFile(t *testing.T) {
	const most = 5
	for name, c := range map[string]struct {
		put     func(path string) error
		foreign bool
	}{
		"whole":     {func(p string) error { return os.WriteFile(p, []byte("12345"), 0o600) }, false},
		"empty":     {func(p string) error { return os.WriteFile(p, nil, 0o600) }, false},
		"too large": {func(p string) error { return os.WriteFile(p, []byte("123456"), 0o600) }, true},
		"sparse": {func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, 1<<40)) },
			true},
		"folder":   {func(p string) error { return os.Mkdir(p, 0o700) }, true},
		"pipe":     {func(p string) error { return syscall.Mkfifo(p, 0o600) }, true},
		"loop":     {func(p string) error { return os.Symlink(p, p) }, true},
		"dangling": {func(p string) error { return os.Symlink("/nonexistent", p) }, true},
		"link":     {func(p string) error { return os.Symlink("/proc/version", p) }, true},
		"device":   {func(p string) error { return os.Symlink("/dev/zero", p) }, true},
		"socket": {func(p string) error {
			l, err := net.Listen("unix", p)
			if err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
			return err
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			if err := c.put(path); err != nil {
				t.Fatal(err)
			}
			text, err := durable.ReadFile(path, most)
			if c.foreign != errors.Is(err, durable.ErrForeign) || !c.foreign && err != nil {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
	if _, err := durable.ReadFile(filepath.Join(t.TempDir(), "none"), most); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// Whatever it is, and whatever was set aside before, it is out of the way.
func TestSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, kind := range []string{"file", "folder", "file", "folder", "file"} {
		var err error
		if kind == "file" {
			err = os.WriteFile(path, []byte("x"), 0o600)
		} else {
			err = errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "x"), nil, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		aside, err := durable.SetAside(path)
		if err != nil || !strings.HasPrefix(filepath.Base(aside), durable.Damaged+"f") {
			t.Errorf("a %s: %s, %v", kind, aside, err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a %s is there still: %v", kind, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 3 { // the files replaced each other
		t.Errorf("%v, %v", left, err)
	}
	if _, err := durable.SetAside(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing is set aside: %v", err)
	}
}
