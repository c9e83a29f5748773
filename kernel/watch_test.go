//go:build linux

package kernel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// quiet waits until no signal has come for a while.
func quiet(t *testing.T, signals <-chan struct{}) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		select {
		case <-signals:
		case <-time.After(200 * time.Millisecond):
			return
		}
	}
	t.Fatal("the signals do not end")
}

func signalled(t *testing.T, signals <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-signals:
	case <-time.After(time.Second):
		t.Errorf("no signal within a second after %s", why)
	}
}

func TestWatchSignals(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24", "fd00::1/64")
	k := a.open()
	want := parseState(t, "route 10.1.0.0/24 via 10.0.0.2 dev eth0\nroute fd01::/64 via fd00::2 dev eth0\n")
	ctx, cancel := context.WithCancel(t.Context())
	signals, err := k.Watch(ctx)
	check(t, err)
	quiet(t, signals)

	converge(t, k, want)
	select {
	case <-signals:
		t.Error("our own routes are signalled")
	case <-time.After(200 * time.Millisecond):
	}

	eth0 := a.link("eth0")
	ours4 := &netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: toNetlink(netip.MustParsePrefix("10.1.0.0/24")).IPNet}
	ours6 := &netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: toNetlink(netip.MustParsePrefix("fd01::/64")).IPNet}
	foreign := &netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: toNetlink(netip.MustParsePrefix("10.9.0.0/24")).IPNet,
		Protocol: 186}
	check(t, a.nl.RouteAdd(foreign))
	select {
	case <-signals:
		t.Error("a foreign route that concerns nobody is signalled")
	case <-time.After(200 * time.Millisecond):
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"deleting an IPv4 route", func() error { return a.nl.RouteDel(ours4) }},
		{"deleting an IPv6 route", func() error { return a.nl.RouteDel(ours6) }},
		{"replacing a route by a foreign one", func() error {
			return a.nl.RouteReplace(&netlink.Route{LinkIndex: ours4.LinkIndex, Dst: ours4.Dst,
				Gw: net.IPv4(10, 0, 0, 9), Protocol: 186})
		}},
		{"adding an address", func() error {
			return a.nl.AddrAdd(eth0,
				toNetlink(netip.MustParsePrefix("10.7.0.1/24")))
		}},
		{"a link that goes down", func() error { return a.nl.LinkSetDown(eth0) }},
		{"a link that comes up", func() error { return a.nl.LinkSetUp(eth0) }},
	} {
		check(t, step.do())
		signalled(t, signals, step.what)
		quiet(t, signals)
		if step.what == "replacing a route by a foreign one" {
			check(t, a.nl.RouteDel(&netlink.Route{LinkIndex: ours4.LinkIndex, Dst: ours4.Dst, Protocol: 186}))
			quiet(t, signals)
		}
		if step.what != "a link that goes down" {
			check(t, a.nl.AddrReplace(eth0, toNetlink(netip.MustParsePrefix("fd00::1/64"))))
			quiet(t, signals)
			converge(t, k, want)
		}
	}
	cancel()
	for range signals {
		continue
	}
}

// Changes that come faster than they are read are one signal, and none is lost, even when the socket was too small.
func TestWatchSurvivesAFlood(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24")
	k, other := a.open(), a.open()
	signals, err := k.Watch(t.Context())
	check(t, err)
	text := ""
	for i := range 4000 {
		text += fmt.Sprintf("route 10.%d.%d.0/24 via 10.0.0.2 dev eth0\n", 100+i/256, i%256)
	}
	flood := parseState(t, text)
	converge(t, other, flood)
	signalled(t, signals, "a flood")
	converge(t, other, State{})
	signalled(t, signals, "a second flood")
	quiet(t, signals)
	check(t, a.nl.LinkSetDown(a.link("eth0")))
	signalled(t, signals, "a change after the flood")
}

// A socket that overflows ends and is followed by a new one, with a signal for what was missed.
func TestWatchAfterAnOverflow(t *testing.T) {
	t.Parallel()
	a, b := newHost(t), newHost(t)
	wire(a, "eth0", b, "eth0")
	a.address("eth0", "10.0.0.1/24")
	k, other := a.open(), a.open()
	c, err := dial(k.ns, watched()...)
	check(t, err)
	raw, err := c.file.SyscallConn()
	check(t, err)
	check(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE,
			2048)
	}))
	check(t, err)
	text := ""
	for i := range 200 {
		text += fmt.Sprintf("route 10.100.%d.0/24 via 10.0.0.2 dev eth0\n", i)
	}
	converge(t, other, parseState(t, text)) // nobody reads meanwhile
	signals := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() { follow(t.Context(), c, signals, k.concerns); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		t.Error("a socket that has lost messages goes on as if it had not")
	}
}
