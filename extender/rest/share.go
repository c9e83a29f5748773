package rest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"galaxy/extender/api"
	"galaxy/extender/httpserver"
)

// Bounds of costly reads: at a time, and of one client, those that wait included.
const (
	maxPastReads, pastShare = 2, 2  // of the log's past, up to a second of a core each
	maxListReads, listShare = 64, 8 // of long lists, some MB each, which are held until the client has read them
)

// shares bounds how many costly requests are worked on at a time, and how many of them one client may have.
type shares struct {
	what  string // the requests are for
	slots chan struct{}
	share int

	mu sync.Mutex
	of map[string]int // by client
}

func newShares(what string, slots, share int) *shares {
	return &shares{what: what, slots: make(chan struct{}, slots), share: share, of: map[string]int{}}
}

// take waits for a slot, which is to be given back. A client with its share in hand is refused at once.
func (s *shares) take(ctx context.Context) (giveBack func(), err error) {
	client := clientOf(ctx)
	if !s.enter(client) {
		return nil, httpserver.Failure(http.StatusTooManyRequests,
			"%d questions for %s are in hand for you already; try again when one is answered", s.share, s.what)
	}
	select {
	case s.slots <- struct{}{}:
		return func() {
			<-s.slots
			s.leave(client)
		}, nil
	case <-ctx.Done():
		s.leave(client)
		return nil, httpserver.Failure(http.StatusServiceUnavailable,
			"%d questions for %s are being answered already; try again", cap(s.slots), s.what)
	}
}

func (s *shares) enter(client string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[client] == s.share {
		return false
	}
	s.of[client]++
	return true
}

func (s *shares) leave(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[client]--; s.of[client] == 0 {
		delete(s.of, client)
	}
}

// lists are the reads whose responses may be long.
var lists = map[string]bool{"GET /v1/ip": true, "GET /v1/log": true}

// bounded has long lists take a share, until their client has read them.
func (s *shares) bounded(mux *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); !lists[pattern] {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		giveBack, err := s.take(ctx)
		cancel()
		if err != nil {
			failure, _ := errors.AsType[*api.Failure](err) // take has no other
			httpserver.WriteFailure(w, failure)
			return
		}
		defer giveBack()
		next.ServeHTTP(w, r)
	})
}

type hostKey struct{}

// fromHost notes the host that a request comes from.
func fromHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), hostKey{}, host)))
	})
}

// clientOf is who makes a request: the user, if that had to be proved, else the host that it comes from.
func clientOf(ctx context.Context) string {
	if user := UserOf(ctx); user != "" {
		return "user " + user
	}
	host, _ := ctx.Value(hostKey{}).(string)
	return "host " + host
}
