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

// Notes are DELs that nobody took, as the agent was not there, or could not write: a file for each interface of a
// container, with the request. A runtime that gets of success forgets the container, so that a node can be drained
// while its agent is down; the agent does what the notes say when it is back.
type Notes struct{ Dir string }

// Note is a file of a container: the DEL of an interface, or why it is none.
type Note struct {
	File    string
	Request Request
	Damage  error
}

// Leave writes a note, which is on the disk when it returns, and can be read again.
func (n Notes) Leave(req Request) error {
	container := req.Env["CNI_CONTAINERID"]
	text, err := json.Marshal(req)
	if err == nil {
		_, err = Decode(bytes.NewReader(text))
	}
	if err == nil {
		err = os.MkdirAll(n.Dir, 0o700)
	}
	file := n.path(container, req.Env["CNI_IFNAME"])
	if err == nil {
		err = durable.WriteFile(file, text, 0o600)
	}
	if errors.Is(err, fs.ErrExist) { // a folder, which is none of ours
		if _, err = durable.SetAside(file); err == nil {
			err = durable.WriteFile(file, text, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("leave a note of container %s for the agent: %w", container, err)
	}
	return nil
}

// path is the file of an interface. A note of an earlier release has the container's id for a name, and is of all it
// had.
func (n Notes) path(container, ifName string) string {
	name := container
	if ifName != "" {
		name += noteSeparator + ifName
	}
	return filepath.Join(n.Dir, name)
}

// noteSeparator is in no container's id.
const noteSeparator = "@"

// entries are the files of notes.
func (n Notes) entries() ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(n.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("notes of galaxy-sdn: %w", err)
	}
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }), nil
}

// Containers are those of which there are notes.
func (n Notes) Containers() ([]string, error) {
	entries, err := n.entries()
	var names []string
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if container, _, _ := strings.Cut(e.Name(), noteSeparator); !slices.Contains(names, container) {
			names = append(names, container)
		}
	}
	return names, err
}

// Read gives the notes of a container, also those that are damaged.
func (n Notes) Read(container string) ([]Note, error) {
	entries, err := n.entries()
	var all []Note
	for _, e := range entries {
		if of, _, _ := strings.Cut(e.Name(), noteSeparator); of != container {
			continue
		}
		note := Note{File: filepath.Join(n.Dir, e.Name())}
		text, failed := durable.ReadFile(note.File, maxRequest)
		switch {
		case errors.Is(failed, fs.ErrNotExist):
			continue
		case errors.Is(failed, durable.ErrForeign):
			note.Damage = failed
		case failed != nil:
			err = errors.Join(err, fmt.Errorf("note of container %s: %w", container, failed))
			continue
		default:
			note.Request, note.Damage = n.decode(text, container, note.File)
		}
		all = append(all, note)
	}
	return all, err
}

// decode reads the note of a container in a file.
func (n Notes) decode(text []byte, container, file string) (Request, error) {
	req, err := Decode(bytes.NewReader(text))
	if err != nil {
		return Request{}, err
	}
	args, _, err := req.Args()
	switch {
	case err != nil:
		return Request{}, err
	case req.Command() != "DEL":
		return Request{}, fmt.Errorf("it is a %s, want a DEL", req.Command())
	case args.ContainerID != container || file != n.path(container, args.IfName) && file != n.path(container, ""):
		return Request{}, fmt.Errorf("it is of interface %s of container %s", args.IfName, args.ContainerID)
	}
	return req, nil
}

// Drop removes the note of an interface, or with ifName "" that of the container as a whole; one that is not there is
// no matter.
func (n Notes) Drop(container, ifName string) error {
	if err := os.Remove(n.path(container, ifName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note of container %s: %w", container, err)
	}
	return nil
}
