package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"galaxy/eventlog/etcdlog/embedded"
)

// disk is a small file system of its own; a test that cannot have one says so, and fails where all tests have to run.
func disk(t *testing.T, megabytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("mount a small disk: %v", err)
		}
		t.Skipf("SKIPPED: a small disk cannot be mounted: %v; run as root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A disk that another fills up: etcd refuses writes before it cannot write any more, lives, answers reads, and takes
// writes again when there is room, also after a restart in between.
func TestFullDisk(t *testing.T) {
	dir := disk(t, 800)
	c := config(t)
	c.Dir, c.Reserve = filepath.Join(dir, "etcd"), 64<<20
	s, err := embedded.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	watch := func() (rooms <-chan embedded.Room, stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		seen, ended := make(chan embedded.Room, 1000), make(chan struct{})
		go func() {
			defer close(ended)
			s.WatchRoom(ctx, func(r embedded.Room, err error) {
				if err != nil {
					t.Error(err)
				}
				seen <- r
			})
		}()
		return seen, func() { cancel(); <-ended }
	}
	rooms, stop := watch()
	until := func(refusing bool) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			select {
			case r := <-rooms:
				if r.Refusing == refusing {
					return
				}
			case <-deadline:
				t.Fatalf("writes refused: never %t", refusing)
			}
		}
	}
	client := connect(t, s)
	if _, err := client.Put(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	until(false)
	junk := filepath.Join(dir, "junk")
	fill(t, dir, junk, 40<<20)
	until(true)
	for range 200 { // more than what is left, if they were written
		if _, err := client.Put(t.Context(), "big", string(bytes.Repeat([]byte("x"), 1<<20))); !errors.Is(err,
			rpctypes.ErrNoSpace) {
			t.Fatalf("a write on a disk that is nearly full: %v", err)
		}
	}
	if response, err := client.Get(t.Context(), "a"); err != nil || len(response.Kvs) != 1 {
		t.Errorf("a read on a disk that is nearly full: %v", err)
	}
	stop()
	s.Close()
	if s, err = embedded.Start(c); err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	rooms, stop = watch()
	defer func() { stop() }()
	until(true)
	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	until(false)
	client, err = clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // the test is over
	if _, err := client.Put(t.Context(), "a", "c"); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}

// fill leaves as much of a disk as is said.
func fill(t *testing.T, dir, file string, leave uint64) {
	t.Helper()
	var at unix.Statfs_t
	if err := unix.Statfs(dir, &at); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, int64(at.Bavail*uint64(at.Bsize)-leave)),
		f.Close()); err != nil {
		t.Fatal(err)
	}
}
