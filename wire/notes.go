package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"galaxy/durable"
)

// NotesDir is where galaxy-sdn leaves notes for the agent. It outlives a reboot, as what the notes are about does.
const NotesDir = "/var/lib/cni/galaxy-deleted"

// Notes are DELs that nobody took, as the agent was not there, or could not write: a file for each interface of a container, with the
// request. A runtime that is told
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
		err = durable.WriteFile(n.path(container, req.Env["CNI_IFNAME"]), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("leave a note of container %s for the agent: %w", container, err)
	}
	return nil
}

// path is the file of an interface. A note of an earlier release has the container's id for a name, and is of all it had.
func (n Notes) path(container, ifName string) string {
	name := container
	if ifName != "" {
		name += noteSeparator + ifName
	}
	return filepath.Join(n.Dir, name)
}

// noteSeparator is in no container's id.
const noteSeparator = "@"

// Containers are those of which there are notes.
func (n Notes) Containers() ([]string, error) {
	entries, err := os.ReadDir(n.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("notes of galaxy-sdn: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if container, _, _ := strings.Cut(e.Name(), noteSeparator); !slices.Contains(names, container) {
			names = append(names, container)
		}
	}
	return names, nil
}

// Read gives the requests in the notes of a container.
func (n Notes) Read(container string) ([]Request, error) {
	files, err := filepath.Glob(n.path(container, "") + noteSeparator + "*")
	if err != nil {
		return nil, fmt.Errorf("notes of container %s: %w", container, err)
	}
	var all []Request
	for _, file := range append(files, n.path(container, "")) {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("note of container %s: %w", container, err)
		}
		req, err := Decode(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("note of container %s in %s: %w", container, file, err)
		}
		all = append(all, req)
	}
	return all, nil
}

// Drop removes the note of an interface, or with ifName "" those of the container as a whole; one that is not there is no matter.
func (n Notes) Drop(container, ifName string) error {
	if err := os.Remove(n.path(container, ifName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note of container %s: %w", container, err)
	}
	return nil
}
