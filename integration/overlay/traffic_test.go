package overlay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const echoPort = 7

// echo answers every datagram with the address that it came from, until the test ends.
func (n *namespace) echo() {
	n.t.Helper()
	var conn net.PacketConn
	n.in(func() (err error) {
		conn, err = net.ListenPacket("udp", fmt.Sprintf("[::]:%d", echoPort))
		return err
	})
	n.t.Cleanup(func() { _ = conn.Close() }) // which ends the loop
	go func() {
		buffer := make([]byte, 1500)
		for {
			_, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo([]byte(from.String()), from) // who is gone needs no response
		}
	}()
}

// dial makes a socket inside the namespace.
func (n *namespace) dial(network string, to netip.AddrPort) (conn net.Conn, err error) {
	n.t.Helper()
	n.in(func() error {
		conn, err = (&net.Dialer{Timeout: 2 * time.Second}).Dial(network, to.String())
		return nil
	})
	return conn, err
}

// ping sends a datagram to an echo, and says from which address that has seen it come.
func (n *namespace) ping(to netip.Addr) (seen netip.Addr, err error) {
	n.t.Helper()
	conn, err := n.dial("udp", netip.AddrPortFrom(to, echoPort))
	if err != nil {
		return seen, err
	}
	defer conn.Close() //nolint:errcheck // nothing is left to say
	return exchange(conn, time.Second)
}

func exchange(conn net.Conn, wait time.Duration) (seen netip.Addr, err error) {
	if _, err := conn.Write([]byte("?")); err != nil {
		return seen, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return seen, err
	}
	buffer := make([]byte, 100)
	size, err := conn.Read(buffer)
	if err != nil {
		return seen, err
	}
	from, err := netip.ParseAddrPort(string(buffer[:size]))
	return from.Addr().Unmap(), err
}

// reach pings until it is answered.
func (n *namespace) reach(to netip.Addr) netip.Addr {
	n.t.Helper()
	var seen netip.Addr
	eventually(n.t, fmt.Sprintf("%s reaches %s", n.name, to), 10*time.Second, func() (err error) {
		seen, err = n.ping(to)
		return err
	})
	return seen
}

// stream sends datagrams and lines over TCP without a pause, and counts what is lost.
type stream struct {
	t          testing.TB
	cancel     context.CancelFunc
	done       sync.WaitGroup
	sent, lost atomic.Int64
	longest    atomic.Int64 // nanoseconds without a response over TCP
	lines      atomic.Int64
}

// talk begins a stream between two pods.
func talk(from, to *pod) *stream {
	from.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{t: from.t, cancel: cancel}
	for _, addr := range to.addresses {
		conn, err := from.dial("udp", netip.AddrPortFrom(addr, echoPort))
		if err != nil {
			from.t.Fatal(err)
		}
		s.done.Go(func() { s.datagrams(ctx, conn) })
	}
	s.tcp(ctx, from, to)
	return s
}

func (s *stream) datagrams(ctx context.Context, conn net.Conn) {
	defer conn.Close() //nolint:errcheck // the test is over
	for ctx.Err() == nil {
		s.sent.Add(1)
		if _, err := exchange(conn, patience); err != nil {
			s.lost.Add(1)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// patience is after how long a datagram counts as lost. One that is only late, on a machine that is busy or emulated,
// is not.
const patience = 5 * time.Second

func (s *stream) tcp(ctx context.Context, from, to *pod) {
	s.t.Helper()
	var listener net.Listener
	to.in(func() (err error) {
		listener, err = net.Listen("tcp", ":80")
		return err
	})
	go func() {
		conn, err := listener.Accept()
		_ = listener.Close() // one is enough
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // the test is over
		for in := bufio.NewScanner(conn); in.Scan(); {
			if _, err := conn.Write(append(in.Bytes(), '\n')); err != nil {
				return
			}
		}
	}()
	conn, err := from.dial("tcp", netip.AddrPortFrom(to.addresses[0], 80))
	if err != nil {
		s.t.Fatal(err)
	}
	s.done.Go(func() {
		defer conn.Close() //nolint:errcheck // the test is over
		in := bufio.NewReader(conn)
		for i := 0; ctx.Err() == nil; i++ {
			start := time.Now()
			line := fmt.Sprintf("line %d\n", i)
			_ = conn.SetDeadline(start.Add(20 * time.Second))
			if _, err := conn.Write([]byte(line)); err != nil {
				s.t.Errorf("TCP: %v", err)
				return
			}
			back, err := in.ReadString('\n')
			if err != nil || back != line {
				s.t.Errorf("TCP: %q, %v", back, errors.Join(err))
				return
			}
			if took := time.Since(start).Nanoseconds(); took > s.longest.Load() {
				s.longest.Store(took)
			}
			s.lines.Add(1)
			time.Sleep(time.Millisecond)
		}
	})
}

// end stops the stream, and says what it has seen.
func (s *stream) end() (sent, lost int64) {
	s.t.Helper()
	s.cancel()
	s.done.Wait()
	s.t.Logf("%d datagrams, %d lost; %d lines over TCP, the longest wait %s", s.sent.Load(), s.lost.Load(),
		s.lines.Load(), time.Duration(s.longest.Load()).Round(time.Millisecond))
	return s.sent.Load(), s.lost.Load()
}
