package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Control is where nodes find the control plane, and what is outside of the cluster: the address of the World on its
// switch.
var Control = netip.MustParseAddr("10.99.0.1")

const (
	bridge     = "br0"
	prefixBits = 24
	// OutsidePort is where an HTTP server outside of the cluster answers with the address that it is asked from.
	OutsidePort = 8000
)

// World is a network namespace with the switch that all nodes are on, and with ways to the servers of this machine.
type World struct {
	t      testing.TB
	handle netns.NsHandle
	links  *netlink.Handle
}

// NewWorld makes a world that ends with the test.
func NewWorld(t testing.TB) *World {
	t.Helper()
	Need(t)
	w := &World{t: t}
	err := onThread(func() (err error) {
		w.handle, err = netns.New()
		return err
	})
	if err == nil {
		w.links, err = netlink.NewHandleAt(w.handle, unix.NETLINK_ROUTE)
	}
	if err == nil {
		err = w.makeSwitch()
	}
	if err != nil {
		t.Fatalf("a network for nodes: %v", err)
	}
	t.Cleanup(func() {
		w.links.Close()
		_ = w.handle.Close() // the kernel removes the namespace with its last user
	})
	w.serve(OutsidePort, outside())
	return w
}

// Need skips a test that cannot have nodes, and fails under CI, where it must.
func Need(t testing.TB) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root, to run a kubelet and a container runtime")
	}
	t.Skip("NOT RUN: this test needs root, to run a kubelet and a container runtime")
}

func (w *World) makeSwitch() error {
	if err := w.links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}); err != nil {
		return err
	}
	for name, at := range map[string]string{bridge: fmt.Sprintf("%s/%d", Control, prefixBits), "lo": ""} {
		link, err := w.links.LinkByName(name)
		if err != nil {
			return err
		}
		if err := w.links.LinkSetUp(link); err != nil {
			return err
		}
		if at == "" {
			continue
		}
		address, err := netlink.ParseAddr(at)
		if err != nil {
			return err
		}
		if err := w.links.AddrAdd(link, address); err != nil {
			return err
		}
	}
	return nil
}

// plug joins a node's namespace to the switch, as its eth0 with an address.
func (w *World) plug(name string, of netns.NsHandle, address netip.Addr) error {
	far := fmt.Sprintf("%.14s", "w"+name)
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: far, MTU: 1500}, PeerName: "eth0",
		PeerNamespace: netlink.NsFd(of)}
	if err := w.links.LinkAdd(pair); err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	near, err := w.links.LinkByName(far)
	if err != nil {
		return err
	}
	to, err := w.links.LinkByName(bridge)
	if err != nil {
		return err
	}
	if err := w.links.LinkSetMaster(near, to); err != nil {
		return err
	}
	if err := w.links.LinkSetUp(near); err != nil {
		return err
	}
	return configure(of, address)
}

// configure sets eth0 of a node up, with its address and the way out.
func configure(of netns.NsHandle, address netip.Addr) error {
	links, err := netlink.NewHandleAt(of, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer links.Close()
	eth0, err := links.LinkByName("eth0")
	if err != nil {
		return err
	}
	at, err := netlink.ParseAddr(fmt.Sprintf("%s/%d", address, prefixBits))
	if err != nil {
		return err
	}
	if err := links.AddrAdd(eth0, at); err != nil {
		return err
	}
	if err := links.LinkSetUp(eth0); err != nil {
		return err
	}
	return links.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: Control.AsSlice()})
}

// Forward has a server of this machine answer at Control, too, on the same port.
func (w *World) Forward(to string) {
	w.t.Helper()
	at, err := netip.ParseAddrPort(to)
	if err != nil {
		w.t.Fatalf("forward to %s: %v", to, err)
	}
	listener := w.listen(int(at.Port()))
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			go relay(conn, to)
		}
	}()
}

// relay copies both ways until one side has said all.
func relay(from net.Conn, to string) {
	defer from.Close() //nolint:errcheck // nothing is left to say
	server, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		return // a connection that breaks says it as well
	}
	defer server.Close() //nolint:errcheck // nothing is left to say
	done := make(chan struct{}, 2)
	for a, b := range map[net.Conn]net.Conn{from: server, server: from} {
		go func() {
			_, _ = io.Copy(b, a) // either end may close at any time
			done <- struct{}{}
		}()
	}
	<-done
}

// outside makes known by which address it is asked.
func outside() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) {
		if from, err := netip.ParseAddrPort(request.RemoteAddr); err == nil {
			_, _ = fmt.Fprintln(rw, "outside", from.Addr()) // who is gone asks again
		}
	})
}

func (w *World) serve(port int, handler http.Handler) {
	w.t.Helper()
	listener := w.listen(port)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // it ends with its listener
}

// listen listens at Control until the test ends.
func (w *World) listen(port int) net.Listener {
	w.t.Helper()
	var listener net.Listener
	err := in(w.handle, func() (err error) {
		listener, err = net.Listen("tcp", fmt.Sprintf("%s:%d", Control, port))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = listener.Close() }) // it is over, whatever it says
	return listener
}

// Get asks a server from outside of the cluster.
func (w *World) Get(ctx context.Context, url string) (string, error) { return get(ctx, w.handle, url) }

// get asks a server from inside a network namespace.
func get(ctx context.Context, from netns.NsHandle, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, at string) (conn net.Conn, err error) {
			err = in(from, func() (err error) {
				conn, err = new(net.Dialer).DialContext(ctx, network, at)
				return err
			})
			return conn, err
		}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s says %s: %s", url, response.Status, text)
	}
	return string(text), err
}

// in runs something inside a network namespace.
func in(where netns.NsHandle, do func() error) error {
	return onThread(func() error {
		if err := netns.Set(where); err != nil {
			return err
		}
		return do()
	})
}

// onThread runs something on a thread of its own, which is thrown away after, as its namespaces may be others by then.
func onThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- do()
	}()
	return <-done
}
