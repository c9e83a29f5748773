package extender

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// Bounds of what is read from the log's past: each costs up to a second of a core.
const (
	maxPastReads = 2 // at a time
	pastShare    = 2 // of one client, those that wait included
)

// shares bounds how many costly requests are worked on at a time, and how many of them one client may have.
type shares struct {
	slots chan struct{}

	mu sync.Mutex
	of map[string]int // by client
}

func newShares(slots int) *shares {
	return &shares{slots: make(chan struct{}, slots), of: map[string]int{}}
}

// take waits for a slot, which is to be given back. A client with its share in hand is refused at once.
func (s *shares) take(ctx context.Context) (giveBack func(), err error) {
	client := clientOf(ctx)
	if !s.enter(client) {
		return nil, failure(http.StatusTooManyRequests, "%d questions about the past are in hand for you already; try again when one is answered", pastShare)
	}
	select {
	case s.slots <- struct{}{}:
		return func() {
			<-s.slots
			s.leave(client)
		}, nil
	case <-ctx.Done():
		s.leave(client)
		return nil, failure(http.StatusServiceUnavailable, "%d questions about the past are being answered already; try again", cap(s.slots))
	}
}

func (s *shares) enter(client string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[client] == pastShare {
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
