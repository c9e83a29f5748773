package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const cgroups = "/sys/fs/cgroup"

// hierarchies are where control groups are made: one place, or with version 1 one for each controller.
func hierarchies() []string {
	if _, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers")); err == nil {
		return []string{cgroups}
	}
	all, _ := filepath.Glob(filepath.Join(cgroups, "*", "cgroup.procs")) // the pattern is a good one
	for i, at := range all {
		all[i] = filepath.Dir(at)
	}
	return all
}

// makeCgroups makes the group in which the kubelet makes its own, in all hierarchies.
func makeCgroups(name string) error {
	for _, at := range hierarchies() {
		group := filepath.Join(at, name)
		if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("control group: %w", err)
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // in version 1 a new group may run nowhere
			value, err := os.ReadFile(filepath.Join(at, file))
			if err != nil {
				continue // another controller
			}
			if err := os.WriteFile(filepath.Join(group, file), value, 0); err != nil {
				return fmt.Errorf("control group: %w", err)
			}
		}
	}
	return nil
}

// removeCgroups removes the group with all that are in it, when their processes are dead.
func removeCgroups(name string) error {
	var left error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		left = nil
		for _, at := range hierarchies() {
			left = errors.Join(left, removeGroup(filepath.Join(at, name)))
		}
		if left == nil {
			return nil
		}
	}
	return left
}

func removeGroup(at string) error {
	var groups []string
	err := filepath.WalkDir(at, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for _, group := range slices.Backward(groups) {
		if e := os.Remove(group); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
