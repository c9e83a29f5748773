//go:build linux

package kernel

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"galaxy/pause"
)

const subscribeAgain = 100 * time.Millisecond // after a socket that could not be opened

// watched are the groups in which the kernel notifies of links, addresses and routes.
func watched() []int {
	return []int{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV6_ROUTE}
}

// Watch sends a signal when a link, an address or a route of ours has changed, by another hand than this Kernel's.
// Signals that nobody has taken yet are one. When the kernel had more to report than the socket could hold, that is a
// signal too. The channel is closed when ctx ends.
func (k *Kernel) Watch(ctx context.Context) (<-chan struct{}, error) { return k.watch(ctx, k.concerns) }

// WatchPods is Watch for what the host has of its pods' interfaces: it sends a signal when a link has changed, or when
// an address or a route to a single address has gone. Making and deleting pods does that, too.
func (k *Kernel) WatchPods(ctx context.Context) (<-chan struct{}, error) {
	return k.watch(ctx, func(h header, body []byte) bool {
		switch h.kind {
		case unix.RTM_DELROUTE:
			r, err := parseRoute(body)
			return err != nil || r.table == unix.RT_TABLE_MAIN && r.Dst.IsSingleIP()
		case unix.RTM_NEWLINK, unix.RTM_DELADDR:
			return true
		}
		return false
	})
}

// watch sends a signal when something has changed that concerns somebody.
func (k *Kernel) watch(ctx context.Context, concerns func(h header, body []byte) bool) (<-chan struct{}, error) {
	c, err := dial(k.ns, watched()...)
	if err != nil {
		return nil, err
	}
	signals := make(chan struct{}, 1)
	go func() {
		defer close(signals)
		for ctx.Err() == nil {
			if c != nil {
				follow(ctx, c, signals, concerns)
			}
			// What was missed between two sockets is made up for by the signal.
			if c, err = dial(k.ns, watched()...); err != nil {
				c = nil
				_ = pause.For(ctx, subscribeAgain) // the loop sees that ctx has ended
				continue
			}
			signal(signals)
		}
		if c != nil {
			c.close()
		}
	}()
	return signals, nil
}

// follow signals until ctx or the socket ends.
func follow(ctx context.Context, c *conn, signals chan<- struct{}, concerns func(h header, body []byte) bool) {
	defer c.close()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	for {
		n, err := c.file.Read(c.in[:])
		if err != nil {
			return
		}
		changed := false
		err = messages(c.in[:n], func(h header, body []byte) { changed = changed || concerns(h, body) })
		if changed || err != nil {
			signal(signals)
		}
	}
}

// concerns says whether a notification is about what we wrote or depend on.
func (k *Kernel) concerns(h header, body []byte) bool {
	if h.kind != unix.RTM_NEWROUTE && h.kind != unix.RTM_DELROUTE {
		return true
	}
	if h.port == k.routes.port {
		return false // we did it ourselves
	}
	r, err := parseRoute(body)
	if err != nil {
		return true
	}
	// A route that takes the place of another is the only sign that ours is gone.
	return r.table == unix.RT_TABLE_MAIN && (r.protocol == Protocol || h.flags&unix.NLM_F_REPLACE != 0)
}

func signal(signals chan<- struct{}) {
	select {
	case signals <- struct{}{}:
	default:
	}
}
