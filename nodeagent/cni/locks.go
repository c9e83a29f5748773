package cni

import (
	"context"
	"fmt"
	"sync"
)

// keyLocks serialises what is done for one container; others do not wait for it.
type keyLocks struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	turn  chan struct{} // full while somebody has it
	users int
}

// lock waits for a key until ctx ends, and returns what gives the key back.
func (l *keyLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	k := l.join(key)
	select {
	case k.turn <- struct{}{}:
		return func() {
			<-k.turn
			l.leave(key)
		}, nil
	case <-ctx.Done():
		l.leave(key)
		return nil, fmt.Errorf("container %s: another request for it is still at work: %w", key, context.Cause(ctx))
	}
}

func (l *keyLocks) join(key string) *keyLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]*keyLock{}
	}
	k := l.held[key]
	if k == nil {
		k = &keyLock{turn: make(chan struct{}, 1)}
		l.held[key] = k
	}
	k.users++
	return k
}

func (l *keyLocks) leave(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.held[key]
	if k.users--; k.users == 0 {
		delete(l.held, key)
	}
}

// busy reports whether something is done for a key.
func (l *keyLocks) busy(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[key] != nil
}
