package wire

import (
	"errors"
	"os"
	"path/filepath"
)

// NewPrefix begins the names of files that Replace is writing. After a crash they may be left, and mean nothing.
const NewPrefix = ".new-"

// Replace writes a file, mode 0600, in one step: whoever reads it sees the old text or the new, after a crash too, and the new one is
// on the disk when Replace returns.
func Replace(path string, text []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, NewPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
