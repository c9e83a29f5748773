//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"galaxy/pause"
)

// outputDelay is how long the output of a program may come after it has ended.
const outputDelay = time.Second

// groupNFTables is NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h: whatever changes in nftables.
const groupNFTables = 7

// WatchNFTables sends a signal when something changes in nftables, by whatever hand; signals that nobody has taken yet
// are one. The channel is closed when ctx ends.
func WatchNFTables(ctx context.Context, ns netns.NsHandle) (<-chan struct{}, error) {
	fd := -1
	err := inside(ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
			return fmt.Errorf("open netlink of netfilter: %w", err)
		}
		return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupNFTables - 1)})
	})
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	// The kernel wakes a reader now and then, so that it sees the end.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	signals := make(chan struct{}, 1)
	go func() {
		defer close(signals)
		defer unix.Close(fd) //nolint:errcheck // it was only read
		buffer := make([]byte, 64<<10)
		for ctx.Err() == nil {
			_, _, err := unix.Recvfrom(fd, buffer, 0)
			switch {
			case err == nil, errors.Is(err, unix.ENOBUFS): // more than the socket could hold is a change, too
				signal(signals)
			case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			default:
				_ = pause.For(ctx, subscribeAgain) // the loop sees that ctx has ended
			}
		}
	}()
	return signals, nil
}
