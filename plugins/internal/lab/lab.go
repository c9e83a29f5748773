// Package lab makes network namespaces for tests: one plays the host, the others are containers. Nothing in it touches
// the machine's own namespace.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"galaxy/plugins"
)

// Namespace is a network namespace of its own, which ends with Close.
type Namespace struct {
	// Path leads to it, for this process and its children.
	Path string
	fd   netns.NsHandle
}

// New makes a namespace with its loopback up.
func New() (*Namespace, error) {
	made := make(chan error, 1)
	var fd netns.NsHandle
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		var err error
		if fd, err = netns.New(); err != nil {
			made <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, err
	}
	return &Namespace{Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(fd)), fd: fd}, nil
}

// Close ends it.
func (n *Namespace) Close() error { return n.fd.Close() }

// Do runs a function on a thread that is in the namespace, and waits for it.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		ended := false
		defer func() {
			if !ended { // by runtime.Goexit, as of a failed test
				done <- errors.New("the function did not return")
			}
		}()
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		err := netns.Set(n.fd)
		if err == nil {
			err = f()
		}
		ended = true
		done <- err
	}()
	return <-done
}

// Listen answers what it is sent at a TCP address of the namespace, until stop is called.
func (n *Namespace) Listen(at netip.AddrPort) (stop func(), err error) {
	var listener net.Listener
	err = n.Do(func() (err error) {
		listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn) // the other side sees what is missing
				_ = conn.Close()
			}()
		}
	}()
	return func() { _ = listener.Close() }, nil
}

// Reach says whether something that listens is reached from the namespace, from a source if it is valid, and by which
// address of this side.
func (n *Namespace) Reach(from netip.Addr, to netip.AddrPort) (netip.Addr, error) {
	var local netip.Addr
	err := n.Do(func() error {
		dialer := net.Dialer{Timeout: 3 * time.Second}
		if from.IsValid() {
			dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		conn, err := dialer.Dial("tcp", to.String())
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // all was said
		if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
			return err
		}
		const word = "galaxy"
		if _, err := io.WriteString(conn, word); err != nil {
			return err
		}
		echo := make([]byte, len(word))
		if _, err := io.ReadFull(conn, echo); err != nil {
			return err
		}
		if string(echo) != word {
			return fmt.Errorf("%q came back", echo)
		}
		local = conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
		return nil
	})
	return local, err
}

// Sysctl writes a kernel setting of the namespace.
func (n *Namespace) Sysctl(name, value string) error {
	return n.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0o644) })
}

// AddAddress gives the loopback an address more.
func (n *Namespace) AddAddress(a netip.Addr) error {
	return n.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(lo, &netlink.Addr{IPNet: plugins.IPNet(netip.PrefixFrom(a, a.BitLen()))})
	})
}

// Links are the names of the links of the namespace, but its loopback and what the kernel puts into every one.
func (n *Namespace) Links() ([]string, error) {
	var names []string
	err := n.Do(func() error {
		links, err := netlink.LinkList()
		for _, link := range links {
			if name := link.Attrs().Name; name != "lo" && !strings.HasSuffix(name, "0") ||
				strings.HasPrefix(name, "eth") || strings.HasPrefix(name, "cni") {
				names = append(names, name)
			}
		}
		return err
	})
	return names, err
}
