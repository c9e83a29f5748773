package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of a megabyte at a folder, and returns what fills it to its end.
func smallDisk(t *testing.T, dir string) (fill func()) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return func() {
		t.Helper()
		f, err := os.Create(filepath.Join(dir, "filler"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // that it cannot be written any more is what is wanted
		for block := make([]byte, 4096); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// While the disk of a node is full, pods there keep what they have and talk on; the node says that it takes no pods; an
// ADD fails, says why, and leaves nothing, also after a restart of the agent; what a DEL gives back is written down at
// once. Once there is room again, all goes on as before, and nothing is lost.
func TestDiskIsFull(t *testing.T) {
	needRoot(t)
	l := newHarness(t, 1)
	disk := filepath.Join(l.dir, "disk")
	fill := smallDisk(t, disk)
	n := l.bareNode(near, "n1", 1, "--state-dir", filepath.Join(disk, "lib"), "--cni-state-dir",
		filepath.Join(disk, "cni"))
	n.agent.start()
	l.converged(1, l.nodes...)
	far, stays, goes := l.nodes[0].addPod("far"), n.addPod("stays"), n.addPod("goes")
	gone := make([]*pod, 6)
	for i := range gone {
		gone[i] = n.addPod(fmt.Sprintf("gone%d", i))
	}
	far.echo()
	talking := talk(stays, far)
	fill()
	refused := func(name string) {
		t.Helper()
		if _, err := n.tryPod(name); err == nil || !strings.Contains(err.Error(), "no space left on device") ||
			!strings.Contains(err.Error(), disk) {
			t.Errorf("an ADD on a full disk: %v", err)
		}
		if s, err := n.status(); err != nil || s.Held != 16 {
			t.Errorf("%d addresses are held, want those of eight pods: %v", s.Held, err)
		}
	}
	n.says("no space left on device")
	refused("first")
	n.agent.kill()
	n.agent.start()
	n.says("no space left on device")
	refused("second")
	goes.remove()
	for i := range gone {
		gone[i].remove()
	}
	if s, err := n.status(); err != nil || s.Held != 2 {
		t.Errorf("%d addresses are held after the DELs on a full disk: %v", s.Held, err)
	}
	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	third := n.addPod("third")
	third.echo()
	far.reach(third.addresses[1])
	n.says("")
	if sent, lost := talking.end(); lost > 0 || sent < 50 {
		t.Errorf("%d of %d datagrams were lost", lost, sent)
	}
	if err := l.released("n1", goes, "detached"); err != nil {
		t.Error(err)
	}
	l.verified()
}
