package extender_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"galaxy/extender/extendertest"
	"galaxy/extender/forward"
)

// stub is a leader whose responses a test sets.
func (c *harness) stub(handler http.HandlerFunc) *httptest.Server {
	server := extendertest.Serve(c.t, handler)
	at := strings.TrimPrefix(server.URL, "http://")
	c.holder.Store(&forward.Peer{Scheduler: at, REST: at})
	for _, m := range c.members {
		m.follow()
		m.forwarder.Forget()
	}
	return server
}

// TestForwardBytes: the leader gets what the client has sent, and the client what the leader has answered, to the byte.
func TestForwardBytes(t *testing.T) {
	c := newHarness(t, 2, nil)
	if code := ask(t, http.MethodPost, c.members[0].rest.URL+"/v1/pool", `{"name":"pl","size":2}`,
		nil); code != http.StatusOK {
		t.Fatal(code)
	}
	c.members[1].caughtUp()
	var got struct {
		sync.Mutex
		method, uri, body string
		header            http.Header
	}
	long := strings.Repeat("0123456789abcde\n", 1<<18) // 4 MiB
	c.stub(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Lock()
		got.method, got.uri, got.body, got.header = r.Method, r.RequestURI, string(body), r.Header
		got.Unlock()
		w.Header().Set("Content-Type", "text/odd; charset=x")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, long)
	})
	m := c.members[1]
	pod := podText("ns1", "pl-sts-0", "StatefulSet/pl-sts", map[string]string{"pool": "pl"})
	for _, s := range []struct{ method, url, path, body string }{
		{"POST", m.scheduler.URL, "/v1/bind", " { \"podname\" : \"\\u0061\" }\r\n\x00"},
		{"POST", m.scheduler.URL, "/v1/filter?x=%2f",
			fmt.Sprintf(`{"Pod":%s, "more":%q, "NodeNames":[ "node4" ]}`, pod, strings.Repeat("x", 20<<20))},
		{"PUT", m.rest.URL, "/v1/ip/10.173.13.2%20?a=b&a=%26", strings.Repeat("y", 1<<20)},
		{"DELETE", m.rest.URL, "/v1/pool/a%2Fb", ""},
	} {
		resp, text := raw(t, s.method, s.url+s.path, s.body, map[string]string{
			"Content-Type": "application/json", "Authorization": "Bearer t", "X-Own": "1", "Keep-Alive": "300",
			"Accept-Encoding": "identity",
		})
		if resp.StatusCode != http.StatusTeapot || text != long ||
			resp.Header.Get("Content-Type") != "text/odd; charset=x" || resp.Header.Get("Retry-After") != "7" {
			t.Errorf("%s: %d %v %d bytes", s.path, resp.StatusCode, resp.Header, len(text))
		}
		got.Lock()
		if got.method != s.method || got.uri != s.path || got.body != s.body {
			t.Errorf("%s %s of %d bytes came as %s %s of %d bytes", s.method, s.path, len(s.body), got.method, got.uri,
				len(got.body))
		}
		for name, want := range map[string]string{
			forward.HeaderForwardedBy: "replica-1", "Authorization": "Bearer t", "X-Own": "1",
			"Content-Type": "application/json", "Keep-Alive": "",
		} {
			if h := got.header.Get(name); h != want {
				t.Errorf("%s: the header %s is %q, want %q", s.path, name, h, want)
			}
		}
		got.Unlock()
	}
	for _, s := range []struct {
		url  string
		size int
	}{{m.scheduler.URL + "/v1/bind", 64<<10 + 1}, {m.rest.URL + "/v1/pool", 1<<20 + 1}} {
		resp, text := raw(t, http.MethodPost, s.url, strings.Repeat("z", s.size), nil)
		if resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(text, "larger than") {
			t.Errorf("%s: %d %.100s", s.url, resp.StatusCode, text)
		}
	}
}

// TestForwardCut: a response that breaks off is asked for again while nothing of it was passed back; later the client's
// connection breaks off, too, so that a part is not taken for the whole.
func TestForwardCut(t *testing.T) {
	c := newHarness(t, 2, nil)
	var attempts atomic.Int64
	size := 100
	c.stub(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		whole := bytes.Repeat([]byte("a"), size)
		if attempts.Add(1) < 3 {
			whole = whole[:size-10]
		}
		_, _ = w.Write(whole)
	})
	_, text := raw(t, http.MethodPost, c.members[1].scheduler.URL+"/v1/bind", bindBody(1), nil)
	if len(text) != size || attempts.Load() != 3 {
		t.Errorf("%d bytes after %d attempts", len(text), attempts.Load())
	}
	size = 3 << 20
	attempts.Store(0)
	resp, err := http.Post(c.members[1].scheduler.URL+"/v1/bind", "application/json", strings.NewReader(bindBody(1)))
	if err == nil {
		defer resp.Body.Close() //nolint:errcheck // it was only read from
		var read []byte
		if read, err = io.ReadAll(resp.Body); err == nil {
			t.Errorf("%d bytes were taken for a whole response", len(read))
		}
	}
	if attempts.Load() != 1 {
		t.Errorf("%d attempts", attempts.Load())
	}
}

// TestForwardHangs: a leader that says nothing is waited for while it leads, and no longer.
func TestForwardHangs(t *testing.T) {
	for _, next := range []string{"another", "this one", "this one, though its key cannot be read"} {
		t.Run(next, func(t *testing.T) {
			c := newHarness(t, 2, nil)
			asked, free := make(chan struct{}, 100), make(chan struct{})
			server := c.stub(func(http.ResponseWriter, *http.Request) {
				asked <- struct{}{}
				<-free
			})
			defer server.Close()
			defer close(free)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if code, failure := c.members[1].bind(1); code != http.StatusOK || failure != "" {
					t.Errorf("%d %s", code, failure)
				}
			}()
			<-asked
			time.Sleep(100 * time.Millisecond) // some looks at who leads, which still is the one that hangs
			if len(asked) > 0 {
				t.Error("a leader that takes its time was asked twice")
			}
			hanging := c.holder.Load()
			if next == "another" {
				c.elect(c.members[0])
			} else {
				c.elect(c.members[1])
			}
			if strings.Contains(next, "cannot") {
				c.holder.Store(hanging)
			}
			<-done
			if !c.bound(1) {
				t.Error("the pod is not bound")
			}
		})
	}
}

// TestForwardLookAlike: a 503 of the leader is its response, and is not asked for again.
func TestForwardLookAlike(t *testing.T) {
	c := newHarness(t, 2, nil)
	var attempts atomic.Int64
	c.stub(func(w http.ResponseWriter, _ *http.Request) {
		attempts.Add(1)
		http.Error(w, "the log is down", http.StatusServiceUnavailable)
	})
	resp, text := raw(t, http.MethodPost, c.members[1].rest.URL+"/v1/pool", `{}`, nil)
	if resp.StatusCode != http.StatusServiceUnavailable || text != "the log is down\n" || attempts.Load() != 1 {
		t.Errorf("%d %s, %d attempts", resp.StatusCode, text, attempts.Load())
	}
}

// TestForwardKeepsConnections: requests one after the other share one connection, also after refusals.
func TestForwardKeepsConnections(t *testing.T) {
	c := newHarness(t, 2, nil)
	var remotes sync.Map
	var asked atomic.Int64
	c.stub(func(w http.ResponseWriter, r *http.Request) {
		remotes.Store(r.RemoteAddr, true)
		if asked.Add(1)%2 == 1 {
			w.Header().Set("X-Galaxy-Not-Leader", "stub")
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"Error":""}`)
	})
	for range 10 {
		if code, failure := c.members[1].bind(1); code != http.StatusOK || failure != "" {
			t.Fatal(code, failure)
		}
	}
	var all []string
	remotes.Range(func(k, _ any) bool { all = append(all, k.(string)); return true })
	if slices.Sort(all); len(all) != 1 {
		t.Errorf("connections %v", all)
	}
}

// deadlined notes how long a body may take to arrive.
type deadlined struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlined) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// TestForwardSlowBody: a body has to arrive in time, but that time does not end the wait for a leader.
func TestForwardSlowBody(t *testing.T) {
	c := newHarness(t, 1, nil)
	response := &deadlined{ResponseRecorder: httptest.NewRecorder()}
	c.members[0].rest.Config.Handler.ServeHTTP(response,
		httptest.NewRequest(http.MethodPost, "/v1/pool", strings.NewReader(`{"name":"p","size":1}`)))
	if response.Code != http.StatusOK || len(response.set) != 2 || time.Until(response.set[0]) > 30*time.Second ||
		!response.set[1].IsZero() {
		t.Errorf("%d %s, deadlines %v", response.Code, response.Body, response.set)
	}
}
