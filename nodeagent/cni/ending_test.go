package cni

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// A DEL is answered while the kernel still deletes the container's links. An agent that is killed by then leaves them
// to the next one, which deletes them at its start, or before an ADD of the same container; of a container that is done
// nothing is remembered.
func TestKilledWhileLinksAreDeleted(t *testing.T) {
	for name, next := range map[string]func(t *testing.T, s *harness){
		"the next agent": func(t *testing.T, s *harness) { s.finishAll(t.Context(), map[string]string{}) },
		"an ADD before that": func(t *testing.T, s *harness) {
			if _, err := s.ask("ADD", "c1", "web", "1.1.0"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newNotedStage(t)
			s.add(t, "c1")
			s.add(t, "c2")
			hold := make(chan struct{})
			s.later.of("c1")(func() error { <-hold; return nil }) // the kernel takes its time
			for _, id := range []string{"c1", "c2"} {
				if _, err := s.ask("DEL", id, "web", "1.1.0"); err != nil {
					t.Fatal(err)
				}
			}
			if ids, err := s.state.endings(); err != nil || !slices.Equal(ids, []string{"c1"}) {
				t.Fatalf("%v, %v", ids, err)
			}
			if known, err := s.state.containers(time.Time{}); err != nil || len(known) != 0 {
				t.Errorf("a container that was deleted counts as one that is there: %v %v", known, err)
			}
			// The agent is killed: what waits in it never comes.
			after := newNotedStage(t)
			after.Server.Config.Dir, after.state = s.Dir, s.state
			if err := after.state.tidy(); err != nil {
				t.Fatal(err)
			}
			after.broken["lost"] = errors.New("not yet")
			after.finishAll(t.Context(), map[string]string{})
			if ids, _ := after.state.endings(); len(ids) != 1 {
				t.Error("it is forgotten before it is done")
			}
			delete(after.broken, "lost")
			after.lost = nil
			next(t, after)
			if ids, _ := after.state.endings(); len(ids) != 0 || !slices.Equal(after.lost, []string{"c1/"}) {
				t.Errorf("left %v, deleted %v", ids, after.lost)
			}
			close(hold)
			s.Wait()
		})
	}
}

// In an agent that lives nothing is left when its work is done.
func TestEndingEnds(t *testing.T) {
	s := newNotedStage(t)
	s.add(t, "c1")
	hold := make(chan struct{})
	s.later.of("c1")(func() error { <-hold; return nil })
	if _, err := s.ask("DEL", "c1", "web", "1.1.0"); err != nil {
		t.Fatal(err)
	}
	close(hold)
	s.Wait()
	if ids, err := s.state.endings(); err != nil || len(ids) != 0 || len(s.lost) != 0 {
		t.Errorf("%v %v %v", ids, s.lost, err)
	}
}
