package extender

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"galaxy/allocator"
	"galaxy/extender/httpserver"
)

// HeaderForwardedBy names the replica that has passed a request on. Whoever gets such a request decides it or refuses it,
// and never passes it on again.
const HeaderForwardedBy = "X-Galaxy-Forwarded-By"

// headerNotLeader marks the refusal of a replica that does not lead, so that no other 503 is taken for one.
const headerNotLeader = "X-Galaxy-Not-Leader"

// Defaults of ForwarderConfig.
const (
	DefaultForwardPause   = 50 * time.Millisecond
	DefaultForwardRecheck = time.Second
)

// longestPause is how far the pause between two attempts grows, in pauses.
const longestPause = 8

// Peer is where a replica is reached: host and port of its two ports.
type Peer struct {
	Scheduler string
	REST      string
}

// ForwarderConfig is what a Forwarder needs. Replica, Identity and Leader are required.
type ForwarderConfig struct {
	Replica  Replica
	Identity string // of this replica, for the logs of others
	// Leader reads who leads, linearizably. The answer is remembered until it turns out to be wrong, and all requests that
	// wait share one call.
	Leader func(ctx context.Context) (Peer, error)
	TLS    *tls.Config // how to reach other replicas; nil: without TLS
	Log    *zap.Logger
	// Passed is told of each attempt to have the leader answer a request, by its path; nil: nobody wants to know.
	Passed  func(path string)
	Pause   time.Duration // between two attempts, at first; DefaultForwardPause if 0
	Recheck time.Duration // how often a request that waits for its answer makes sure of the leader; DefaultForwardRecheck if 0
}

// Forwarder passes on to the leader what only the leader may answer. While nobody leads it tries again until the time of the
// request is up: every command may be repeated.
type Forwarder struct {
	ForwarderConfig
	transport *http.Transport
	reads     singleflight.Group
	mu        sync.Mutex
	seen      sighting
	doubted   time.Time // what was seen before is not to be relied on
}

// NewForwarder makes a Forwarder.
func NewForwarder(config ForwarderConfig) *Forwarder {
	if config.Pause == 0 {
		config.Pause = DefaultForwardPause
	}
	if config.Recheck == 0 {
		config.Recheck = DefaultForwardRecheck
	}
	if config.Log == nil {
		config.Log = zap.NewNop()
	}
	if config.Passed == nil {
		config.Passed = func(string) {}
	}
	return &Forwarder{ForwarderConfig: config, transport: newTransport(config.TLS)}
}

// Close gives the connections back that no request uses.
func (f *Forwarder) Close() error {
	f.transport.CloseIdleConnections()
	return nil
}

// errand is a kind of request that only the leader can answer.
type errand struct {
	port   func(Peer) string // the leader's port that takes it
	limit  int64             // of its body
	within time.Duration     // bounds it, beside the context that it comes with; 0: nothing does
	reject func(http.ResponseWriter, error)
	fail   func(http.ResponseWriter, error)
}

func schedulerPort(p Peer) string { return p.Scheduler }
func restPort(p Peer) string      { return p.REST }

func bindErrand() errand {
	return errand{port: schedulerPort, limit: maxBindBody, reject: httpserver.WriteRefusal, fail: func(w http.ResponseWriter, err error) {
		httpserver.WriteJSON(w, append(appendText([]byte(`{"Error":`), err.Error()), '}'))
	}}
}

func filterErrand(limit int64) errand {
	return errand{port: schedulerPort, limit: limit, reject: httpserver.WriteRefusal, fail: func(w http.ResponseWriter, err error) {
		httpserver.WriteJSON(w, appendFilterError(nil, err))
	}}
}

func restErrand() errand {
	return errand{
		port: restPort, limit: maxRESTBody, within: restTimeout,
		reject: func(w http.ResponseWriter, err error) {
			status := http.StatusBadRequest
			var r *httpserver.Refusal
			if errors.As(err, &r) {
				status = r.Status
			}
			httpserver.WriteFailure(w, httpserver.Failure(status, "%v", err))
		},
		fail: func(w http.ResponseWriter, err error) {
			httpserver.WriteFailure(w, httpserver.Failure(http.StatusServiceUnavailable, "%v", err))
		},
	}
}

// scheduling wraps a verb of the scheduler. Bind is always the leader's; filter only when it has to claim something.
func (f *Forwarder) scheduling(path string, local http.Handler, limit int64) http.Handler {
	switch {
	case f == nil:
		return local
	case path == "/v1/bind":
		return f.wrap(bindErrand(), local, func(*http.Request) bool { return true })
	case path == "/v1/filter":
		return f.wrapFilter(filterErrand(limit), local)
	default:
		return local
	}
}

// wrap lets the leader answer the requests that need one: this replica while it leads, by local; else another.
func (f *Forwarder) wrap(e errand, local http.Handler, needs func(*http.Request) bool) http.Handler {
	if f == nil {
		return local
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !needs(r) {
			local.ServeHTTP(w, r)
			return
		}
		if e.within > 0 {
			ctx, cancel := context.WithTimeout(r.Context(), e.within)
			defer cancel()
			r = r.WithContext(ctx)
		}
		body := httpserver.BorrowBuffer()
		defer httpserver.ReturnBuffer(body)
		if err := hold(w, r, e.limit, body); err != nil {
			e.reject(w, err)
			return
		}
		f.carry(w, r, e, body.Bytes(), local)
	})
}

// wrapFilter lets local answer on the view of this replica, and goes to the leader only when it could not: see keepBody.
func (f *Forwarder) wrapFilter(e errand, local http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if passedOn(r) && !f.Replica.Leading() {
			f.refuse(w)
			return
		}
		ctx, m := withMark(r.Context())
		local.ServeHTTP(w, r.WithContext(ctx))
		if m.deposed.Load() {
			f.carry(w, r, e, m.body, local)
		}
	})
}

// hold reads a body that may have to be sent more than once. Its content type is judged by who answers it.
func hold(w http.ResponseWriter, r *http.Request, limit int64, into *bytes.Buffer) error {
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(httpserver.BodyTimeout)) // where it cannot be set there is no slow client
	err := httpserver.ReadBody(w, &http.Request{Body: r.Body, ContentLength: r.ContentLength}, limit, into)
	if err == nil {
		_ = deadline.SetReadDeadline(time.Time{}) // else it would end the request while that waits for a leader
	}
	return err
}

// carry has the request answered by who leads, whoever that is and becomes, until its time is up.
func (f *Forwarder) carry(w http.ResponseWriter, r *http.Request, e errand, body []byte, local http.Handler) {
	last := allocator.ErrNotLeader
	for pause := f.Pause; ; pause = min(2*pause, longestPause*f.Pause) {
		if f.Replica.Leading() {
			if f.serveHere(w, r, body, local) {
				return
			}
		} else if !passedOn(r) {
			f.Passed(routeOf(r.URL.Path))
			err := f.ask(w, r, e, body)
			if err == nil {
				return
			}
			if r.Context().Err() == nil || last == allocator.ErrNotLeader { // that an attempt was cut short says less than the one before
				last = err
			}
		}
		if passedOn(r) {
			f.refuse(w)
			return
		}
		if !sleep(r.Context(), pause/2+rand.N(pause)) {
			f.Log.Warn("no leader has answered a request in time", zap.String("path", r.URL.Path), zap.Error(last))
			e.fail(w, fmt.Errorf("no leader has answered in time: %w", last))
			return
		}
	}
}

// serveHere answers as the leader. It reports false, and has answered nothing, when this replica was deposed meanwhile.
func (f *Forwarder) serveHere(w http.ResponseWriter, r *http.Request, body []byte, local http.Handler) bool {
	ctx, m := withMark(r.Context())
	inner := r.WithContext(ctx)
	inner.Body, inner.ContentLength, inner.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	answer := &heldAnswer{header: http.Header{}}
	local.ServeHTTP(answer, inner)
	if m.deposed.Load() {
		return false
	}
	answer.writeTo(w)
	return true
}

// routeOf is a path with what it names left out, so that there are few of them.
func routeOf(path string) string {
	for _, at := range []struct{ under, as string }{{"/v1/ip/", "/v1/ip/{ip}"}, {"/v1/pool/", "/v1/pool/{name}"}} {
		if rest, named := strings.CutPrefix(path, at.under); named {
			_, more, _ := strings.Cut(rest, "/")
			if more != "" {
				return at.as + "/…"
			}
			return at.as
		}
	}
	return path
}

// passedOn reports whether a request comes from another replica.
func passedOn(r *http.Request) bool { return r.Header.Get(HeaderForwardedBy) != "" }

// refuse answers another replica that took this one for the leader.
func (f *Forwarder) refuse(w http.ResponseWriter) {
	w.Header().Set(headerNotLeader, f.Identity)
	http.Error(w, fmt.Sprintf("the replica %s does not lead, and passes nothing on that was passed on to it", f.Identity), http.StatusServiceUnavailable)
}

// sleep waits, and reports false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
