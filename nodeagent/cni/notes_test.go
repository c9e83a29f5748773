package cni

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"galaxy/wire"
)

// leave writes what galaxy-sdn writes when it finds no agent.
func (s *stage) leave(t *testing.T, container string) {
	t.Helper()
	err := s.Notes.Leave(wire.Request{Env: map[string]string{"CNI_COMMAND": "DEL", "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0"}, Config: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stage) add(t *testing.T, container string) {
	t.Helper()
	if _, err := s.ask("ADD", container, "web", "1.1.0"); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) catchUpOnce(t *testing.T, want string) {
	t.Helper()
	s.catchUp(t.Context(), map[string]string{})
	if got := s.taken(); got != want {
		t.Errorf("catching up did %q, want %q", got, want)
	}
}

func newNotedStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.Notes = wire.Notes{Dir: filepath.Join(t.TempDir(), "notes")}
	return s
}

// What notes say is done once, and until it succeeds.
func TestNotesAreDone(t *testing.T) {
	s := newNotedStage(t)
	s.catchUpOnce(t, "")
	s.add(t, "c1")
	s.add(t, "c2")
	s.taken()
	s.leave(t, "c1")
	s.leave(t, "unknown")
	s.broken["DEL a"] = errors.New("it is busy")
	s.catchUpOnce(t, "DEL a eth0")
	s.broken = map[string]error{}
	s.catchUpOnce(t, "DEL a eth0")
	s.catchUpOnce(t, "")
	if left, err := s.Notes.Containers(); err != nil || len(left) > 0 {
		t.Errorf("notes of %v are left: %v", left, err)
	}
}

// An ADD of a container of which there is a note comes after it; and the note is spent, so that it does not undo the ADD.
func TestAddComesAfterItsNote(t *testing.T) {
	s := newNotedStage(t)
	s.add(t, "c1")
	s.leave(t, "c1")
	s.taken()
	s.add(t, "c1")
	if got := s.taken(); got != "DEL a eth0, ADD a eth0" {
		t.Errorf("done was %q", got)
	}
	s.catchUpOnce(t, "")
	// A DEL that the runtime brings itself spends a note, too.
	s.leave(t, "c1")
	if _, err := s.ask("DEL", "c1", "web", "1.1.0"); err != nil {
		t.Fatal(err)
	}
	s.taken()
	s.add(t, "c1")
	if got := s.taken(); got != "ADD a eth0" {
		t.Errorf("done was %q", got)
	}
}

// A note that nobody can read, or that is of another container, stops nothing but itself.
func TestBadNotes(t *testing.T) {
	s := newNotedStage(t)
	s.add(t, "c1")
	s.add(t, "c2")
	s.taken()
	s.leave(t, "c1")
	s.leave(t, "c2")
	if err := os.Rename(filepath.Join(s.Notes.Dir, "c2@eth0"), filepath.Join(s.Notes.Dir, "c0@eth0")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Notes.Dir, "b"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.catchUpOnce(t, "DEL a eth0")
	if left, err := s.Notes.Containers(); err != nil || len(left) != 2 {
		t.Errorf("notes of %v are left: %v", left, err)
	}
}
