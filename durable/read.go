package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// ErrForeign is for what nobody has written with this package: no regular file, or one that is too large.
var ErrForeign = errors.New("it is not a file of ours")

// ReadFile reads a regular file of at most so many bytes. It follows no link and waits for no pipe: whatever else is in
// the file's place is ErrForeign.
func ReadFile(path string, most int64) (text []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) { // a link; a socket
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is %s, want a regular file", ErrForeign, path, info.Mode())
	}
	text, err = io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrForeign, path, most)
	}
	return text, err
}

// Damaged begins the names of what was set aside.
const Damaged = ".damaged-"

// asideTries is how many names SetAside tries.
const asideTries = 100

// SetAside gives what is at a path another name in its folder, for people, so that it is in nobody's way. A file that
// was set aside before under that name is replaced, a folder is not.
func SetAside(path string) (aside string, err error) {
	name := filepath.Join(filepath.Dir(path), Damaged+filepath.Base(path))
	for try := 1; try <= asideTries; try++ {
		aside = name
		if try > 1 {
			aside += "~" + strconv.Itoa(try)
		}
		err = os.Rename(path, aside)
		if !errors.Is(err, os.ErrExist) && !errors.Is(err, syscall.ENOTDIR) {
			break
		}
	}
	return aside, err
}
