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

// state is the file of one container: what the delegates of its interfaces got. Its name is the container's ID, so that
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

// maxNotes bounds a file. What one delegate gets takes some kilobytes.
const maxNotes = 16 << 20

// errDamaged is for a note that does not say what the delegate got.
var errDamaged = errors.New("the note of the delegate is damaged")

func open(dir, container string) state { return state{dir: dir, container: container} }

func (s state) path() string { return filepath.Join(s.dir, s.container) }

// load is what the delegate of an interface got, or nil. It is errDamaged where something was noted and cannot be read:
// the note itself, or a file of this container that was set aside.
func (s state) load(ifName string) (json.RawMessage, error) {
	n, err := s.read()
	if err != nil {
		return nil, err
	}
	note, err := n.of(ifName)
	if note != nil || err != nil {
		return note, err
	}
	if _, err := os.Lstat(filepath.Join(s.dir, durable.Damaged+s.container)); err == nil {
		return nil, fmt.Errorf("%w: the file of container %s was set aside", errDamaged, s.container)
	}
	return nil, nil
}

// of is what was noted for an interface, or nil.
func (n notes) of(ifName string) (json.RawMessage, error) {
	note, noted := n.Interfaces[ifName]
	if !noted {
		return n.reference, nil
	}
	if _, err := typeOf(note); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, ifName, err)
	}
	return note, nil
}

func (s state) read() (notes, error) {
	text, err := durable.ReadFile(s.path(), maxNotes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notes{}, nil
	case errors.Is(err, durable.ErrForeign):
		return notes{}, fmt.Errorf("%w: %w", errDamaged, err)
	case err != nil:
		return notes{}, plugins.Errorf(types.ErrIOFailure, "read the note of the delegate: %w", err)
	}
	n, err := decodeNotes(text)
	if err != nil {
		return notes{}, fmt.Errorf("%w: %s: %w", errDamaged, s.path(), err)
	}
	return n, nil
}

// decodeNotes reads a file. What is noted for an interface may be damaged still.
func decodeNotes(text []byte) (n notes, err error) {
	if err := json.Unmarshal(text, &n); err != nil {
		return notes{}, err
	}
	if len(n.Interfaces) > 0 {
		return n, nil
	}
	if _, err := typeOf(text); err != nil {
		return notes{}, err
	}
	return notes{reference: text}, nil
}

// save notes what a delegate gets.
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

// change rewrites the file; one that is damaged is set aside. The lock is on the folder, for the file comes and goes.
func (s state) change(f func(n *notes)) (err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return plugins.Errorf(types.ErrIOFailure, "make the folder for notes of delegates: %w", err)
	}
	folder, err := os.Open(s.dir)
	if err != nil {
		return plugins.Errorf(types.ErrIOFailure, "open the folder for notes of delegates: %w", err)
	}
	defer folder.Close() //nolint:errcheck // it was only locked
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return plugins.Errorf(types.ErrIOFailure, "lock %s: %w", s.dir, err)
	}
	n, err := s.read()
	if errors.Is(err, errDamaged) {
		_, err = durable.SetAside(s.path())
	}
	if err != nil {
		return err
	}
	f(&n)
	if len(n.Interfaces) == 0 {
		if err := os.Remove(s.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return plugins.Errorf(types.ErrIOFailure, "remove the note of the delegate: %w", err)
		}
		return nil
	}
	text, err := json.Marshal(n)
	if err == nil && len(text) > maxNotes {
		err = fmt.Errorf("it has %d bytes, more than %d", len(text), maxNotes)
	}
	if err != nil {
		return plugins.Errorf(types.ErrInternal, "encode the note of the delegate: %w", err)
	}
	if err := durable.WriteFile(s.path(), text, 0o600); err != nil {
		return plugins.Errorf(types.ErrIOFailure, "write the note of the delegate: %w", err)
	}
	return nil
}

// keptNote is a note and whose it is.
type keptNote struct {
	attachment types.GCAttachment
	delegate   json.RawMessage
}

// list finds the notes of a network. Those of the reference do not say for which interface they are, and are left
// alone, as is what is damaged.
func list(dir, network string) ([]keptNote, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, plugins.Errorf(types.ErrIOFailure, "list the notes of delegates: %w", err)
	}
	var kept []keptNote
	for _, entry := range entries {
		if entry.Name()[0] == '.' || entry.IsDir() {
			continue
		}
		n, err := open(dir, entry.Name()).read()
		if errors.Is(err, errDamaged) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", entry.Name(), err)
		}
		for ifName, delegate := range n.Interfaces {
			var conf struct {
				Name string `json:"name"`
			}
			if _, err := typeOf(delegate); err == nil && json.Unmarshal(delegate, &conf) == nil &&
				conf.Name == network {
				kept = append(kept, keptNote{types.GCAttachment{ContainerID: entry.Name(), IfName: ifName}, delegate})
			}
		}
	}
	return kept, nil
}
