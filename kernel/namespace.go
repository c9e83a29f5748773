//go:build linux

package kernel

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// inside calls do on a thread in a network namespace; with a closed handle (netns.None()) that is the namespace of the
// caller. What do starts, programs included, is in that namespace too.
func inside(ns netns.NsHandle, do func() error) error {
	if !ns.IsOpen() {
		return do()
	}
	done := make(chan error, 1)
	go func() { done <- enter(ns, do) }()
	return <-done
}

// enter does the work on a goroutine of its own. When the way back fails, the goroutine ends with its thread locked,
// and Go ends such a thread: no other code ever runs in the wrong namespace.
func enter(ns netns.NsHandle, do func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the network namespace of this thread: %w", err)
	}
	defer home.Close() //nolint:errcheck // it was only read
	if err := netns.Set(ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace %s: %w", ns, err)
	}
	err = do()
	if back := netns.Set(home); back == nil {
		runtime.UnlockOSThread()
	}
	return err
}
