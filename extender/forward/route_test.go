package forward_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"galaxy/allocator"
	"galaxy/extender"
	"galaxy/extender/forward"
	"galaxy/extender/httpserver"
)

// follower is a replica that decides nothing.
type follower struct{ extender.Replica }

func (follower) Leading() bool { return false }
func (follower) Do(context.Context, string, allocator.Command) (allocator.Result, error) {
	return allocator.Result{}, allocator.ErrNotLeader
}

// served is a response of this replica.
var served = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })

func always(*http.Request) bool { return true }

// route has a form of its own for each way in which a request may end.
func route() forward.Route {
	say := func(status int) func(http.ResponseWriter, error) {
		return func(w http.ResponseWriter, err error) { http.Error(w, err.Error(), status) }
	}
	return forward.Route{
		Port: func(p forward.Peer) string { return p.REST }, Limit: 8, Within: 50 * time.Millisecond,
		Label: func(path string) string { return strings.ToUpper(path) }, Reject: say(http.StatusTeapot),
		Fail: say(http.StatusGatewayTimeout),
	}
}

// forwarder believes in a leader, or in none if its address is empty; labels are those of the requests passed on.
func forwarder(t *testing.T, leader string) (f *forward.Forwarder, labels func() string) {
	var passed []string
	f = forward.New(forward.Config{
		Replica: follower{}, Identity: "me", Pause: time.Millisecond,
		Passed: func(label string) { passed = append(passed, label) },
		Leader: func(context.Context) (forward.Peer, error) {
			if leader == "" {
				return forward.Peer{}, errors.New("nobody leads")
			}
			return forward.Peer{REST: leader, Scheduler: "wrong"}, nil
		},
	})
	t.Cleanup(func() { _ = f.Close() })
	return f, func() string { return strings.Join(passed, " ") }
}

// leading is a leader that says what it was sent.
func leading(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.Header.Get(forward.HeaderForwardedBy)+" sends "+string(body)+" for "+r.Host)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func post(handler http.Handler, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/x", strings.NewReader(body)))
	return w
}

// Where there is no election nothing is passed on.
func TestNoForwarder(t *testing.T) {
	var f *forward.Forwarder
	for _, handler := range []http.Handler{f.ToLeader(route(), served, always), f.IfUndecided(route(), served)} {
		if w := post(handler, "{}"); w.Body.String() != "here" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if replica := (follower{}); f.Watched(replica) != extender.Replica(replica) {
		t.Error("the replica is another one")
	}
}

// The route says where a request goes, what it is called, and what it comes to.
func TestRoute(t *testing.T) {
	f, labels := forwarder(t, leading(t))
	for _, c := range []struct {
		needs  bool
		body   string
		status int
		text   string
	}{
		{true, "{}", http.StatusOK, "me sends {} for example.com"},
		{false, "{}", http.StatusOK, "here"},
		{true, "{\"a\": 12345}", http.StatusTeapot, "larger than 8 bytes"},
	} {
		w := post(f.ToLeader(route(), served, func(*http.Request) bool { return c.needs }), c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s, needs a leader %t: %d %s, want %d %s", c.body, c.needs, w.Code, w.Body, c.status, c.text)
		}
	}
	if labels() != "/V1/X" {
		t.Errorf("passed on: %q", labels())
	}
}

// Without a leader a request fails as its route says, once its time is up.
func TestRouteWithoutLeader(t *testing.T) {
	f, _ := forwarder(t, "")
	if w := post(f.ToLeader(route(), served, always), "{}"); w.Code != http.StatusGatewayTimeout ||
		!strings.Contains(w.Body.String(), "nobody leads") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A request that this replica may serve goes to the leader, with the body that it came with, when it turns out to need
// a decision.
func TestIfUndecided(t *testing.T) {
	f, labels := forwarder(t, leading(t))
	replica := f.Watched(follower{})
	for body, want := range map[string]string{"look": "here", "decide": "me sends decide for example.com"} {
		w := post(f.IfUndecided(route(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			if string(text) == "decide" {
				_, _ = replica.Do(r.Context(), "test", allocator.DeletePool{})
			}
			if !forward.KeepBody(r.Context(), bytes.NewBuffer(text)) {
				httpserver.WriteJSON(w, []byte("here"))
			}
		})), body)
		if w.Body.String() != want {
			t.Errorf("%s: %d %s, want %s", body, w.Code, w.Body, want)
		}
	}
	if labels() != "/V1/X" {
		t.Errorf("passed on: %q", labels())
	}
}
