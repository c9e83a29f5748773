package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// NotesDir is where galaxy-sdn leaves notes for the agent. It outlives a reboot, as what the notes are about does.
const NotesDir = "/var/lib/cni/galaxy-deleted"

// Notes are DELs that nobody took, as the agent was not there: a file for each container, with the request. A runtime that is told
// of success forgets the container, so that a node can be drained while its agent is down; the agent does what the notes say when
// it is back.
type Notes struct{ Dir string }

// Leave writes a note, which is on the disk when it returns.
func (n Notes) Leave(req Request) error {
	container := req.Env["CNI_CONTAINERID"]
	text, err := json.Marshal(req)
	if err == nil {
		err = os.MkdirAll(n.Dir, 0o700)
	}
	if err == nil {
		err = n.write(container, text)
	}
	if err != nil {
		return fmt.Errorf("leave a note of container %s for the agent: %w", container, err)
	}
	return nil
}

func (n Notes) write(container string, text []byte) (err error) {
	f, err := os.CreateTemp(n.Dir, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), n.path(container)); err != nil {
		return err
	}
	return syncDir(n.Dir)
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (n Notes) path(container string) string { return filepath.Join(n.Dir, container) }

// Containers are those of which there are notes.
func (n Notes) Containers() ([]string, error) {
	entries, err := os.ReadDir(n.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("notes of galaxy-sdn: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Read gives the request in the note of a container; found is false if there is none.
func (n Notes) Read(container string) (req Request, found bool, err error) {
	f, err := os.Open(n.path(container))
	if errors.Is(err, fs.ErrNotExist) {
		return Request{}, false, nil
	}
	if err != nil {
		return Request{}, false, fmt.Errorf("note of container %s: %w", container, err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	if req, err = Decode(f); err != nil {
		return Request{}, true, fmt.Errorf("note of container %s in %s: %w", container, n.Dir, err)
	}
	return req, true, nil
}

// Drop removes the note of a container; one that is not there is no matter.
func (n Notes) Drop(container string) error {
	if err := os.Remove(n.path(container)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note of container %s: %w", container, err)
	}
	return nil
}
