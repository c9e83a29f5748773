package overlay

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"galaxy/plugins"
)

// namespace is a network namespace of the test: a node, a pod, or a place outside.
type namespace struct {
	t      testing.TB
	name   string
	handle netns.NsHandle
	links  *netlink.Handle
}

// needRoot skips a test that cannot make namespaces, and fails under CI, where it must be able to.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root, to make network namespaces")
	}
	t.Skip("NOT RUN: this test needs root, to make network namespaces")
}

func newNamespace(t testing.TB, name string) *namespace {
	t.Helper()
	n := &namespace{t: t, name: name}
	onThread(t, func() error {
		var err error
		n.handle, err = netns.New()
		return err
	})
	var err error
	if n.links, err = netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.links.Close()
		_ = n.handle.Close() // the kernel removes it with its last user
	})
	n.must("loopback", n.up("lo"))
	return n
}

// onThread runs something on a thread of its own, which is thrown away after: its namespace may be another by then.
func onThread(t testing.TB, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- do()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// in runs something inside the namespace.
func (n *namespace) in(do func() error) {
	n.t.Helper()
	onThread(n.t, func() error {
		if err := netns.Set(n.handle); err != nil {
			return err
		}
		return do()
	})
}

// path is where other processes find the namespace, as long as the test lives.
func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.handle)) }

func (n *namespace) must(what string, err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("%s of %s: %v", what, n.name, err)
	}
}

func (n *namespace) up(link string) error {
	l, err := n.links.LinkByName(link)
	if err != nil {
		return err
	}
	return n.links.LinkSetUp(l)
}

// wire joins a link of this namespace, with addresses, to a bridge in another.
func (n *namespace) wire(link string, to *namespace, bridge string, addresses ...string) {
	n.t.Helper()
	far := fmt.Sprintf("%.14s", "w"+n.name)
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: link, MTU: 1500}, PeerName: far,
		PeerNamespace: netlink.NsFd(to.handle)}
	n.must("wire", n.links.LinkAdd(pair))
	for _, a := range addresses {
		n.address(link, a)
	}
	n.must(link, n.up(link))
	l, err := to.links.LinkByName(far)
	to.must(far, err)
	b, err := to.links.LinkByName(bridge)
	to.must(bridge, err)
	to.must(far, to.links.LinkSetMaster(l, b))
	to.must(far, to.up(far))
}

func (n *namespace) address(link, prefix string) {
	n.t.Helper()
	l, err := n.links.LinkByName(link)
	n.must(link, err)
	// IFA_F_NODAD
	n.must(prefix, n.links.AddrAdd(l, &netlink.Addr{IPNet: plugins.IPNet(netip.MustParsePrefix(prefix)), Flags: 0x2}))
}

func (n *namespace) bridge(name string, addresses ...string) {
	n.t.Helper()
	n.must(name, n.links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}))
	for _, a := range addresses {
		n.address(name, a)
	}
	n.must(name, n.up(name))
}

// sysctl sets a setting of the namespace.
func (n *namespace) sysctl(path, value string) {
	n.t.Helper()
	n.in(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
}

// start starts a program inside the namespace.
func (n *namespace) start(cmd *exec.Cmd) {
	n.t.Helper()
	n.in(cmd.Start)
}

// ip runs iproute2 inside the namespace, for people who read the test's output.
func (n *namespace) ip(args ...string) string {
	n.t.Helper()
	var out []byte
	n.in(func() (err error) {
		out, err = exec.Command("ip", args...).CombinedOutput()
		return err
	})
	return strings.TrimRight(string(out), "\n")
}
