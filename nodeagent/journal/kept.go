package journal

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"galaxy/durable"
	"galaxy/eventlog"
)

// Kept is a file with a state of a stream that another writes, as it was when etcd answered last: a line with the
// SHA-256 of the rest in hexadecimal, and the rest as a snapshot in the node's own file.
type Kept string

// Save replaces the file. After a crash there is the old one or the new one.
func (k Kept) Save(at eventlog.Head, write func(io.Writer) error) error {
	text, err := encodeSnapshot(at, write)
	if err != nil {
		return fmt.Errorf("keep %s: %w", k, err)
	}
	err = durable.Replace(string(k), 0o600, func(to io.Writer) error {
		if _, err := fmt.Fprintf(to, "%x\n", sha256.Sum256(text)); err != nil {
			return err
		}
		_, err := to.Write(text)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep %s: %w", k, err)
	}
	return nil
}

// Load is what was saved: errors are fs.ErrNotExist, and eventlog.ErrCorrupt for a file that is not as it was written.
func (k Kept) Load() (head eventlog.Head, content io.ReadCloser, err error) {
	text, err := os.ReadFile(string(k))
	if err != nil {
		return head, nil, err
	}
	sum, rest, _ := bytes.Cut(text, []byte{'\n'})
	if string(sum) != fmt.Sprintf("%x", sha256.Sum256(rest)) {
		return head, nil, fmt.Errorf("%w: %s is not as it was written", eventlog.ErrCorrupt, k)
	}
	return decodeSnapshot(rest)
}
