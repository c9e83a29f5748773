package httpserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// Refusal is a request that could not be read, as an HTTP status and one sentence.
type Refusal struct {
	Status   int
	Sentence string
}

func (r *Refusal) Error() string { return r.Sentence }

// Refuse makes a Refusal.
func Refuse(status int, format string, args ...any) *Refusal {
	return &Refusal{status, fmt.Sprintf(format, args...)}
}

// BodyTimeout is how long a body may take to arrive.
const BodyTimeout = 10 * time.Second

// Buffers are kept for the next request unless they have grown beyond keptBuffer.
const keptBuffer = 8 << 20

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// BorrowBuffer is an empty buffer, which is to be returned.
func BorrowBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

// ReturnBuffer gives a buffer back, and what it holds of the room for bodies.
func ReturnBuffer(b *bytes.Buffer) {
	inHand.giveBack(b)
	if b.Cap() <= keptBuffer {
		b.Reset()
		buffers.Put(b)
	}
}

// ReadBody reads a body of at most limit bytes into the buffer, within BodyTimeout where w can be given a deadline.
// What it is said to be was judged before: see Guarded.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64, into *bytes.Buffer) error {
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(BodyTimeout)) // where it cannot be set there is no slow client
	// The length that a client promises is only believed as far as it costs little.
	into.Grow(int(min(max(r.ContentLength, 0), 64<<10)) + bytes.MinRead)
	_, err := into.ReadFrom(&metered{from: http.MaxBytesReader(w, r.Body, limit), hold: &inHand, into: into})
	var large *http.MaxBytesError
	switch {
	case err == nil:
		_ = deadline.SetReadDeadline(time.Time{}) // else it would end the request while that waits for a leader
		return nil
	case errors.Is(err, errFull):
		return Refuse(http.StatusServiceUnavailable, "%v; try again", err)
	case errors.As(err, &large):
		return tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Refuse(http.StatusRequestTimeout, "the body did not arrive in time")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Refuse(http.StatusBadRequest, "the body ended early, after %d bytes", into.Len())
	default:
		return Refuse(http.StatusBadRequest, "the body could not be read: %v", err)
	}
}

func tooLarge(limit int64) error {
	return Refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", limit)
}

// WriteRefusal answers with the sentence as plain text.
func WriteRefusal(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), StatusOf(err))
}

// StatusOf is the HTTP status of a request that could not be read.
func StatusOf(err error) int {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Status
	}
	return http.StatusBadRequest
}

// WriteJSON responds with a text that is JSON.
func WriteJSON(w http.ResponseWriter, text []byte) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	_, _ = w.Write(text) // a client that went away is no error
}

var jsonType = []string{"application/json"}
