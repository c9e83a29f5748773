//go:build linux

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	mostInOneSend = 256              // messages: so many errors fit into the receive buffer at once
	receiveBuffer = 1 << 20          // bytes; the kernel's default holds a quarter
	responseTime  = 30 * time.Second // the kernel answers at once, or something is very wrong
	dumpTries     = 5
)

// conn is a netlink socket for routes. The library sends one message and waits for its response; with thousands of
// routes that is slow, so that here many messages travel in one send.
type conn struct {
	mu   sync.Mutex
	file *os.File
	port uint32 // by which the kernel says in a notification who has made a change
	seq  uint32
	in   [64 << 10]byte
	out  []byte
}

// dial opens a socket in a namespace. With groups it is notified of changes.
func dial(ns netns.NsHandle, groups ...int) (*conn, error) {
	c := &conn{}
	err := inside(ns, func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		c.file = os.NewFile(uintptr(fd), "netlink")
		return c.prepare(fd, groups)
	})
	if err != nil {
		c.close()
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return c, nil
}

func (c *conn) prepare(fd int, groups []int) error {
	// Without the right to force the size the socket works with the default.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	for _, option := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK, unix.NETLINK_GET_STRICT_CHK} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1); err != nil {
			return fmt.Errorf("set option %d (Linux 4.20 or newer is needed): %w", option, err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	for _, group := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return fmt.Errorf("join group %d: %w", group, err)
		}
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	if own, ok := name.(*unix.SockaddrNetlink); ok {
		c.port = own.Pid
	}
	return nil
}

func (c *conn) close() {
	if c.file != nil {
		_ = c.file.Close()
	}
}

// send writes n messages, as many in one send as may be, and returns those that the kernel refused. The kernel works
// through a send in order before the call returns, goes on after an error and always answers with errors; so only the
// last message of a send asks for a response, and when that is read, all are known.
func (c *conn) send(ctx context.Context, n int,
	encode func(b []byte, i int) []byte) (refused map[int]error, sends int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused = map[int]error{}
	for first := 0; first < n; first += mostInOneSend {
		if err := ctx.Err(); err != nil {
			return refused, sends, err
		}
		last := min(first+mostInOneSend, n) - 1
		base := c.seq + 1 - uint32(first)
		b := c.out[:0]
		for i := first; i <= last; i++ {
			at := len(b)
			b = encode(b, i)
			if i == last {
				addFlags(b[at:], unix.NLM_F_ACK)
			}
			binary.NativeEndian.PutUint32(b[at+8:], base+uint32(i))
		}
		c.out, c.seq = b, base+uint32(last)
		if _, err := c.file.Write(b); err != nil {
			return refused, sends, fmt.Errorf("write %d netlink messages: %w", last-first+1, err)
		}
		sends++
		if err := c.responses(base, last, refused); err != nil {
			return refused, sends, err
		}
	}
	return refused, sends, nil
}

// responses reads until the response to the last message.
func (c *conn) responses(base uint32, last int, refused map[int]error) error {
	for {
		done := false
		err := c.receive(func(h header, body []byte) {
			if h.kind != unix.NLMSG_ERROR || len(body) < 4 {
				return
			}
			i := int(h.seq - base)
			if why := errorIn(h, body); why != nil && i >= 0 && i <= last {
				refused[i] = why
			}
			done = done || i == last
		})
		if err != nil {
			return fmt.Errorf("read the responses of the kernel: %w", err)
		}
		if done {
			return nil
		}
	}
}

// dump asks for a list and calls each for every message of it. A list that changed while it was read is read again.
func (c *conn) dump(ctx context.Context, request []byte, start func(),
	each func(kind uint16, body []byte) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range dumpTries {
		if err := ctx.Err(); err != nil {
			return err
		}
		start()
		err := c.dumpOnce(request, each)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	return fmt.Errorf("the list changed during each of %d readings; try again: %w", dumpTries,
		netlink.ErrDumpInterrupted)
}

func (c *conn) dumpOnce(request []byte, each func(kind uint16, body []byte) error) error {
	c.seq++
	binary.NativeEndian.PutUint32(request[8:], c.seq)
	if _, err := c.file.Write(request); err != nil {
		return fmt.Errorf("ask the kernel for a list: %w", err)
	}
	var failed error
	interrupted, done := false, false
	for !done {
		err := c.receive(func(h header, body []byte) {
			if h.seq != c.seq {
				return
			}
			interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
			switch h.kind {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done = true
				if len(body) >= 4 && failed == nil {
					failed = errorIn(h, body)
				}
			default:
				if failed == nil {
					failed = each(h.kind, body)
				}
			}
		})
		if err != nil {
			return fmt.Errorf("read a list of the kernel: %w", err)
		}
	}
	if interrupted && failed == nil {
		return netlink.ErrDumpInterrupted
	}
	return failed
}

// receive reads what the kernel sent at once and calls each for every message.
func (c *conn) receive(each func(h header, body []byte)) error {
	if err := c.file.SetReadDeadline(time.Now().Add(responseTime)); err != nil {
		return err
	}
	n, err := c.file.Read(c.in[:])
	if err != nil {
		return err
	}
	return messages(c.in[:n], each)
}

// header is the beginning of a netlink message.
type header struct {
	kind, flags uint16
	seq, port   uint32
}

var errCut = errors.New("a netlink message is cut short")

func messages(b []byte, each func(h header, body []byte)) error {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return errCut
		}
		each(header{
			kind: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
			seq: binary.NativeEndian.Uint32(b[8:]), port: binary.NativeEndian.Uint32(b[12:]),
		}, b[unix.SizeofNlMsghdr:size])
		b = b[min(align(size), len(b)):]
	}
	return nil
}

// errorIn is the error in a response, with the kernel's own words where it has some; nil if it agreed.
func errorIn(h header, body []byte) error {
	errno := -int32(binary.NativeEndian.Uint32(body))
	if errno == 0 {
		return nil
	}
	err := error(unix.Errno(errno))
	if h.flags&unix.NLM_F_ACK_TLVS == 0 {
		return err
	}
	skip := 4
	if h.kind == unix.NLMSG_ERROR {
		skip += unix.SizeofNlMsghdr // of the message that was refused
	}
	if len(body) > skip {
		_ = attributes(body[skip:], func(kind uint16, value []byte) error {
			if kind == nl.NLMSGERR_ATTR_MSG {
				err = fmt.Errorf("%w (%s)", err, unix.ByteSliceToString(value))
			}
			return nil
		})
	}
	return err
}
