package flannel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"galaxy/durable"
	"galaxy/plugins"
)

// state is the file of one container: what the delegates of its interfaces were told. Its name is the container's ID, so that
// whoever looks for garbage can ask whether the container lives.
type state struct {
	dir, container string
}

// notes is what the file holds. The reference keeps one configuration only; such a file is read, and counts for every
// interface.
type notes struct {
	Interfaces map[string]json.RawMessage `json:"interfaces"`

	reference json.RawMessage
}

func open(dir, container string) state { return state{dir: dir, container: container} }

func (s state) path() string { return filepath.Join(s.dir, s.container) }

// load is what the delegate of an interface was told, or nil.
func (s state) load(ifName string) (json.RawMessage, error) {
	n, err := s.read()
	if err != nil {
		return nil, err
	}
	if note, ok := n.Interfaces[ifName]; ok {
		return note, nil
	}
	return n.reference, nil
}

func (s state) read() (notes, error) {
	var n notes
	text, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err != nil {
		return n, plugins.Errorf(types.ErrIOFailure, "read what the delegate was told: %w", err)
	}
	if json.Unmarshal(text, &n) != nil {
		return notes{}, nil // cut by a crash: it tells nothing, as if it were not there, and must not keep a container
	}
	if n.Interfaces == nil {
		n.reference = text
	}
	return n, nil
}

// save notes what a delegate is told.
func (s state) save(ifName string, delegate json.RawMessage) error {
	return s.change(func(n *notes) {
		if n.Interfaces == nil {
			n.Interfaces = map[string]json.RawMessage{}
		}
		n.Interfaces[ifName] = delegate
	})
}

// drop forgets an interface, and the file with the last one.
func (s state) drop(ifName string) error {
	return s.change(func(n *notes) {
		if n.reference != nil {
			n.reference = nil
		}
		delete(n.Interfaces, ifName)
	})
}

// change rewrites the file. The lock is on the folder, for the file comes and goes.
func (s state) change(f func(n *notes)) (err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return plugins.Errorf(types.ErrIOFailure, "make the folder for what delegates are told: %w", err)
	}
	folder, err := os.Open(s.dir)
	if err != nil {
		return plugins.Errorf(types.ErrIOFailure, "open the folder for what delegates are told: %w", err)
	}
	defer folder.Close() //nolint:errcheck // it was only locked
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return plugins.Errorf(types.ErrIOFailure, "lock %s: %w", s.dir, err)
	}
	n, err := s.read()
	if err != nil {
		return err
	}
	f(&n)
	if len(n.Interfaces) == 0 {
		if err := os.Remove(s.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return plugins.Errorf(types.ErrIOFailure, "forget what the delegate was told: %w", err)
		}
		return nil
	}
	text, err := json.Marshal(n)
	if err != nil {
		return plugins.Errorf(types.ErrInternal, "encode what the delegate was told: %w", err)
	}
	if err := durable.WriteFile(s.path(), text, 0o600); err != nil {
		return plugins.Errorf(types.ErrIOFailure, "note what the delegate was told: %w", err)
	}
	return nil
}

// keptNote is a note and whose it is.
type keptNote struct {
	attachment types.GCAttachment
	delegate   json.RawMessage
}

// list finds the notes of a network. Those of the reference do not say for which interface they are, and are left alone.
func list(dir, network string) ([]keptNote, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, plugins.Errorf(types.ErrIOFailure, "list what delegates were told: %w", err)
	}
	var kept []keptNote
	for _, entry := range entries {
		if entry.Name()[0] == '.' || entry.IsDir() {
			continue
		}
		n, err := open(dir, entry.Name()).read()
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", entry.Name(), err)
		}
		for ifName, delegate := range n.Interfaces {
			var conf struct {
				Name string `json:"name"`
			}
			if json.Unmarshal(delegate, &conf) == nil && conf.Name == network {
				kept = append(kept, keptNote{types.GCAttachment{ContainerID: entry.Name(), IfName: ifName}, delegate})
			}
		}
	}
	return kept, nil
}
