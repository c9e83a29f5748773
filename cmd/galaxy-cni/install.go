package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"galaxy/plugins/sdn"
)

// binary is the file to which the names are links.
const binary = "galaxy-cni"

// beside are the reference's plugins that the contract has in the same folder. They are programs of their own: `make
// build` puts them beside this one.
var beside = []string{"host-local", "loopback"}

// installBeside puts those of the reference's plugins into a folder that lie beside the program, and says which do not.
func installBeside(self, folder string) (missing []string, err error) {
	for _, name := range beside {
		from := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
			missing = append(missing, name)
			continue
		}
		if err := copyProgram(from, filepath.Join(folder, name)); err != nil {
			return missing, fmt.Errorf("copy %s: %w", from, err)
		}
	}
	return missing, nil
}

// small are names that may have a smaller program of their own beside this one, which starts sooner and becomes this
// one where it knows no further.
var small = []string{sdn.Name}

// install puts the program and its names into a folder. Every name is changed in one step, and the program before the
// names, so that a runtime that runs one of them meanwhile finds the old one or the new one, and never half of it.
func install(self, folder string, names []string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder for plugins: %w", err)
	}
	if err := copyProgram(self, filepath.Join(folder, binary)); err != nil {
		return fmt.Errorf("copy %s: %w", self, err)
	}
	for _, name := range names {
		if err := installOne(self, folder, name); err != nil {
			return err
		}
	}
	return nil
}

// installOne puts a name into the folder: its small program, or else a link.
func installOne(self, folder, name string) error {
	to := filepath.Join(folder, name)
	if from := filepath.Join(filepath.Dir(self), name); slices.Contains(small, name) && isFile(from) {
		if err := copyProgram(from, to); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		return nil
	}
	// The link is relative, as the folder has another path for the host than for a container.
	if err := renameio.Symlink(binary, to); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}

// isFile reports whether there is a file that is no link.
func isFile(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}

// copyProgram puts a copy in place of what is there, be it a program that runs or a link. After a reboot, too, the name
// has all of the old program or all of the new one.
func copyProgram(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	out, err := renameio.NewPendingFile(to, renameio.WithTempDir(filepath.Dir(to)),
		renameio.WithStaticPermissions(0o755))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Cleanup()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}
