package objects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Store holds the newest good Set.
type Store struct {
	path    string
	current atomic.Pointer[Set]
	seen    fingerprint // only Watch and Open touch it

	mu          sync.Mutex
	subscribers map[chan struct{}]struct{}
}

// fingerprint is what distinguishes one content of the file from another.
type fingerprint struct {
	info fs.FileInfo
	read time.Time
	sum  [sha256.Size]byte
}

// Open loads a file into a new Store.
func Open(path string) (*Store, error) {
	s := &Store{path: path, subscribers: map[chan struct{}]struct{}{}}
	_, err := s.refresh()
	return s, err
}

// NewStore is a Store without a file, for tests and other sources; see Put.
func NewStore(set *Set) *Store {
	s := &Store{subscribers: map[chan struct{}]struct{}{}}
	s.current.Store(set)
	return s
}

// Set is the newest good Set.
func (s *Store) Set() *Set { return s.current.Load() }

// Put makes a Set the newest and notifies the subscribers.
func (s *Store) Put(set *Set) {
	s.current.Store(set)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.subscribers {
		select {
		case c <- struct{}{}:
		default: // it has yet to look at the change before, and will see this one with it
		}
	}
}

// Subscribe gives a channel that gets a value after a change; several changes may be one value. End it with cancel.
func (s *Store) Subscribe() (changed <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers[c] = struct{}{}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, c)
	}
}

// Watch looks at the file once an interval until ctx ends, and puts what it says when it has changed. While the file is
// bad the last good Set stays in force; report gets each error once, and nil when the file is good again.
func (s *Store) Watch(ctx context.Context, interval time.Duration, report func(error)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := s.refresh()
		if err != nil {
			if last != err.Error() {
				last = err.Error()
				report(err)
			}
			continue
		}
		if last != "" && changed {
			last = ""
			report(nil)
		}
	}
}

// refresh reads the file if it may have changed.
func (s *Store) refresh() (changed bool, err error) {
	info, err := os.Stat(s.path)
	if err != nil {
		s.seen = fingerprint{} // what comes next is news, even if it is what was there
		return false, err
	}
	if s.seen.same(info) {
		return false, nil
	}
	started := time.Now()
	text, modified, err := readFile(s.path)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(text)
	old := s.seen
	s.seen = fingerprint{info: info, read: started, sum: sum}
	if old.sum == sum && old.info != nil && old.info.ModTime().Equal(modified) {
		return false, nil
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return true, fmt.Errorf("%s is empty", s.path)
	}
	set, err := Parse(text, modified)
	if err != nil {
		return true, fmt.Errorf("%s: %w", s.path, err)
	}
	s.Put(set)
	return true, nil
}

// settled is how long after its last change a file can be trusted to have another time stamp when it changes again.
const settled = 2 * time.Second

// same reports whether the file cannot have changed since it was read.
func (s fingerprint) same(info fs.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, info) && s.info.Size() == info.Size() &&
		s.info.ModTime().Equal(info.ModTime()) && s.read.Sub(info.ModTime()) > settled
}
