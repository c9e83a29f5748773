package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"galaxy/extender/httpserver"
)

// Of the connections to the leader. They are given up before the leader would close them, see idleTimeout.
const (
	dialTimeout      = 2 * time.Second
	probeTimeout     = 15 * time.Second
	forwardIdle      = time.Minute
	forwardIdleConns = 256
	readLeaderLimit  = 3 * time.Second
)

// wholeResponse is how much of a response is read before any of it is passed back: until then another replica may be
// asked.
const wholeResponse = 1 << 20

// newTransport makes connections to replicas. They speak HTTP/1.1: over a single HTTP/2 connection, one that hangs
// would hold up all requests.
func newTransport(config *tls.Config) *http.Transport {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: probeTimeout}
	return &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout,
		MaxIdleConns: forwardIdleConns, MaxIdleConnsPerHost: forwardIdleConns, IdleConnTimeout: forwardIdle,
		DisableCompression: true, // responses go back as they come
	}
}

// cachedLeader is who led at a moment.
type cachedLeader struct {
	peer Peer
	err  error
	at   time.Time
}

// Forget makes the next request read anew who leads.
func (f *Forwarder) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doubted = time.Now()
}

// recent is the leader that was seen last, if that is younger than a moment and nobody doubts it; or if it is so young
// that reading it again would be of no use, which bounds the reads of many requests that wait for a leader.
func (f *Forwarder) recent(since time.Time) (cachedLeader, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.seen
	good := s.err == nil && s.at.After(f.doubted) && s.at.After(since)
	return s, !s.at.IsZero() && (good || time.Since(s.at) < f.Pause)
}

// leader is who leads, as seen after a moment.
func (f *Forwarder) leader(ctx context.Context, since time.Time) (Peer, error) {
	if s, ok := f.recent(since); ok {
		return s.peer, s.err
	}
	read := f.reads.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readLeaderLimit)
		defer cancel()
		s := cachedLeader{at: time.Now()}
		s.peer, s.err = f.Leader(ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.seen = s
		return s.peer, s.err
	})
	select {
	case <-ctx.Done():
		return Peer{}, ctx.Err()
	case r := <-read:
		return r.Val.(Peer), r.Err
	}
}

// errMoved ends the wait for the response of a replica that does not lead any more.
var errMoved = errors.New("another replica leads by now")

// NotLeadingError is the refusal of a replica that was taken for the leader.
type NotLeadingError struct{ Address string }

func (e *NotLeadingError) Error() string { return "the replica at " + e.Address + " does not lead" }

// ask sends the request to the leader and passes its response back. After an error nothing was answered, and it may be
// called again.
func (f *Forwarder) ask(w http.ResponseWriter, r *http.Request, route Route, body []byte) error {
	peer, err := f.leader(r.Context(), time.Time{})
	if err != nil {
		return fmt.Errorf("find the leader: %w", err)
	}
	address := route.Port(peer)
	if address == "" {
		f.Forget()
		return errors.New("the leader does not say where it is reached")
	}
	response, err := f.send(r, peer, address, body)
	if err == nil {
		defer response.Body.Close() //nolint:errcheck // it was only read from
		if response.Header.Get(headerNotLeader) != "" {
			_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // so that the connection can be used again
			err = &NotLeadingError{address}
		} else {
			err = passBack(w, response)
		}
	}
	if err != nil {
		f.Forget()
		return fmt.Errorf("ask the leader at %s: %w", address, err)
	}
	return nil
}

// send sends the request to a replica and waits for its response while that replica leads.
func (f *Forwarder) send(r *http.Request, peer Peer, address string, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	scheme := "http://"
	if f.TLS != nil {
		scheme = "https://"
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, scheme+address+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		cancel(err)
		return nil, err
	}
	copyHeader(request.Header, r.Header)
	request.Host = r.Host // which the leader compares an Origin with
	request.Header.Set(HeaderForwardedBy, f.Identity)
	stop := f.watch(ctx, cancel, peer)
	response, err := f.transport.RoundTrip(request)
	stop()
	if cause := context.Cause(ctx); cause != nil {
		if err == nil {
			_ = response.Body.Close()
		}
		return nil, cause
	}
	if err != nil {
		cancel(err)
		return nil, err
	}
	response.Body = ending{response.Body, cancel}
	return response, nil
}

// ending is the body of a response; closing it frees what its request held.
type ending struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b ending) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

// watch cancels the wait for a replica once another leads, as a host that died says nothing. After stop it does not.
func (f *Forwarder) watch(ctx context.Context, cancel context.CancelCauseFunc, peer Peer) (stop func()) {
	watching, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for sleep(watching, f.Recheck) {
			now, err := f.leader(watching, time.Now().Add(-f.Recheck))
			if f.Replica.Leading() || err == nil && now != peer {
				cancel(errMoved)
				return
			}
		}
	}()
	return func() {
		end()
		<-ended
	}
}

// passBack answers with what the leader has answered. An error means that nothing was passed back yet.
func passBack(w http.ResponseWriter, response *http.Response) error {
	first := httpserver.BorrowBuffer()
	defer httpserver.ReturnBuffer(first)
	if _, err := first.ReadFrom(io.LimitReader(response.Body, wholeResponse)); err != nil {
		return err
	}
	copyHeader(w.Header(), response.Header)
	w.WriteHeader(response.StatusCode)
	_, err := w.Write(first.Bytes())
	if err == nil && first.Len() == wholeResponse {
		_, err = io.Copy(w, response.Body)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // a part of a response must not look like all of it
	}
	return nil
}

// ofConnection are the headers that say something of a connection and not of what it carries.
var ofConnection = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true,
	"Proxy-Connection": true,
	"Te":               true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Expect": true,
}

func copyHeader(to, from http.Header) {
	for name, values := range from {
		if !ofConnection[name] {
			to[name] = values
		}
	}
}
