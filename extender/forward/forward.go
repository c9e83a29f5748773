package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"galaxy/allocator"
	"galaxy/extender/httpserver"
)

// HeaderForwardedBy names the replica that has passed a request on. Whoever gets such a request decides it or refuses
// it, and never passes it on again.
const HeaderForwardedBy = "X-Galaxy-Forwarded-By"

// headerNotLeader marks the refusal of a replica that does not lead, so that no other 503 is taken for one.
const headerNotLeader = "X-Galaxy-Not-Leader"

// Defaults of Config.
const (
	DefaultPause   = 50 * time.Millisecond
	DefaultRecheck = time.Second
)

// longestPause is how far the pause between two attempts grows, in pauses.
const longestPause = 8

// Peer is where a replica is reached: host and port of its two ports.
type Peer struct {
	Scheduler string
	REST      string
}

// Replica is this replica: does it lead?
type Replica interface{ Leading() bool }

// Config is what a Forwarder needs. Replica, Identity and Leader are required.
type Config struct {
	Replica  Replica
	Identity string // of this replica, for the logs of others
	// Leader reads who leads, linearizably. The response is remembered until it turns out to be wrong, and all requests
	// that wait share one call.
	Leader func(ctx context.Context) (Peer, error)
	TLS    *tls.Config // how to reach other replicas; nil: without TLS
	Log    *zap.Logger
	// Passed is called for each attempt to have the leader answer a request, by its path; nil: nobody wants to know.
	Passed func(path string)
	Pause  time.Duration // between two attempts, at first; DefaultPause if 0
	// how often a request that waits for its response makes sure of the leader; DefaultRecheck if 0
	Recheck time.Duration
}

// Forwarder passes on to the leader what only the leader may answer. While nobody leads it tries again until the time
// of the request is up: every command may be repeated.
type Forwarder struct {
	Config
	transport *http.Transport
	reads     singleflight.Group
	mu        sync.Mutex
	seen      cachedLeader
	doubted   time.Time // what was seen before is not to be relied on
}

// New makes a Forwarder.
func New(config Config) *Forwarder {
	if config.Pause == 0 {
		config.Pause = DefaultPause
	}
	if config.Recheck == 0 {
		config.Recheck = DefaultRecheck
	}
	if config.Log == nil {
		config.Log = zap.NewNop()
	}
	if config.Passed == nil {
		config.Passed = func(string) {}
	}
	return &Forwarder{Config: config, transport: newTransport(config.TLS)}
}

// Close gives the connections back that no request uses.
func (f *Forwarder) Close() error {
	f.transport.CloseIdleConnections()
	return nil
}

// Route is how requests of one kind get to the leader, and what they come to when they do not.
type Route struct {
	Port   func(Peer) string // the leader's port that takes them
	Limit  int64             // of a body
	Within time.Duration     // bounds a request, beside the context that it comes with; 0: nothing does
	// Label is the path of a request for figures, with what it names left out, so that there are few of them; nil: as
	// it is.
	Label  func(path string) string
	Reject func(http.ResponseWriter, error) // responds to a body that could not be read
	Fail   func(http.ResponseWriter, error) // responds when no leader has, in time
}

func (r Route) label(path string) string {
	if r.Label == nil {
		return path
	}
	return r.Label(path)
}

// ToLeader lets the leader answer the requests that need one: this replica while it leads, by local; else another.
func (f *Forwarder) ToLeader(route Route, local http.Handler, needs func(*http.Request) bool) http.Handler {
	if f == nil {
		return local
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !needs(r) {
			local.ServeHTTP(w, r)
			return
		}
		if route.Within > 0 {
			ctx, cancel := context.WithTimeout(r.Context(), route.Within)
			defer cancel()
			r = r.WithContext(ctx)
		}
		if !httpserver.Writes(r) { // a read has no body, so that nobody has us hold one
			f.carry(w, r, route, nil, local)
			return
		}
		body := httpserver.BorrowBuffer()
		defer httpserver.ReturnBuffer(body)
		if err := httpserver.ReadBody(w, r, route.Limit, body); err != nil {
			route.Reject(w, err)
			return
		}
		f.carry(w, r, route, body.Bytes(), local)
	})
}

// IfUndecided lets local answer on the view of this replica, and goes to the leader only when it could not: see
// KeepBody.
func (f *Forwarder) IfUndecided(route Route, local http.Handler) http.Handler {
	if f == nil {
		return local
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if passedOn(r) && !f.Replica.Leading() {
			f.refuse(w)
			return
		}
		ctx, m := withMark(r.Context())
		local.ServeHTTP(w, r.WithContext(ctx))
		if m.deposed.Load() {
			f.carry(w, r, route, m.body, local)
		}
	})
}

// carry has the request answered by who leads, whoever that is and becomes, until its time is up.
func (f *Forwarder) carry(w http.ResponseWriter, r *http.Request, route Route, body []byte, local http.Handler) {
	last := allocator.ErrNotLeader
	for pause := f.Pause; ; pause = min(2*pause, longestPause*f.Pause) {
		if f.Replica.Leading() {
			if f.serveHere(w, r, body, local) {
				return
			}
		} else if !passedOn(r) {
			f.Passed(route.label(r.URL.Path))
			err := f.ask(w, r, route, body)
			if err == nil {
				return
			}
			// that an attempt was cut short says less than the one before
			if r.Context().Err() == nil || errors.Is(last, allocator.ErrNotLeader) {
				last = err
			}
		}
		if passedOn(r) {
			f.refuse(w)
			return
		}
		if !sleep(r.Context(), pause/2+rand.N(pause)) {
			f.Log.Warn("no leader has answered a request in time", zap.String("path", r.URL.Path), zap.Error(last))
			route.Fail(w, fmt.Errorf("no leader has answered in time: %w", last))
			return
		}
	}
}

// serveHere answers as the leader. It reports false, and has answered nothing, when this replica was deposed meanwhile.
func (f *Forwarder) serveHere(w http.ResponseWriter, r *http.Request, body []byte, local http.Handler) bool {
	ctx, m := withMark(r.Context())
	inner := r.WithContext(ctx)
	inner.Body, inner.ContentLength, inner.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	response := &heldResponse{header: http.Header{}}
	local.ServeHTTP(response, inner)
	if m.deposed.Load() {
		return false
	}
	response.writeTo(w)
	return true
}

// passedOn reports whether a request comes from another replica.
func passedOn(r *http.Request) bool { return r.Header.Get(HeaderForwardedBy) != "" }

// refuse answers another replica that took this one for the leader.
func (f *Forwarder) refuse(w http.ResponseWriter) {
	w.Header().Set(headerNotLeader, f.Identity)
	http.Error(w, fmt.Sprintf("the replica %s does not lead, and passes nothing on that was passed on to it",
		f.Identity), http.StatusServiceUnavailable)
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
