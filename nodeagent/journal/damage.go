package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"galaxy/eventlog"
)

// errDamaged is a file that a crash of the machine, or a disk, has spoilt.
var errDamaged = errors.New("it is damaged")

// checkFile reads all of a file, before it is put to use: a page that is no page, or is not there at all, would end the
// process at some moment later, as bbolt maps the file into memory.
func checkFile(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil // it is about to be made
	}
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		debug.SetPanicOnFault(true) // of this goroutine alone: memory that the file does not reach is a fault
		done <- readAll(path)
	}()
	return <-done
}

func readAll(path string) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%w: %v", errDamaged, reason)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait, ReadOnly: true})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	err = db.View(func(tx *bolt.Tx) error {
		touched := 0
		err := tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				for _, c := range v {
					touched += int(c)
				}
				touched += len(k)
				return nil
			})
		})
		if err != nil {
			return err
		}
		return checkChain(tx)
	})
	if err != nil {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	return errors.Join(err, db.Close())
}

// checkChain compares each event with what the one after it says of it, and the last with the head.
func checkChain(tx *bolt.Tx) error {
	events := tx.Bucket(bucketEvents)
	if events == nil || tx.Bucket(bucketMeta) == nil {
		return nil // it was cut off while it was made
	}
	var last eventlog.Record
	err := events.ForEach(func(k, v []byte) error {
		r := eventlog.Record{Seq: binary.BigEndian.Uint64(k), Bytes: v}
		if last.Bytes != nil && (r.Seq != last.Seq+1 ||
			!bytes.Contains(v, []byte(`"prev":"`+last.Hash().String()+`"`))) {
			return fmt.Errorf("event %d does not follow event %d", r.Seq, last.Seq)
		}
		last = r
		return nil
	})
	if err != nil {
		return err
	}
	head, err := readHead(tx)
	if err == nil && last.Bytes != nil && (head.Seq != last.Seq || head.Hash != last.Hash()) {
		err = fmt.Errorf("the head is at event %d, and the last event is %d", head.Seq, last.Seq)
	}
	return err
}

// setAside moves a damaged file away, for people, so that a new one can be filled from etcd.
func setAside(path string, now time.Time) (aside string, err error) {
	aside = fmt.Sprintf("%s.damaged-%s", path, now.UTC().Format("20060102T150405"))
	return aside, os.Rename(path, aside)
}
