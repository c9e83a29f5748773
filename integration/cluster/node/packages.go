package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// packages are installed where they are missing. The runtime's are only unpacked into the cache, as an installed containerd
// would run as a service of this machine.
var (
	packages        = []string{"busybox-static", "iptables", "nftables", "iproute2", "libseccomp2"}
	runtimePackages = []string{"containerd", "runc"}
)

var unpacked struct {
	sync.Once
	dir string
	err error
}

// prepare installs and unpacks what a node needs. It needs root, and Debian. It may run in several processes at once.
func prepare(ctx context.Context) error {
	unpacked.Do(func() { unpacked.dir, unpacked.err = unpack(ctx) })
	return unpacked.err
}

// runtimeDir is a folder with containerd, its shim, ctr and runc.
func runtimeDir() string { return filepath.Join(unpacked.dir, "bin") }

func unpack(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache of packages: %w", err)
	}
	cache = filepath.Join(cache, "galaxy")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("cache of packages: %w", err)
	}
	unlock, err := lock(filepath.Join(cache, "runtime.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	dir := filepath.Join(cache, "runtime")
	missing := missingPackages(ctx)
	_, err = os.Stat(dir)
	if err == nil && len(missing) == 0 {
		return dir, nil
	}
	if _, err := run(ctx, "", "apt-get", "update", "-qq"); err != nil {
		return "", err
	}
	if len(missing) > 0 {
		if _, err := run(ctx, "", "apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)...); err != nil {
			return "", err
		}
	}
	if err == nil {
		return dir, nil
	}
	return dir, download(ctx, dir)
}

func missingPackages(ctx context.Context) []string {
	var missing []string
	for _, p := range packages {
		if exec.CommandContext(ctx, "dpkg", "-s", p).Run() != nil {
			missing = append(missing, p)
		}
	}
	return missing
}

// download unpacks the runtime into a folder, which appears when it is whole.
func download(ctx context.Context, dir string) error {
	scratch, err := os.MkdirTemp(filepath.Dir(dir), ".runtime-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // what stays behind is hidden and in nobody's way
	if _, err := run(ctx, scratch, "apt-get", append([]string{"download", "-qq"}, runtimePackages...)...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(scratch, "*.deb"))
	if err != nil || len(files) != len(runtimePackages) {
		return fmt.Errorf("apt-get download gives %v: %w", files, err)
	}
	tree, bin := filepath.Join(scratch, "tree"), filepath.Join(scratch, "bin")
	for _, file := range files {
		if _, err := run(ctx, scratch, "dpkg-deb", "-x", file, tree); err != nil {
			return err
		}
	}
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"usr/bin/containerd", "usr/bin/containerd-shim-runc-v2", "usr/bin/ctr", "usr/sbin/runc"} {
		if err := os.Rename(filepath.Join(tree, name), filepath.Join(bin, filepath.Base(name))); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	if err := os.Chmod(scratch, 0o755); err != nil {
		return err
	}
	return os.Rename(scratch, dir)
}

func run(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		_ = f.Close() // the lock is what failed
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}
