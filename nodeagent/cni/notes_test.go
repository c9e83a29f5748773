package cni

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"galaxy/durable"
	"galaxy/wire"
)

// leave writes what galaxy-sdn writes when it finds no agent.
func (s *harness) leave(t *testing.T, container string) {
	t.Helper()
	err := s.Notes.Leave(wire.Request{Env: map[string]string{"CNI_COMMAND": "DEL", "CNI_CONTAINERID": container,
		"CNI_IFNAME": "eth0"}, Config: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *harness) add(t *testing.T, container string) {
	t.Helper()
	if _, err := s.ask("ADD", container, "web", "1.1.0"); err != nil {
		t.Fatal(err)
	}
}

func (s *harness) catchUpOnce(t *testing.T, want string) {
	t.Helper()
	s.catchUp(t.Context(), map[string]string{})
	if got := s.taken(); got != want {
		t.Errorf("catching up did %q, want %q", got, want)
	}
}

func newNotedStage(t *testing.T) *harness {
	t.Helper()
	s := newHarness(t)
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

// An ADD of a container of which there is a note comes after it; and the note is spent, so that it does not undo the
// ADD.
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

// A note that nobody can read, or that is of another container, is set aside; it stops nothing else.
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
	if left, err := s.Notes.Containers(); err != nil || len(left) != 0 {
		t.Errorf("notes of %v are left: %v", left, err)
	}
	for _, name := range []string{"c0@eth0", "b"} {
		if _, err := os.Stat(filepath.Join(s.Notes.Dir, durable.Damaged+name)); err != nil {
			t.Error(err)
		}
	}
	s.catchUpOnce(t, "")
}

// Neither an ADD nor a DEL of a container waits for somebody who removes a damaged note, of whatever interface.
func TestDamagedNotesKeepNoContainer(t *testing.T) {
	damage := map[string]func(path string) error{
		"folder": func(p string) error {
			return errors.Join(os.Mkdir(p, 0o700),
				os.Mkdir(filepath.Join(p, "x"), 0o700))
		},
		"pipe": func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"loop": func(p string) error { return os.Symlink(p, p) },
	}
	for name, text := range map[string]string{
		"empty": "", "garbage": "xx", "null": "null", "no environment": `{"config":"e30="}`,
		"nothing in it":           `{"env":{},"config":"e30="}`,
		"of another":              `{"env":{"CNI_COMMAND":"DEL","CNI_CONTAINERID":"keep","CNI_IFNAME":"eth0"},"config":"e30="}`,
		"of an interface besides": `{"env":{"CNI_COMMAND":"DEL","CNI_CONTAINERID":"c1","CNI_IFNAME":"eth7"},"config":"e30="}`,
		"a CHECK":                 `{"env":{"CNI_COMMAND":"CHECK","CNI_CONTAINERID":"c1","CNI_IFNAME":"eth0","CNI_NETNS":"x"},"config":"e30="}`,
	} {
		damage[name] = func(p string) error { return os.WriteFile(p, []byte(text), 0o600) }
	}
	for name, spoil := range damage {
		for _, file := range []string{"c1", "c1@eth0", "c1@net9", "c1@a@b"} {
			if name == "of an interface besides" && file == "c1" {
				continue // such a note is of all interfaces
			}
			t.Run(name+" "+file, func(t *testing.T) {
				s := newNotedStage(t)
				if err := os.MkdirAll(s.Notes.Dir, 0o700); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(s.Notes.Dir, file)
				for _, command := range []string{"ADD", "DEL"} {
					if err := spoil(path); err != nil {
						t.Fatal(err)
					}
					if _, err := s.ask(command, "c1", "web", "1.1.0"); err != nil {
						t.Errorf("%s: %v", command, err)
					}
					if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
						t.Errorf("%s: the note is there still: %v", command, err)
					}
				}
				if got := s.taken(); got != "ADD a eth0, DEL a eth0" {
					t.Errorf("done was %s", got)
				}
			})
		}
	}
}
