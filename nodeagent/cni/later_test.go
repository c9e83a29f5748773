package cni

import (
	"errors"
	"slices"
	"sync"
	"testing"
)

// Work that was put off is done in order for one container, at the same time for others, and before the container's
// next ADD.
func TestLaters(t *testing.T) {
	var mu sync.Mutex
	var failed []string
	l := laters{failed: func(containerID string, err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = append(failed, containerID+": "+err.Error())
	}}
	var done []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		done = append(done, what)
	}
	hold := make(chan struct{})
	l.of("a")(func() error {
		<-hold
		note("a1")
		return nil
	})
	l.of("a")(func() error {
		note("a2")
		return errors.New("it is busy")
	})
	l.of("b")(func() error {
		note("b1")
		close(hold) // would never come if b waited for a
		return nil
	})
	l.wait("a")
	mu.Lock()
	ofA := slices.DeleteFunc(slices.Clone(done), func(what string) bool { return what == "b1" })
	mu.Unlock()
	if !slices.Equal(ofA, []string{"a1", "a2"}) {
		t.Errorf("of a is done %v, want a1 and then a2", ofA)
	}
	l.all.Wait()
	if !slices.Equal(failed, []string{"a: it is busy"}) || len(l.pending) > 0 {
		t.Errorf("failed are %v, pending %v", failed, l.pending)
	}
	l.wait("c") // of which nothing is known
}
