// Package binaries builds the programs that a test cluster consists of: etcd, the Kubernetes control plane, kwok,
// kubelet and kube-proxy, pinned by the module in the folder tools. They are built once into a cache outside the tree,
// under the hash of what they are made of. The programs of galaxy itself are built anew each time, which the go
// command's own cache makes quick.
package binaries

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Names of the programs in the directory that Ensure gives.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kwok              = "kwok"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
	// KwokStages is no program: it is kwok's own description of how nodes and pods live.
	KwokStages = "kwok-stages.yaml"
)

// programs are the packages to build, in the order of building.
var programs = []struct{ name, pkg string }{
	{Etcd, "go.etcd.io/etcd/server/v3"},
	{APIServer, "k8s.io/kubernetes/cmd/kube-apiserver"},
	{ControllerManager, "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{Scheduler, "k8s.io/kubernetes/cmd/kube-scheduler"},
	{Kwok, "sigs.k8s.io/kwok/cmd/kwok"},
	{Kubelet, "k8s.io/kubernetes/cmd/kubelet"},
	{Proxy, "k8s.io/kubernetes/cmd/kube-proxy"},
}

// stages are the files of kwok's module that make up KwokStages.
var stages = []string{
	"node/fast/node-initialize.yaml", "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
	"pod/fast/pod-ready.yaml", "pod/fast/pod-complete.yaml", "pod/fast/pod-delete.yaml",
}

// Ensure gives the directory with the programs of the cluster, and builds what is not there yet; that takes minutes the
// first time. It may run in several processes at once. What it does is written to progress.
func Ensure(ctx context.Context, progress io.Writer) (string, error) {
	t, err := findTree(ctx)
	if err != nil {
		return "", err
	}
	dir, err := t.cacheDir(ctx)
	if err != nil {
		return "", err
	}
	if complete(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cache of programs: %w", err)
	}
	unlock, err := lock(dir, progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	b := builder{tree: t, dir: dir, progress: progress}
	if err := b.all(ctx); err != nil {
		return "", err
	}
	return dir, nil
}

// complete reports whether a directory has everything. Files get there by rename only, so what is there is whole.
func complete(dir string) bool {
	for _, p := range programs {
		if !exists(filepath.Join(dir, p.name)) {
			return false
		}
	}
	return exists(filepath.Join(dir, KwokStages))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lock keeps a second process from building the same; it waits and then finds everything there. The lock ends with the
// process that holds it.
func lock(dir string, progress io.Writer) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the cache of programs: %w", err)
	}
	flock := func(how int) error { return syscall.Flock(int(f.Fd()), how) }
	if err = flock(syscall.LOCK_EX | syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		say(progress, "another process builds the programs; waiting for it")
		for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
			err = flock(syscall.LOCK_EX)
		}
	}
	if err != nil {
		_ = f.Close() // the lock is what failed
		return nil, fmt.Errorf("lock the cache of programs: %w", err)
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

// builder builds what a directory lacks.
type builder struct {
	tree     tree
	dir      string
	progress io.Writer
}

func (b builder) all(ctx context.Context) error {
	flags, err := b.tree.versionFlags(ctx)
	if err != nil {
		return err
	}
	for i, p := range programs {
		if exists(filepath.Join(b.dir, p.name)) {
			continue
		}
		say(b.progress, "building %s (%d of %d); the first time takes minutes", p.name, i+1, len(programs))
		start := time.Now()
		if err := b.install(p.name, func(to string) error {
			return b.compile(ctx, p.name, "build", "-ldflags", flags, "-o", to, p.pkg)
		}); err != nil {
			return fmt.Errorf("build %s: %w", p.name, err)
		}
		say(b.progress, "built %s in %s", p.name, time.Since(start).Round(time.Second))
	}
	return b.install(KwokStages, func(to string) error { return b.tree.writeStages(ctx, to) })
}

// install makes a file under another name and then renames it, so that nobody sees a half of it.
func (b builder) install(name string, make func(to string) error) error {
	dir, err := os.MkdirTemp(b.dir, ".building-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what stays behind is hidden and in nobody's way
	to := filepath.Join(dir, name)
	if err := make(to); err != nil {
		return err
	}
	return os.Rename(to, filepath.Join(b.dir, name))
}

// compile runs a go command in the module of the tools, and says now and then that it is still at it.
func (b builder) compile(ctx context.Context, name string, args ...string) error {
	done := make(chan struct{})
	defer close(done)
	go func() {
		start, ticker := time.Now(), time.NewTicker(30*time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				say(b.progress, "still building %s, %s", name, time.Since(start).Round(time.Second))
			}
		}
	}()
	_, err := goCommand(ctx, b.tree.tools, args...)
	return err
}

// beside are plugins of the CNI project that are installed with ours, from the release that go.mod names.
var beside = map[string]string{
	"host-local": "github.com/containernetworking/plugins/plugins/ipam/host-local",
	"loopback":   "github.com/containernetworking/plugins/plugins/main/loopback",
}

// Galaxy builds programs of galaxy into a directory, by their names.
func Galaxy(ctx context.Context, dir string, names ...string) error {
	t, err := findTree(ctx)
	if err != nil {
		return err
	}
	args := []string{"build", "-ldflags", "-s -w", "-o", dir + string(filepath.Separator)}
	for _, name := range names {
		pkg, foreign := beside[name]
		if !foreign {
			pkg = "galaxy/cmd/" + name
		}
		args = append(args, pkg)
	}
	if _, err = goCommand(ctx, t.root, args...); err != nil {
		return fmt.Errorf("build galaxy: %w", err)
	}
	return nil
}

// cacheDir is named after all that decides what the programs are.
func (t tree) cacheDir(ctx context.Context) (string, error) {
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(t.tools, name))
		if err != nil {
			return "", fmt.Errorf("what the programs are made of: %w", err)
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(text), text) //nolint:errcheck // a hash does not fail
	}
	env, err := goCommand(ctx, t.tools, "env", "GOVERSION", "GOOS", "GOARCH")
	if err != nil {
		return "", err
	}
	fmt.Fprint(hash, env, programs, stages, versionFlag) //nolint:errcheck // a hash does not fail
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache of programs: %w", err)
	}
	return filepath.Join(cache, "galaxy", fmt.Sprintf("cluster-%x", hash.Sum(nil)[:6])), nil
}

func (t tree) writeStages(ctx context.Context, to string) error {
	dir, err := goCommand(ctx, t.tools, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok")
	if err != nil {
		return err
	}
	texts := make([]string, len(stages))
	for i, name := range stages {
		text, err := os.ReadFile(filepath.Join(dir, "kustomize", "stage", filepath.FromSlash(name)))
		if err != nil {
			return fmt.Errorf("stages of kwok: %w", err)
		}
		texts[i] = string(text)
	}
	return os.WriteFile(to, []byte(strings.Join(texts, "\n---\n")), 0o644)
}

func say(progress io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(progress, "cluster: "+format+"\n", args...) // what cannot be printed is not worth failing for
}
