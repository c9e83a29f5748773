package httpserver

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// LargestBody is the largest body that any port takes: a scheduler that sends whole nodes sends up to 4 KB for each.
const LargestBody = 64 << 20

// maxInHand bounds the bodies of all requests that are in hand, in bytes: a few of the largest, or very many of the
// usual size.
const maxInHand = 4 * LargestBody

// errFull is a body for which there is no room beside those in hand.
var errFull = errors.New("the requests in hand fill the room that there is for their bodies")

// budget counts the bytes of bodies that are read into buffers, until those are given back.
type budget struct {
	most int64

	mu    sync.Mutex
	taken int64
	of    map[*bytes.Buffer]int64
}

var inHand = budget{most: maxInHand}

func (b *budget) take(into *bytes.Buffer, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken+n > b.most {
		return errFull
	}
	if b.of == nil {
		b.of = map[*bytes.Buffer]int64{}
	}
	b.taken += n
	b.of[into] += n
	return nil
}

func (b *budget) giveBack(buffer *bytes.Buffer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken -= b.of[buffer]
	delete(b.of, buffer)
}

// metered reads a body as far as its budget has room.
type metered struct {
	from io.Reader
	hold *budget
	into *bytes.Buffer
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	if full := m.hold.take(m.into, int64(n)); full != nil {
		return 0, full
	}
	return n, err
}
