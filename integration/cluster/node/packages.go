package node

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"galaxy/integration/debian"
)

// packages are installed where they are missing. The runtime's are only unpacked into the cache, as an installed
// containerd would run as a service of this machine.
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
	if err := debian.Install(ctx, packages...); err != nil {
		return "", err
	}
	cache, err := debian.Cache()
	if err != nil {
		return "", err
	}
	unlock, err := debian.Lock(cache, "runtime")
	if err != nil {
		return "", err
	}
	defer unlock()
	dir := filepath.Join(cache, "runtime")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, unpackRuntime(ctx, dir)
}

// unpackRuntime unpacks the runtime into a folder, which appears when it is whole.
func unpackRuntime(ctx context.Context, dir string) error {
	scratch, err := os.MkdirTemp(filepath.Dir(dir), ".runtime-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // what stays behind is hidden and in nobody's way
	tree, bin := filepath.Join(scratch, "tree"), filepath.Join(scratch, "bin")
	if err := debian.Unpack(ctx, tree, runtimePackages...); err != nil {
		return err
	}
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"usr/bin/containerd", "usr/bin/containerd-shim-runc-v2", "usr/bin/ctr",
		"usr/sbin/runc"} {
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
