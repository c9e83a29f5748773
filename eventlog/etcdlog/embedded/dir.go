package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockName is a file of ours beside etcd's own. etcd would wait without end, and without a word, for a directory that
// another process uses.
const lockName = "galaxy.lock"

// lockWait is how long the kernel may take to end a process that was killed.
const lockWait = 3 * time.Second

// lockDir makes the directory if needed, and makes sure that it can be written to and that no other server uses it, but
// for one that is just ending. The lock lasts until the file is closed.
func lockDir(dir string) (*os.File, error) {
	if dir == "" {
		return nil, errors.New("no directory is named")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for waited := time.Duration(0); ; waited += lockWait / 100 {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || waited >= lockWait {
			break
		}
		time.Sleep(lockWait / 100)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errors.New("another etcd is running in it")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), lock.Close())
	}
	return lock, nil
}
