package extender

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"sync"

	"go.uber.org/zap"
)

// refusal is a request that could not be read, as an HTTP status and one sentence.
type refusal struct {
	status   int
	sentence string
}

func (r *refusal) Error() string { return r.sentence }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// Buffers are kept for the next request unless they have grown beyond keptBuffer.
const keptBuffer = 8 << 20

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func borrowBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func giveBack(b *bytes.Buffer) {
	inHand.giveBack(b)
	if b.Cap() <= keptBuffer {
		b.Reset()
		buffers.Put(b)
	}
}

// readBody reads a JSON body of at most limit bytes into the buffer.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, into *bytes.Buffer) error {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		if media, _, err := mime.ParseMediaType(kind); err != nil || media != "application/json" {
			return refuse(http.StatusUnsupportedMediaType, "the content type %q is not understood; send application/json", kind)
		}
	}
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	// The length that a client promises is only believed as far as it costs little.
	into.Grow(int(min(max(r.ContentLength, 0), 64<<10)) + bytes.MinRead)
	_, err := into.ReadFrom(&metered{from: http.MaxBytesReader(w, r.Body, limit), hold: &inHand, into: into})
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errFull):
		return refuse(http.StatusServiceUnavailable, "%v; try again", err)
	case errors.As(err, &large):
		return tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "the body did not arrive in time")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(http.StatusBadRequest, "the body ended early, after %d bytes", into.Len())
	default:
		return refuse(http.StatusBadRequest, "the body could not be read: %v", err)
	}
}

func tooLarge(limit int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", limit)
}

// writeRefusal answers with the sentence as plain text.
func writeRefusal(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	var r *refusal
	if errors.As(err, &r) {
		status = r.status
	}
	http.Error(w, err.Error(), status)
}

func writeJSON(w http.ResponseWriter, text []byte) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	_, _ = w.Write(text) // a client that went away is nobody's fault
}

var jsonType = []string{"application/json"}

// recovered turns a panic of a handler into a 500 and a line in the log, so that one bad request harms no other.
func recovered(log *zap.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch fault := recover(); fault {
			case nil:
			case http.ErrAbortHandler:
				panic(fault)
			default:
				log.Error("a request handler panicked", zap.String("method", r.Method), zap.String("path", r.URL.Path),
					zap.Any("fault", fault), zap.Stack("stack"))
				http.Error(w, "server error: the request could not be served; the log of galaxy-ipam says why", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}
