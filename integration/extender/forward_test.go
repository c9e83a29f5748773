package extender_test

import (
	"bytes"
	"context"
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

	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/extender/api"
	"galaxy/extender/forward"
	"galaxy/extender/scheduler"
	"galaxy/ipam"
)

func TestForwardBind(t *testing.T) {
	c := newCrew(t, 3, nil)
	for n, m := range c.members {
		if code, fault := m.bind(n); code != http.StatusOK || fault != "" || !c.bound(n) {
			t.Errorf("bind by replica %d: %d %s, bound %t", n, code, fault, c.bound(n))
		}
	}
	if passed := c.members[0].passed.Load(); passed != 2 {
		t.Errorf("%d requests were passed on, want those of the 2 followers", passed)
	}
	// A refusal is an answer, too, and comes back as it is.
	_, want := raw(t, http.MethodPost, c.members[0].scheduler.URL+"/v1/bind", `{"PodName":"none","PodNamespace":"ns1","Node":"node4"}`, nil)
	resp, got := raw(t, http.MethodPost, c.members[1].scheduler.URL+"/v1/bind", `{"PodName":"none","PodNamespace":"ns1","Node":"node4"}`, nil)
	if got != want || !strings.Contains(got, "not known") || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("a refusal: %v %s, want %s", resp.Header, got, want)
	}
	resp, got = raw(t, http.MethodPost, c.members[1].scheduler.URL+"/v1/bind", `{`, nil)
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(got, "not understood") {
		t.Errorf("a bad request: %d %s", resp.StatusCode, got)
	}
}

// TestForwardFilter: a follower answers by itself unless something has to be claimed; then the leader answers, in full.
func TestForwardFilter(t *testing.T) {
	c := newCrew(t, 2, nil)
	leader, follower := c.members[0], c.members[1]
	if code := ask(t, http.MethodPost, leader.rest.URL+"/v1/pool", `{"name":"pl","size":2}`, nil); code != http.StatusOK {
		t.Fatal(code)
	}
	follower.caughtUp()
	nodes := []string{}
	for _, name := range []string{"node1", "node2", "node4"} {
		nodes = append(nodes, nodeText(name, nodeIPs[name]))
	}
	body := func(pod string, whole bool) string {
		if whole {
			return fmt.Sprintf(`{"Pod":%s,"Nodes":{"items":[%s]}}`, pod, strings.Join(nodes, " ,  "))
		}
		return fmt.Sprintf(`{"Pod":%s,"NodeNames":["node1","node2","ghost","node4"]}`, pod)
	}
	for _, whole := range []bool{false, true} {
		for _, claims := range []bool{false, true} {
			before, pod := leader.passed.Load(), podText("ns1", "sts-1", "StatefulSet/sts", nil)
			if claims {
				pod = podText("ns1", fmt.Sprintf("pl-sts-%d", before), "StatefulSet/pl-sts", map[string]string{"pool": "pl"})
			}
			resp, got := raw(t, http.MethodPost, follower.scheduler.URL+"/v1/filter", body(pod, whole), nil)
			passed := leader.passed.Load() > before
			_, want := raw(t, http.MethodPost, leader.scheduler.URL+"/v1/filter", body(pod, whole), nil)
			if got != want || resp.StatusCode != http.StatusOK || !strings.Contains(got, "node4") || strings.Contains(got, "not lead") {
				t.Errorf("whole nodes %t, claim %t: %d %s\nthe leader says %s", whole, claims, resp.StatusCode, got, want)
			}
			if passed != claims {
				t.Errorf("whole nodes %t, claim %t: passed on: %t", whole, claims, passed)
			}
			follower.caughtUp()
		}
	}
	if held := leader.replica.View().Share(ipam.Owner{Pool: "pl"}).Held; held != 2 {
		t.Errorf("the pool holds %d addresses, want the 2 that were claimed", held)
	}
	_, got := raw(t, http.MethodPost, follower.scheduler.URL+"/v1/filter", body(podText("ns1", "pl-sts-7", "StatefulSet/pl-sts", map[string]string{"pool": "pl"}), false), nil)
	if !strings.Contains(got, `"Error":"`) || !strings.Contains(got, "pl") {
		t.Errorf("beyond the limit: %s", got)
	}
}

// TestForwardREST: writes go to the leader, and its answers come back whole; reads and what makes no sense stay.
func TestForwardREST(t *testing.T) {
	c := newCrew(t, 2, nil)
	leader, follower := c.members[0], c.members[1]
	for i, s := range []struct {
		method, path, body string
		code               int
		says               string
		stays              bool
	}{
		{"PUT", "/v1/ip/10.173.13.2", `{"poolName":"p","reason":"why not"}`, 200, `"poolName":"p"`, false},
		{"PUT", "/v1/ip/10.173.13.2", `{"poolName":"q"}`, 409, "10.173.13.2", false},
		{"PUT", "/v1/ip/nonsense", `{"poolName":"q"}`, 400, "is not an IP address", false},
		{"POST", "/v1/pool", `{"name":"p","size":100,"preAllocateIP":true}`, 202, "of 100", false},
		{"POST", "/v1/ip", `{"ips":[{"ip":"10.173.13.2","poolName":"other"}]}`, 202, `"unreleased":["10.173.13.2"]`, false},
		{"POST", "/v1/ip", `{"ips":[{"ip":"10.173.13.2","poolName":"p"}]}`, 200, `"code":200`, false},
		{"DELETE", "/v1/pool/p", ``, 200, `"code":200`, false},
		{"DELETE", "/v1/pool/p", ``, 404, "not found", false},
		{"GET", "/v1/ip/10.173.13.10", ``, 200, `"state"`, true},
		{"GET", "/v1/pool", ``, 200, `"pools"`, true},
		{"DELETE", "/v1/ip", ``, 405, "does not take DELETE", true},
		{"POST", "/v1/nothing", `{}`, 404, "has nothing here", true},
	} {
		before := leader.passed.Load()
		resp, text := raw(t, s.method, follower.rest.URL+s.path, s.body, map[string]string{"Content-Type": "application/json"})
		if resp.StatusCode != s.code || !strings.Contains(text, s.says) || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%d %s %s: %d %v %s, want %d and %s", i, s.method, s.path, resp.StatusCode, resp.Header, text, s.code, s.says)
		}
		if stayed := leader.passed.Load() == before; stayed != s.stays {
			t.Errorf("%d %s %s: stayed: %t", i, s.method, s.path, stayed)
		}
	}
}

// TestForwardLoop: replicas that take each other for the leader refuse each other's requests; none goes round.
// A replica answers reads on what it knows, and has the leader answer those that want the newest.
func TestFreshReads(t *testing.T) {
	c := newCrew(t, 2, nil)
	leader, follower := c.members[0], c.members[1]
	for path, passes := range map[string]int64{"/v1/ip": 0, "/v1/ip?fresh=true": 1, "/v1/pool?fresh=true": 1, "/v1/ip/10.173.13.2?fresh=true": 1, "/v1/ip/10.173.13.2?fresh=no": 0} {
		before := leader.passed.Load()
		if code := ask(t, http.MethodGet, follower.rest.URL+path, "", nil); code != http.StatusOK || leader.passed.Load()-before != passes {
			t.Errorf("%s: %d, %d passed on, want %d", path, code, leader.passed.Load()-before, passes)
		}
	}
	var state api.StateAnswer
	if ask(t, http.MethodGet, follower.rest.URL+"/v1/state?fresh=true", "", &state); !state.Leading {
		t.Error("the leader is asked how it is, and another answers")
	}
	if code := ask(t, http.MethodGet, leader.rest.URL+"/v1/ip?fresh=true", "", nil); code != http.StatusOK {
		t.Error(code)
	}
}

func TestForwardLoop(t *testing.T) {
	c := newCrew(t, 2, func(s *scheduler.Config, _ *forward.Config) { s.Timeout = 200 * time.Millisecond })
	c.members[0].follow()
	c.holder.Store(c.members[1].peer())
	c.members[0].forwarder.Forget()
	if code, fault := c.members[0].bind(1); code != http.StatusOK || !strings.Contains(fault, "no leader has answered in time") || !strings.Contains(fault, "does not lead") {
		t.Errorf("bind: %d %q", code, fault)
	}
	if passed := c.members[0].passed.Load(); passed != 0 {
		t.Errorf("%d requests came back", passed)
	}
	if c.members[1].passed.Load() < 2 {
		t.Error("the request was not tried again")
	}
	plain := fmt.Sprintf(`{"Pod":%s,"NodeNames":["node4"]}`, podText("ns1", "sts-1", "StatefulSet/sts", nil))
	for _, s := range []struct{ url, method, body string }{
		{c.members[0].scheduler.URL + "/v1/bind", "POST", bindBody(1)},
		{c.members[0].scheduler.URL + "/v1/filter", "POST", plain},
		{c.members[0].rest.URL + "/v1/pool/x", "DELETE", ""},
	} {
		resp, text := raw(t, s.method, s.url, s.body, map[string]string{forward.HeaderForwardedBy: "somebody"})
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("X-Galaxy-Not-Leader") != "replica-0" || !strings.Contains(text, "does not lead") {
			t.Errorf("%s: %d %v %s", s.url, resp.StatusCode, resp.Header, text)
		}
	}
	if passed := c.members[1].passed.Load(); c.bound(1) || passed > 100 {
		t.Errorf("bound: %t, passed on %d times", c.bound(1), passed)
	}
}

// TestForwardFailover plays what may happen to the leader while a request is on its way; the request must succeed.
func TestForwardFailover(t *testing.T) {
	for name, play := range map[string]func(c *crew, first, second, asked *member){
		"nobody leads, then another": func(c *crew, first, second, _ *member) {
			c.holder.Store(nil)
			first.follow()
			c.later(60*time.Millisecond, func() { c.elect(second) })
		},
		"nobody leads, then this one": func(c *crew, first, _, asked *member) {
			c.holder.Store(nil)
			first.follow()
			c.later(60*time.Millisecond, func() { c.elect(asked) })
		},
		"its key names it but it has only been elected": func(c *crew, first, _, asked *member) {
			first.follow()
			c.holder.Store(asked.peer())
			c.later(60*time.Millisecond, func() { c.elect(asked) })
		},
		"killed, then another": func(c *crew, first, second, asked *member) {
			if code, fault := asked.bind(8); code != http.StatusOK || fault != "" { // so that a connection is there
				c.t.Fatal(code, fault)
			}
			first.kill()
			c.later(60*time.Millisecond, func() { c.elect(second) })
		},
		"an old key, of one that follows again": func(c *crew, first, second, asked *member) {
			if code, fault := asked.bind(8); code != http.StatusOK || fault != "" { // so that the leader is remembered
				c.t.Fatal(code, fault)
			}
			first.follow()
			c.elect(second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrew(t, 3, nil)
			play(c, c.members[0], c.members[1], c.members[2])
			if code, fault := c.members[2].bind(1); code != http.StatusOK || fault != "" || !c.bound(1) {
				t.Errorf("bind: %d %q, bound %t", code, fault, c.bound(1))
			}
		})
	}
}

// TestForwardDeposed: whoever led when the request came, and is deposed before it is decided, passes it on.
func TestForwardDeposed(t *testing.T) {
	for _, what := range []string{"bind", "filter", "pool", "release", "passed on"} {
		for _, loss := range []error{eventlog.ErrFenced, eventlog.ErrOutcomeUnknown} {
			t.Run(fmt.Sprintf("%s, %v", what, loss), func(t *testing.T) {
				c := newCrew(t, 3, nil)
				if code := ask(t, http.MethodPost, c.members[0].rest.URL+"/v1/pool", `{"name":"pl","size":2}`, nil); code != http.StatusOK {
					t.Fatal(code)
				}
				if code := ask(t, http.MethodPut, c.members[0].rest.URL+"/v1/ip/10.173.13.2", `{"poolName":"p"}`, nil); code != http.StatusOK {
					t.Fatal(code)
				}
				c.members[1].caughtUp()
				var once sync.Once
				elected := make(chan struct{})
				c.log.SetFault(func(string, eventlog.Head) (fault memlog.Fault) {
					once.Do(func() {
						fault.Err = loss
						fence := c.fence()
						go func() {
							defer close(elected)
							time.Sleep(20 * time.Millisecond)
							m := c.members[1]
							m.run(func(ctx context.Context) error { return m.replica.Lead(ctx, fence) })
							c.holder.Store(m.peer())
						}()
					})
					return fault
				})
				asked := c.members[0]
				if what == "passed on" {
					asked = c.members[2]
				}
				switch what {
				case "bind", "passed on":
					if code, fault := asked.bind(1); code != http.StatusOK || fault != "" || !c.bound(1) {
						t.Errorf("%d %q, bound %t", code, fault, c.bound(1))
					}
				case "filter":
					pod := podText("ns1", "pl-sts-0", "StatefulSet/pl-sts", map[string]string{"pool": "pl"})
					_, got := raw(t, http.MethodPost, asked.scheduler.URL+"/v1/filter", fmt.Sprintf(`{"Pod":%s,"NodeNames":["node4"]}`, pod), nil)
					if !strings.Contains(got, `"NodeNames":["node4"]`) || !strings.Contains(got, `"Error":""`) {
						t.Error(got)
					}
				case "pool":
					resp, got := raw(t, http.MethodPost, asked.rest.URL+"/v1/pool", `{"name":"new","size":1}`, nil)
					if resp.StatusCode != http.StatusOK {
						t.Error(resp.StatusCode, got)
					}
				case "release":
					resp, got := raw(t, http.MethodPost, asked.rest.URL+"/v1/ip", `{"ips":[{"ip":"10.173.13.2","poolName":"p"}]}`, nil)
					if resp.StatusCode != http.StatusOK || strings.Contains(got, "unreleased") {
						t.Error(resp.StatusCode, got)
					}
				}
				<-elected
				if asked != c.members[2] && c.members[1].passed.Load() == 0 {
					t.Error("nothing was passed on")
				}
			})
		}
	}
}

// TestForwardDirectory: requests that wait for a leader share the reads of who leads.
func TestForwardDirectory(t *testing.T) {
	c := newCrew(t, 2, func(_ *scheduler.Config, f *forward.Config) { f.Recheck = time.Minute })
	c.holder.Store(nil)
	c.members[0].follow()
	c.members[1].forwarder.Forget()
	before, started := c.reads.Load(), time.Now()
	c.later(200*time.Millisecond, func() { c.elect(c.members[0]) })
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if code, fault := c.members[1].bind(1); code != http.StatusOK || fault != "" {
				t.Errorf("%d %s", code, fault)
			}
		})
	}
	all.Wait()
	reads := c.reads.Load() - before
	if most := int64(time.Since(started)/(5*time.Millisecond)) + 2; reads < 2 || reads > most {
		t.Errorf("%d reads in %s, want 2 to %d", reads, time.Since(started), most)
	}
	before = c.reads.Load()
	for range 20 {
		if code, fault := c.members[1].bind(1); code != http.StatusOK || fault != "" {
			t.Errorf("%d %s", code, fault)
		}
	}
	if reads := c.reads.Load() - before; reads != 0 {
		t.Errorf("%d reads while all was well", reads)
	}
}

// TestForwardTimeout: when the time of a request is up, its answer says so in the form of its kind.
func TestForwardTimeout(t *testing.T) {
	c := newCrew(t, 2, func(s *scheduler.Config, _ *forward.Config) { s.Timeout = 100 * time.Millisecond })
	if code := ask(t, http.MethodPost, c.members[0].rest.URL+"/v1/pool", `{"name":"pl","size":2}`, nil); code != http.StatusOK {
		t.Fatal(code)
	}
	m := c.members[1]
	m.caughtUp()
	c.members[0].follow()
	c.holder.Store(nil)
	if code, fault := m.bind(1); code != http.StatusOK || !strings.Contains(fault, "no leader has answered in time") || !strings.Contains(fault, "nobody leads") {
		t.Errorf("bind: %d %q", code, fault)
	}
	pod := podText("ns1", "pl-sts-0", "StatefulSet/pl-sts", map[string]string{"pool": "pl"})
	var result extenderv1.ExtenderFilterResult
	code := ask(t, http.MethodPost, m.scheduler.URL+"/v1/filter", fmt.Sprintf(`{"Pod":%s,"NodeNames":["node4"]}`, pod), &result)
	if code != http.StatusOK || !strings.Contains(result.Error, "no leader has answered in time") || result.NodeNames != nil {
		t.Errorf("filter: %d %+v", code, result)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	answer := httptest.NewRecorder()
	m.rest.Config.Handler.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodDelete, "/v1/pool/pl", nil))
	if answer.Code != http.StatusServiceUnavailable || !strings.Contains(answer.Body.String(), `"message":"server error: no leader has answered in time`) {
		t.Errorf("REST: %d %s", answer.Code, answer.Body)
	}
}

// stub is a leader that does as it is told.
func (c *crew) stub(handler http.HandlerFunc) *httptest.Server {
	server := httptest.NewServer(handler)
	c.t.Cleanup(server.Close)
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
	c := newCrew(t, 2, nil)
	if code := ask(t, http.MethodPost, c.members[0].rest.URL+"/v1/pool", `{"name":"pl","size":2}`, nil); code != http.StatusOK {
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
		{"POST", m.scheduler.URL, "/v1/filter?x=%2f", fmt.Sprintf(`{"Pod":%s, "more":%q, "NodeNames":[ "node4" ]}`, pod, strings.Repeat("x", 20<<20))},
		{"PUT", m.rest.URL, "/v1/ip/10.173.13.2%20?a=b&a=%26", strings.Repeat("y", 1<<20)},
		{"DELETE", m.rest.URL, "/v1/pool/a%2Fb", ""},
	} {
		resp, text := raw(t, s.method, s.url+s.path, s.body, map[string]string{
			"Content-Type": "application/json", "Authorization": "Bearer t", "X-Own": "1", "Keep-Alive": "300", "Accept-Encoding": "identity",
		})
		if resp.StatusCode != http.StatusTeapot || text != long || resp.Header.Get("Content-Type") != "text/odd; charset=x" || resp.Header.Get("Retry-After") != "7" {
			t.Errorf("%s: %d %v %d bytes", s.path, resp.StatusCode, resp.Header, len(text))
		}
		got.Lock()
		if got.method != s.method || got.uri != s.path || got.body != s.body {
			t.Errorf("%s %s of %d bytes came as %s %s of %d bytes", s.method, s.path, len(s.body), got.method, got.uri, len(got.body))
		}
		for name, want := range map[string]string{
			forward.HeaderForwardedBy: "replica-1", "Authorization": "Bearer t", "X-Own": "1", "Content-Type": "application/json", "Keep-Alive": "",
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

// TestForwardCut: an answer that breaks off is asked for again while nothing of it was passed back; later the client's
// connection breaks off, too, so that a part is not taken for the whole.
func TestForwardCut(t *testing.T) {
	c := newCrew(t, 2, nil)
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
		defer resp.Body.Close()
		var read []byte
		if read, err = io.ReadAll(resp.Body); err == nil {
			t.Errorf("%d bytes were taken for a whole answer", len(read))
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
			c := newCrew(t, 2, nil)
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
				if code, fault := c.members[1].bind(1); code != http.StatusOK || fault != "" {
					t.Errorf("%d %s", code, fault)
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

// TestForwardLookAlike: a 503 of the leader is its answer, and is not asked for again.
func TestForwardLookAlike(t *testing.T) {
	c := newCrew(t, 2, nil)
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
	c := newCrew(t, 2, nil)
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
		if code, fault := c.members[1].bind(1); code != http.StatusOK || fault != "" {
			t.Fatal(code, fault)
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
	c := newCrew(t, 1, nil)
	answer := &deadlined{ResponseRecorder: httptest.NewRecorder()}
	c.members[0].rest.Config.Handler.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/v1/pool", strings.NewReader(`{"name":"p","size":1}`)))
	if answer.Code != http.StatusOK || len(answer.set) != 2 || time.Until(answer.set[0]) > 30*time.Second || !answer.set[1].IsZero() {
		t.Errorf("%d %s, deadlines %v", answer.Code, answer.Body, answer.set)
	}
}
