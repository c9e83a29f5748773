package extender_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
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
	c := newHarness(t, 3, nil)
	for n, m := range c.members {
		if code, failure := m.bind(n); code != http.StatusOK || failure != "" || !c.bound(n) {
			t.Errorf("bind by replica %d: %d %s, bound %t", n, code, failure, c.bound(n))
		}
	}
	if passed := c.members[0].passed.Load(); passed != 2 {
		t.Errorf("%d requests were passed on, want those of the 2 followers", passed)
	}
	// A refusal is a response, too, and comes back as it is.
	_, want := raw(t, http.MethodPost, c.members[0].scheduler.URL+"/v1/bind",
		`{"PodName":"none","PodNamespace":"ns1","Node":"node4"}`, nil)
	resp, got := raw(t, http.MethodPost, c.members[1].scheduler.URL+"/v1/bind",
		`{"PodName":"none","PodNamespace":"ns1","Node":"node4"}`, nil)
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
	c := newHarness(t, 2, nil)
	leader, follower := c.members[0], c.members[1]
	if code := ask(t, http.MethodPost, leader.rest.URL+"/v1/pool", `{"name":"pl","size":2}`,
		nil); code != http.StatusOK {
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
				pod = podText("ns1", fmt.Sprintf("pl-sts-%d", before), "StatefulSet/pl-sts",
					map[string]string{"pool": "pl"})
			}
			resp, got := raw(t, http.MethodPost, follower.scheduler.URL+"/v1/filter", body(pod, whole), nil)
			passed := leader.passed.Load() > before
			_, want := raw(t, http.MethodPost, leader.scheduler.URL+"/v1/filter", body(pod, whole), nil)
			if got != want || resp.StatusCode != http.StatusOK || !strings.Contains(got, "node4") ||
				strings.Contains(got, "not lead") {
				t.Errorf("whole nodes %t, claim %t: %d %s\nthe leader says %s", whole, claims, resp.StatusCode, got,
					want)
			}
			if passed != claims {
				t.Errorf("whole nodes %t, claim %t: passed on: %t", whole, claims, passed)
			}
			follower.caughtUp()
		}
	}
	if held := leader.replica.View().Scope(ipam.Owner{Pool: "pl"}).Held; held != 2 {
		t.Errorf("the pool holds %d addresses, want the 2 that were claimed", held)
	}
	_, got := raw(t, http.MethodPost, follower.scheduler.URL+"/v1/filter",
		body(podText("ns1", "pl-sts-7", "StatefulSet/pl-sts", map[string]string{"pool": "pl"}), false), nil)
	if !strings.Contains(got, `"Error":"`) || !strings.Contains(got, "pl") {
		t.Errorf("beyond the limit: %s", got)
	}
}

// TestForwardREST: writes go to the leader, and its responses come back whole; reads and what makes no sense stay.
func TestForwardREST(t *testing.T) {
	c := newHarness(t, 2, nil)
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
		{"POST", "/v1/ip", `{"ips":[{"ip":"10.173.13.2","poolName":"other"}]}`, 202, `"unreleased":["10.173.13.2"]`,
			false},
		{"POST", "/v1/ip", `{"ips":[{"ip":"10.173.13.2","poolName":"p"}]}`, 200, `"code":200`, false},
		{"DELETE", "/v1/pool/p", ``, 200, `"code":200`, false},
		{"DELETE", "/v1/pool/p", ``, 404, "not found", false},
		{"GET", "/v1/ip/10.173.13.10", ``, 200, `"state"`, true},
		{"GET", "/v1/pool", ``, 200, `"pools"`, true},
		{"DELETE", "/v1/ip", ``, 405, "does not take DELETE", true},
		{"POST", "/v1/nothing", `{}`, 404, "has nothing here", true},
	} {
		before := leader.passed.Load()
		resp, text := raw(t, s.method, follower.rest.URL+s.path, s.body,
			map[string]string{"Content-Type": "application/json"})
		if resp.StatusCode != s.code || !strings.Contains(text, s.says) ||
			!strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%d %s %s: %d %v %s, want %d and %s", i, s.method, s.path, resp.StatusCode, resp.Header, text,
				s.code, s.says)
		}
		if stayed := leader.passed.Load() == before; stayed != s.stays {
			t.Errorf("%d %s %s: stayed: %t", i, s.method, s.path, stayed)
		}
	}
}

// A replica answers reads on what it knows, and has the leader answer those that want the newest.
func TestFreshReads(t *testing.T) {
	c := newHarness(t, 2, nil)
	leader, follower := c.members[0], c.members[1]
	for path, passes := range map[string]int64{"/v1/ip": 0, "/v1/ip?fresh=true": 1, "/v1/pool?fresh=true": 1,
		"/v1/ip/10.173.13.2?fresh=true": 1, "/v1/ip/10.173.13.2?fresh=no": 0, "/healthz?fresh=true": 0,
		"/openapi.json?fresh=true": 0} {
		before := leader.passed.Load()
		if code := ask(t, http.MethodGet, follower.rest.URL+path, "", nil); code != http.StatusOK ||
			leader.passed.Load()-before != passes {
			t.Errorf("%s: %d, %d passed on, want %d", path, code, leader.passed.Load()-before, passes)
		}
	}
	var state api.StateResponse
	if ask(t, http.MethodGet, follower.rest.URL+"/v1/state?fresh=true", "", &state); !state.Leading {
		t.Error("the leader is asked how it is, and another answers")
	}
	if code := ask(t, http.MethodGet, leader.rest.URL+"/v1/ip?fresh=true", "", nil); code != http.StatusOK {
		t.Error(code)
	}
}

// A read has no body: whoever promises one, and stalls, has no room kept for it.
func TestReadsHoldNoBody(t *testing.T) {
	c := newHarness(t, 1, nil)
	server, err := url.Parse(c.members[0].rest.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", server.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	if _, err := fmt.Fprintf(conn, "GET /v1/ip?fresh=true HTTP/1.1\r\nHost: %s\r\nContent-Length: 1048576\r\n\r\n{",
		server.Host); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a read whose body never comes: %v, %v", resp, err)
	}
}

// TestForwardLoop: replicas that take each other for the leader refuse each other's requests; none goes round.
func TestForwardLoop(t *testing.T) {
	c := newHarness(t, 2, func(s *scheduler.Config, _ *forward.Config) { s.Timeout = 200 * time.Millisecond })
	c.members[0].follow()
	c.holder.Store(c.members[1].peer())
	c.members[0].forwarder.Forget()
	if code, failure := c.members[0].bind(1); code != http.StatusOK ||
		!strings.Contains(failure, "no leader has answered in time") || !strings.Contains(failure, "does not lead") {
		t.Errorf("bind: %d %q", code, failure)
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
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("X-Galaxy-Not-Leader") != "replica-0" ||
			!strings.Contains(text, "does not lead") {
			t.Errorf("%s: %d %v %s", s.url, resp.StatusCode, resp.Header, text)
		}
	}
	if passed := c.members[1].passed.Load(); c.bound(1) || passed > 100 {
		t.Errorf("bound: %t, passed on %d times", c.bound(1), passed)
	}
}

// TestForwardFailover plays what may happen to the leader while a request is on its way; the request must succeed.
func TestForwardFailover(t *testing.T) {
	for name, play := range map[string]func(c *harness, first, second, asked *member){
		"nobody leads, then another": func(c *harness, first, second, _ *member) {
			c.holder.Store(nil)
			first.follow()
			c.later(60*time.Millisecond, func() { c.elect(second) })
		},
		"nobody leads, then this one": func(c *harness, first, _, asked *member) {
			c.holder.Store(nil)
			first.follow()
			c.later(60*time.Millisecond, func() { c.elect(asked) })
		},
		"its key names it but it has only been elected": func(c *harness, first, _, asked *member) {
			first.follow()
			c.holder.Store(asked.peer())
			c.later(60*time.Millisecond, func() { c.elect(asked) })
		},
		"killed, then another": func(c *harness, first, second, asked *member) {
			if code, failure := asked.bind(8); code != http.StatusOK || failure != "" { // so that a connection is there
				c.t.Fatal(code, failure)
			}
			first.kill()
			c.later(60*time.Millisecond, func() { c.elect(second) })
		},
		"an old key, of one that follows again": func(c *harness, first, second, asked *member) {
			// so that the leader is remembered
			if code, failure := asked.bind(8); code != http.StatusOK || failure != "" {
				c.t.Fatal(code, failure)
			}
			first.follow()
			c.elect(second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newHarness(t, 3, nil)
			play(c, c.members[0], c.members[1], c.members[2])
			if code, failure := c.members[2].bind(1); code != http.StatusOK || failure != "" || !c.bound(1) {
				t.Errorf("bind: %d %q, bound %t", code, failure, c.bound(1))
			}
		})
	}
}

// TestForwardDeposed: whoever led when the request came, and is deposed before it is decided, passes it on.
func TestForwardDeposed(t *testing.T) {
	for _, what := range []string{"bind", "filter", "pool", "release", "passed on"} {
		for _, loss := range []error{eventlog.ErrFenced, eventlog.ErrOutcomeUnknown} {
			t.Run(fmt.Sprintf("%s, %v", what, loss), func(t *testing.T) {
				c := newHarness(t, 3, nil)
				if code := ask(t, http.MethodPost, c.members[0].rest.URL+"/v1/pool", `{"name":"pl","size":2}`,
					nil); code != http.StatusOK {
					t.Fatal(code)
				}
				if code := ask(t, http.MethodPut, c.members[0].rest.URL+"/v1/ip/10.173.13.2", `{"poolName":"p"}`,
					nil); code != http.StatusOK {
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
					if code, failure := asked.bind(1); code != http.StatusOK || failure != "" || !c.bound(1) {
						t.Errorf("%d %q, bound %t", code, failure, c.bound(1))
					}
				case "filter":
					pod := podText("ns1", "pl-sts-0", "StatefulSet/pl-sts", map[string]string{"pool": "pl"})
					_, got := raw(t, http.MethodPost, asked.scheduler.URL+"/v1/filter",
						fmt.Sprintf(`{"Pod":%s,"NodeNames":["node4"]}`, pod), nil)
					if !strings.Contains(got, `"NodeNames":["node4"]`) || !strings.Contains(got, `"Error":""`) {
						t.Error(got)
					}
				case "pool":
					resp, got := raw(t, http.MethodPost, asked.rest.URL+"/v1/pool", `{"name":"new","size":1}`, nil)
					if resp.StatusCode != http.StatusOK {
						t.Error(resp.StatusCode, got)
					}
				case "release":
					resp, got := raw(t, http.MethodPost, asked.rest.URL+"/v1/ip",
						`{"ips":[{"ip":"10.173.13.2","poolName":"p"}]}`, nil)
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
	c := newHarness(t, 2, func(_ *scheduler.Config, f *forward.Config) { f.Recheck = time.Minute })
	c.holder.Store(nil)
	c.members[0].follow()
	c.members[1].forwarder.Forget()
	before, started := c.reads.Load(), time.Now()
	c.later(200*time.Millisecond, func() { c.elect(c.members[0]) })
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if code, failure := c.members[1].bind(1); code != http.StatusOK || failure != "" {
				t.Errorf("%d %s", code, failure)
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
		if code, failure := c.members[1].bind(1); code != http.StatusOK || failure != "" {
			t.Errorf("%d %s", code, failure)
		}
	}
	if reads := c.reads.Load() - before; reads != 0 {
		t.Errorf("%d reads while all was well", reads)
	}
}

// TestForwardTimeout: when the time of a request is up, its response says so in the form of its kind.
func TestForwardTimeout(t *testing.T) {
	c := newHarness(t, 2, func(s *scheduler.Config, _ *forward.Config) { s.Timeout = 100 * time.Millisecond })
	if code := ask(t, http.MethodPost, c.members[0].rest.URL+"/v1/pool", `{"name":"pl","size":2}`,
		nil); code != http.StatusOK {
		t.Fatal(code)
	}
	m := c.members[1]
	m.caughtUp()
	c.members[0].follow()
	c.holder.Store(nil)
	if code, failure := m.bind(1); code != http.StatusOK ||
		!strings.Contains(failure, "no leader has answered in time") || !strings.Contains(failure, "nobody leads") {
		t.Errorf("bind: %d %q", code, failure)
	}
	pod := podText("ns1", "pl-sts-0", "StatefulSet/pl-sts", map[string]string{"pool": "pl"})
	var result extenderv1.ExtenderFilterResult
	code := ask(t, http.MethodPost, m.scheduler.URL+"/v1/filter", fmt.Sprintf(`{"Pod":%s,"NodeNames":["node4"]}`, pod),
		&result)
	if code != http.StatusOK || !strings.Contains(result.Error, "no leader has answered in time") ||
		result.NodeNames != nil {
		t.Errorf("filter: %d %+v", code, result)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	response := httptest.NewRecorder()
	m.rest.Config.Handler.ServeHTTP(response,
		httptest.NewRequestWithContext(ctx, http.MethodDelete, "/v1/pool/pl", nil))
	if response.Code != http.StatusServiceUnavailable ||
		!strings.Contains(response.Body.String(), `"message":"server error: no leader has answered in time`) {
		t.Errorf("REST: %d %s", response.Code, response.Body)
	}
}
