package cni

import "sync"

// laters does work that was put off, that of one container in order and before its next ADD.
type laters struct {
	failed func(containerID string, err error)
	all    sync.WaitGroup

	mu      sync.Mutex
	pending map[string]chan struct{} // of each container, closed when its newest work is done
}

// of takes work of a container.
func (l *laters) of(containerID string) func(work func() error) {
	return func(work func() error) {
		done := make(chan struct{})
		l.mu.Lock()
		if l.pending == nil {
			l.pending = map[string]chan struct{}{}
		}
		before := l.pending[containerID]
		l.pending[containerID] = done
		l.mu.Unlock()
		l.all.Go(func() {
			if before != nil {
				<-before
			}
			if err := work(); err != nil {
				l.failed(containerID, err)
			}
			l.mu.Lock()
			if l.pending[containerID] == done {
				delete(l.pending, containerID)
			}
			l.mu.Unlock()
			close(done)
		})
	}
}

// busy reports whether work of a container is not done yet.
func (l *laters) busy(containerID string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending[containerID] != nil
}

// wait waits until all work of a container is done.
func (l *laters) wait(containerID string) {
	l.mu.Lock()
	pending := l.pending[containerID]
	l.mu.Unlock()
	if pending != nil {
		<-pending
	}
}
