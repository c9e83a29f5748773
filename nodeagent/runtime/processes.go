package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// namespaceID distinguishes one network namespace from another.
type namespaceID struct{ device, inode uint64 }

// nowhere are what the kernel says of a path that leads to nothing.
var nowhere = []error{syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EINVAL}

// Inhabited are those of some network namespaces, given by their paths, in which processes live. A path that leads
// nowhere has none, and one that leads to the namespace of this process is no pod's: it went by a process whose number
// another has now. It sees the processes of its own PID namespace, so the agent runs in the host's.
func Inhabited(paths []string) (map[string]bool, error) {
	wanted := map[namespaceID][]string{}
	own, err := namespaceAt("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("look at the network namespace of this process: %w", err)
	}
	for _, path := range paths {
		id, err := namespaceAt(path)
		switch {
		case slices.ContainsFunc(nowhere, func(e error) bool { return errors.Is(err, e) }):
		case err != nil:
			return nil, fmt.Errorf("look at a network namespace: %w", err)
		case id == own:
		default:
			wanted[id] = append(wanted[id], path)
		}
	}
	inhabited := map[string]bool{}
	if len(wanted) == 0 {
		return inhabited, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look at the processes of this node: %w", err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		id, err := namespaceAt(filepath.Join("/proc", e.Name(), "ns", "net"))
		if err != nil {
			continue // it has just ended
		}
		for _, path := range wanted[id] {
			inhabited[path] = true
		}
	}
	return inhabited, nil
}

func namespaceAt(path string) (namespaceID, error) {
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		return namespaceID{}, fmt.Errorf("%s: %w", path, err)
	}
	return namespaceID{device: uint64(s.Dev), inode: s.Ino}, nil
}
