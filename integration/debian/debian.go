// Package debian gets what tests need from Debian's packages: installed, or unpacked into a cache outside the tree.
package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Cache is the folder for what is made once and used by many runs.
func Cache() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache of what tests need: %w", err)
	}
	cache = filepath.Join(cache, "galaxy")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("cache of what tests need: %w", err)
	}
	return cache, nil
}

// Lock waits until no other process has the lock of a name in the cache. It ends with the process that holds it.
func Lock(cache, name string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(cache, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		_ = f.Close() // the lock is what failed
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

// Install installs packages that are missing. It needs root.
func Install(ctx context.Context, packages ...string) error {
	var missing []string
	for _, p := range packages {
		if exec.CommandContext(ctx, "dpkg", "-s", p).Run() != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := Run(ctx, "", "apt-get", "update", "-qq"); err != nil {
		return err
	}
	_, err := Run(ctx, "", "apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends"},
		missing...)...)
	return err
}

// Unpack downloads packages and unpacks them into a folder, without installing them. It needs root.
func Unpack(ctx context.Context, to string, packages ...string) error {
	scratch, err := os.MkdirTemp(filepath.Dir(to), ".debs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // what stays behind is hidden and in nobody's way
	if _, err := Run(ctx, "", "apt-get", "update", "-qq"); err != nil {
		return err
	}
	if _, err := Run(ctx, scratch, "apt-get", append([]string{"download", "-qq"}, packages...)...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(scratch, "*.deb"))
	if err != nil || len(files) != len(packages) {
		return fmt.Errorf("download %v: there are %v, %w", packages, files, err)
	}
	for _, file := range files {
		if _, err := Run(ctx, "", "dpkg-deb", "-x", file, to); err != nil {
			return err
		}
	}
	return nil
}

// Run runs a program in a folder and gives what it prints, which stands in the error, too.
func Run(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
