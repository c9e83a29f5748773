package cni

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"galaxy/durable"
	"galaxy/wire"
)

func (s *harness) must(t *testing.T, want string, command, container, ifName, network string) {
	t.Helper()
	if _, err := s.askFor(command, container, ifName, network, "web", "1.1.0"); err != nil {
		t.Fatalf("%s of %s/%s in %s: %v", command, container, ifName, network, err)
	}
	if got := s.taken(); got != want {
		t.Errorf("%s of %s/%s in %s did %q, want %q", command, container, ifName, network, got, want)
	}
}

// An attachment is a network, a container and an interface: neither ADD, CHECK, DEL nor GC of one touches another.
func TestAttachmentsOfOneContainer(t *testing.T) {
	s := newHarness(t)
	s.must(t, "ADD a eth0", "ADD", "c1", "eth0", "blue")
	s.must(t, "ADD a net1", "ADD", "c1", "net1", "red")
	if _, err := s.askFor("ADD", "c1", "net1", "red", "web", "1.1.0"); err == nil || s.taken() != "" {
		t.Errorf("an interface is made twice: %v", err)
	}
	s.must(t, "CHECK a net1", "CHECK", "c1", "net1", "red")
	if _, err := s.askFor("CHECK", "c1", "net2", "red", "web", "1.1.0"); err == nil {
		t.Error("an interface that was never made is as it should be")
	}
	s.must(t, "", "DEL", "c1", "net2", "red") // never made
	s.must(t, "", "DEL", "c1", "eth0", "red") // of the other network
	s.must(t, "DEL a net1", "DEL", "c1", "net1", "red")
	s.must(t, "CHECK a eth0", "CHECK", "c1", "eth0", "blue")
	s.must(t, "ADD a net1", "ADD", "c1", "net1", "red")
	gc := func(network, valid string) {
		t.Helper()
		conf := fmt.Appendf(nil, `{"cniVersion":"1.1.0","name":%q,"cni.dev/valid-attachments":[%s]}`, network, valid)
		if _, err := s.Handle(t.Context(), wire.Request{Env: map[string]string{"CNI_COMMAND": "GC"},
			Config: conf}); err != nil {
			t.Fatal(err)
		}
	}
	gc("green", ``)
	gc("red", `{"containerID":"c1","ifname":"net1"}`)
	if got := s.taken(); got != "" {
		t.Errorf("GC did %q", got)
	}
	gc("red", `{"containerID":"c1","ifname":"eth0"}`) // that is another network's
	if got := s.taken(); got != "DEL a net1" {
		t.Errorf("GC did %q", got)
	}
	s.must(t, "CHECK a eth0", "CHECK", "c1", "eth0", "blue")
	s.must(t, "DEL a eth0", "DEL", "c1", "eth0", "blue")
	if left, _ := os.ReadDir(s.Dir); len(left) > 0 {
		t.Errorf("left is %v", left)
	}
}

// What was made by a release that did not keep the runtime's network is spared by GC, and undone by DEL.
func TestStateWithoutNetwork(t *testing.T) {
	s := newHarness(t)
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := `[{"NetworkType":"a","Conf":{"name":"one","type":"a"},"IfName":"eth0"},{"NetworkType":"c","Conf":{"name":"three","type":"c"},"IfName":"net1"}]`
	if err := os.WriteFile(filepath.Join(s.Dir, "old"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := []byte(`{"cniVersion":"1.1.0","name":"galaxy-sdn","cni.dev/valid-attachments":[]}`)
	if _, err := s.Handle(t.Context(), wire.Request{Env: map[string]string{"CNI_COMMAND": "GC"},
		Config: conf}); err != nil || s.taken() != "" {
		t.Errorf("GC undoes what it knows no network of: %v", err)
	}
	s.must(t, "DEL c net1, DEL a eth0", "DEL", "old", "eth0", "galaxy-sdn")
}

// DEL ends whatever has become of the state: a file that is empty, cut or no list is set aside, one that is gone is
// gone, and what the interface has is undone without it.
func TestDelWithoutState(t *testing.T) {
	s := newHarness(t)
	for id, spoil := range map[string]func(path string) error{
		"empty": func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"cut":   func(path string) error { return os.Truncate(path, 20) },
		"other": func(path string) error { return os.WriteFile(path, []byte(`{"a":1}`), 0o600) },
		"gone":  os.Remove,
	} {
		s.must(t, "ADD a eth0", "ADD", id, "eth0", "blue")
		if err := spoil(filepath.Join(s.Dir, id)); err != nil {
			t.Fatal(err)
		}
		s.lost = nil
		s.must(t, "", "DEL", id, "eth0", "blue")
		if fmt.Sprint(s.lost) != "["+id+"/eth0]" {
			t.Errorf("%s: undone was %v", id, s.lost)
		}
		aside, _ := os.ReadFile(filepath.Join(s.Dir, durable.Damaged+id))
		if _, err := os.Stat(filepath.Join(s.Dir, id)); !errors.Is(err, os.ErrNotExist) || id == "cut" &&
			len(aside) != 20 {
			t.Errorf("%s: the file is there still (%v), or was not kept: %q", id, err, aside)
		}
	}
	if NewServer(s.Config); true {
		if kept, _ := filepath.Glob(filepath.Join(s.Dir, durable.Damaged+"*")); len(kept) != 3 {
			t.Errorf("after a start there are %v", kept)
		}
	}
}

// A configuration that cannot be read does not keep a pod: neither one that the ADD was refused for, nor one that was
// spoilt since.
func TestDelOfUnreadableConfiguration(t *testing.T) {
	s := newHarness(t)
	unreadable := types.NewError(types.ErrDecodingFailure, "mtu is no number", "")
	s.broken["ADD a"], s.broken["DEL a"] = unreadable, unreadable
	if _, err := s.ask("ADD", "c1", "web", "1.1.0"); err == nil {
		t.Fatal("it was read")
	}
	s.taken()
	s.must(t, "", "DEL", "c1", "eth0", "galaxy-sdn")
	delete(s.broken, "ADD a")
	s.must(t, "ADD a eth0", "ADD", "c2", "eth0", "galaxy-sdn")
	s.lost = nil
	s.must(t, "DEL a eth0", "DEL", "c2", "eth0", "galaxy-sdn")
	if fmt.Sprint(s.lost) != "[c2/eth0]" {
		t.Errorf("undone was %v", s.lost)
	}
	// What fails for another reason is kept for the next DEL.
	s.must(t, "ADD a eth0", "ADD", "c3", "eth0", "galaxy-sdn")
	s.broken["DEL a"] = errors.New("it is busy")
	if _, err := s.ask("DEL", "c3", "web", "1.1.0"); err == nil {
		t.Error("a DEL that failed is answered with success")
	}
}

// A DEL that cannot be done yet is kept in a note, and done later: the runtime does not wait for a disk or for etcd.
func TestDelIsPostponed(t *testing.T) {
	s := newNotedStage(t)
	for _, err := range []error{types.NewError(types.ErrTryAgainLater, "the addresses are not known yet", ""),
		fmt.Errorf("write: %w", syscall.ENOSPC)} {
		s.must(t, "ADD a eth0", "ADD", "c1", "eth0", "blue")
		s.broken["DEL a"] = err
		s.must(t, "DEL a eth0", "DEL", "c1", "eth0", "blue")
		if noted, _ := s.Notes.Containers(); !slices.Equal(noted, []string{"c1"}) {
			t.Errorf("noted are %v", noted)
		}
		s.broken = map[string]error{}
		s.catchUpOnce(t, "DEL a eth0")
		if noted, _ := s.Notes.Containers(); len(noted) > 0 {
			t.Errorf("noted are %v", noted)
		}
	}
}

// An id that no file can have the name of is refused by ADD; a DEL of it has nothing to undo.
func TestLongID(t *testing.T) {
	s := newHarness(t)
	long := strings.Repeat("a", 300)
	if _, err := s.ask("ADD", long, "web", "1.1.0"); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("ADD: %v", err)
	}
	s.must(t, "", "DEL", long, "eth0", "blue")
}
