package journal

import (
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// reserveSize is the size of a file beside the node's that holds room on the disk: some thousand addresses that are
// given back.
const reserveSize = 256 << 10

// least is how much room there must be beside the reserve for the node to give addresses, in bytes.
const least = 128 << 10

// reserve is a file that can be emptied when the disk is full.
type reserve string

// fill makes the file, if it is not whole.
func (r reserve) fill() error {
	if r.whole() {
		return nil
	}
	if err := os.WriteFile(string(r), make([]byte, reserveSize), 0o600); err != nil {
		return errors.Join(fmt.Errorf("room for what is given back on a full disk: %w", err), r.spend())
	}
	return nil
}

func (r reserve) whole() bool {
	info, err := os.Stat(string(r))
	return err == nil && info.Size() == reserveSize
}

// spend gives the room back to the disk.
func (r reserve) spend() error {
	if err := os.Truncate(string(r), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// update writes to the file; if the disk is full, with the room that the reserve has held.
func (f *file) update(write func(*bolt.Tx) error) error {
	err := f.db.Update(write)
	if errors.Is(err, unix.ENOSPC) && f.reserve.whole() {
		if err = f.reserve.spend(); err == nil {
			err = f.db.Update(write)
		}
	}
	return err
}

// Room says why the disk has no room for more addresses; nil if it has. What is held for those that are given back is
// restored when there is room for it.
func (j *Journal) Room() error {
	var at unix.Statfs_t
	path := j.file.db.Path()
	if err := unix.Statfs(path, &at); err != nil {
		return fmt.Errorf("room beside %s: %w", path, err)
	}
	free := at.Bavail * uint64(at.Bsize)
	if !j.file.reserve.whole() && free >= least+reserveSize {
		if err := j.file.reserve.fill(); err != nil {
			return err
		}
		free -= reserveSize
	}
	if free < least || !j.file.reserve.whole() {
		return fmt.Errorf("%s: %w: %d KiB are left; what pods give back is still written down", path, unix.ENOSPC,
			free>>10)
	}
	return nil
}
