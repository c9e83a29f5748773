// Package pair makes veth pairs between the namespace of the host and that of a container. The container's end is
// created where it shall be and with the name that it shall have: no end ever passes through the host's namespace under
// a name for the time being, so that containers can not come in each other's way.
package pair

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"galaxy/plugins"
)

// ErrNoNamespace is for a path that leads to no network namespace: a container that is gone.
var ErrNoNamespace = errors.New("there is no network namespace")

// Namespaces are the two that a pair joins. The host's is that of the thread that called Open; the sockets stay in
// their namespace whatever thread uses them.
type Namespaces struct {
	Host, Container *netlink.Handle

	path string
	fd   netns.NsHandle
}

// Open opens both namespaces. The error for a container that is gone is ErrNoNamespace.
func Open(path string) (*Namespaces, error) {
	fd, err := openNamespace(path)
	if err != nil {
		return nil, err
	}
	n := &Namespaces{path: path, fd: fd}
	if err := n.open(); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Namespaces) open() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the namespace of the host: %w", err)
	}
	defer here.Close() //nolint:errcheck // it was only read from
	if here.Equal(n.fd) {
		return plugins.Errorf(types.ErrInvalidNetNS,
			"CNI_NETNS %s is the namespace of the host: a pod with hostNetwork needs no network", n.path)
	}
	if n.Host, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink of the host: %w", err)
	}
	if n.Container, err = netlink.NewHandleAt(n.fd, unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink of %s: %w", n.path, err)
	}
	return nil
}

// Close gives the sockets back.
func (n *Namespaces) Close() {
	if n.Host != nil {
		n.Host.Close()
	}
	if n.Container != nil {
		n.Container.Close()
	}
	_ = n.fd.Close() // it was only read
}

// nowhere are what the kernel says of a path that leads to nothing that a namespace could be.
var nowhere = []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG, unix.EINVAL, unix.ENXIO, unix.ENODEV,
	unix.ESRCH}

// openNamespace refuses what is no network namespace, and waits for nothing: the file that a runtime leaves when the
// mount on it is gone is a plain one.
func openNamespace(path string) (netns.NsHandle, error) {
	if path == "" {
		return -1, ErrNoNamespace
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if slices.ContainsFunc(nowhere, func(e error) bool { return errors.Is(err, e) }) {
		return -1, fmt.Errorf("%w at %s: %w", ErrNoNamespace, path, err)
	}
	if err != nil {
		return -1, fmt.Errorf("open the network namespace %s: %w", path, err)
	}
	if err := checkNamespace(fd, path); err != nil {
		_ = unix.Close(fd) // it was only read from
		return -1, err
	}
	return netns.NsHandle(fd), nil
}

// checkNamespace asks the kernel whether an open file is a network namespace.
func checkNamespace(fd int, path string) error {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(fd, &stat); err != nil {
		return fmt.Errorf("look at the network namespace %s: %w", path, err)
	}
	if stat.Type != unix.NSFS_MAGIC {
		return fmt.Errorf("%w at %s, only a file", ErrNoNamespace, path)
	}
	if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%w at %s, only a namespace of another kind", ErrNoNamespace, path)
	}
	return nil
}

// WriteSysctl writes a kernel setting in the container, like "net/ipv6/conf/eth0/disable_ipv6". Settings have no
// netlink: a thread goes there, and is thrown away after.
func (n *Namespaces) WriteSysctl(name, value string) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		if err := netns.Set(n.fd); err != nil {
			done <- fmt.Errorf("enter %s: %w", n.path, err)
			return
		}
		done <- WriteHostSysctl(name, value)
	}()
	return <-done
}

// WriteHostSysctl writes a kernel setting in the namespace of this thread; one that has the value already is only read,
// as /proc/sys may be read-only where the setting is right.
func WriteHostSysctl(name, value string) error {
	path := "/proc/sys/" + name
	if old, err := os.ReadFile(path); err == nil && string(old) == value+"\n" {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set %s to %s: %w", name, value, err)
	}
	return nil
}
