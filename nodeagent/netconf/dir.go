package netconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Lookup finds a network by name among the .conf, .json and .conflist files of a directory and of the folders in it, in
// the order of their names. Files that cannot be read or understood are given to skipped and passed over; nil without
// an error means that no file has it.
func Lookup(dir, name string, skipped func(file string, err error)) (*Network, error) {
	files, err := candidates(dir)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			skipped(file, err)
			continue
		}
		n, err := ParseNetwork(text)
		if err != nil {
			skipped(file, err)
			continue
		}
		if n.Name == name {
			return n, nil
		}
	}
	return nil, nil
}

// candidates are the configuration files of a directory and of the folders directly in it.
func candidates(dir string) ([]string, error) {
	var files []string
	for _, pattern := range []string{"*", filepath.Join("*", "*")} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, fmt.Errorf("network configuration directory %q: %w", dir, err)
		}
		for _, file := range found {
			if !slices.Contains([]string{".conf", ".json", ".conflist"}, filepath.Ext(file)) {
				continue
			}
			info, err := os.Stat(file)
			if err == nil && info.Mode().IsRegular() {
				files = append(files, file)
			}
		}
	}
	if _, err := os.Stat(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("network configuration directory: %w", err)
	}
	return files, nil
}
