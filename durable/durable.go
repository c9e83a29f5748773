// Package durable writes files in one step: whoever reads one sees the old file or the new one, after a crash too, and
// the new one is on the disk when a function here returns.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// WriteFile puts a text in place of a file. The mode is subject to the umask, as with os.WriteFile, but that of a file
// which was there before does not matter.
func WriteFile(path string, text []byte, mode fs.FileMode) error {
	return Replace(path, mode, func(to io.Writer) error {
		_, err := to.Write(text)
		return err
	})
}

// Replace is WriteFile for what write writes. If that fails, the file is as it was before.
func Replace(path string, mode fs.FileMode, write func(io.Writer) error) error {
	return put(path, mode, write, (*renameio.PendingFile).CloseAtomicallyReplace)
}

// Create is Replace where no file is: it fails with fs.ErrExist if there is one by the time that write has ended.
func Create(path string, mode fs.FileMode, write func(io.Writer) error) error {
	return put(path, mode, write, func(f *renameio.PendingFile) error {
		if err := f.Sync(); err != nil {
			return err
		}
		return os.Link(f.Name(), path) // unlike a rename it fails when somebody else was faster
	})
}

func put(path string, mode fs.FileMode, write func(io.Writer) error,
	commit func(*renameio.PendingFile) error) (err error) {
	dir := filepath.Dir(path)
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithPermissions(mode))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }()
	if err := write(f); err != nil {
		return err
	}
	if err := commit(f); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a file's name as durable as its content, which renameio leaves to its callers.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
