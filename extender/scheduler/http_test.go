package scheduler_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"galaxy/allocator"
	"galaxy/extender"
	"galaxy/extender/extendertest"
	"galaxy/extender/scheduler"
	"galaxy/projections"
)

func TestRefusals(t *testing.T) {
	b := newHarness(t, fixture)
	pod := `{"metadata":{"name":"p"}}`
	for _, c := range []struct {
		path, body, contentType string
		status                  int
		sentence                string
	}{
		{"/v1/filter", `{`, "", 400, "not understood"},
		{"/v1/filter", `[]`, "", 400, "want an object, have an array"},
		{"/v1/filter", ``, "", 400, "not understood"},
		{"/v1/filter", `{"Pod":null,"NodeNames":[]}`, "", 400, "no Pod"},
		{"/v1/filter", `{"Pod":` + pod + `}`, "", 400, "neither Nodes nor NodeNames"},
		{"/v1/filter", `{"Pod":` + pod + `,"Nodes":{},"NodeNames":[]}`, "", 400, "both"},
		{"/v1/filter", `{"Pod":` + pod + `,"NodeNames":["a",5]}`, "", 400,
			"NodeNames[1]: want a string, have a number"},
		{"/v1/filter", `{"Pod":` + pod + `,"NodeNames":["a",null]}`, "", 400, "want a name, have null"},
		{"/v1/filter", `{"Pod":` + pod + `,"Nodes":{"items":[null]}}`, "", 400, "want a Node, have null"},
		{"/v1/filter", `{"Pod":` + pod + `,"Nodes":{"items":[{"metadata":{"name":"a"}},{}]}}`, "", 400,
			"Nodes.items[1]: metadata.name is missing"},
		{"/v1/filter", `{"Pod":{"metadata":{"name":["x"]}},"NodeNames":[]}`, "", 400,
			"Pod.metadata.name: want a string, have an array"},
		{"/v1/filter", `{"Pod":` + pod + `,"NodeNames":[]} {}`, "", 400, "something follows"},
		{"/v1/filter", "{\"Pod\":" + pod + ",\"NodeNames\":[\"\xff\"]}", "", 400, "UTF-8"},
		{"/v1/filter", strings.Repeat(`{"a":`, 1<<20), "", 400, "depth"},
		{"/v1/filter", strings.Repeat(`[`, 1<<20), "", 400, "want an object"},
		{"/v1/filter", `{}`, "text/plain", 415, `"text/plain" is not understood; send JSON`},
		{"/v1/bind", `{}`, "application/x-www-form-urlencoded", 415, "Content-Type: application/json"},
		{"/v1/filter", `{}`, "application/json; charset=utf-8", 400, "no Pod"},
		{"/v1/prioritize", `{}`, "", 400, "no Pod"},
		{"/v1/bind", `{"PodName":"a"}`, "", 400, "needs PodName, PodNamespace and Node"},
		{"/v1/bind", `{"PodName":5}`, "", 400, "PodName: want a string, have a number"},
		{"/v1/bind", `{"PodName":"` + strings.Repeat("a", 1<<20) + `"}`, "", 413, "larger than"},
		{"/v1/preempt", `{}`, "", 400, "no Pod"},
		{"/v1/preempt", `{"Pod":` + pod + `,"NodeNameToVictims":{"n":{"Pods":[{}]}}}`, "", 400,
			"metadata.name is missing"},
		{"/v1/preempt", `{"Pod":` + pod + `,"NodeNameToMetaVictims":{"n":{"NumPDBViolations":1.5}}}`, "", 400,
			"whole number"},
	} {
		req, _ := http.NewRequest(http.MethodPost, b.scheduler.URL+c.path, strings.NewReader(c.body))
		if c.contentType != "" {
			req.Header.Set("Content-Type", c.contentType)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.status || !strings.Contains(string(text), c.sentence) || len(text) > 500 {
			t.Errorf("%s %.60s: %d %.300s, want %d and %q", c.path, c.body, resp.StatusCode, text, c.status, c.sentence)
		}
	}
	for path, want := range map[string]int{"/v1/filter": 405, "/v1/nothing": 404, "/healthy": 200, "/healthz": 200,
		"/readyz": 200} {
		if code := ask(t, http.MethodGet, b.scheduler.URL+path, "", nil); code != want {
			t.Errorf("GET %s: %d, want %d", path, code, want)
		}
	}
}

// No page of another site makes a browser bind a pod. A scheduler sends none of the headers that tell.
func TestVerbsFromBrowsers(t *testing.T) {
	b := newHarness(t, fixture)
	for header, value := range map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"} {
		response, text := raw(t, http.MethodPost, b.scheduler.URL+"/v1/bind", `{}`, map[string]string{header: value})
		if response.StatusCode != http.StatusForbidden || !strings.Contains(text, "a page of another site") {
			t.Errorf("%s %s: %d %s", header, value, response.StatusCode, text)
		}
	}
}

func TestHugeBody(t *testing.T) {
	b := newHarness(t, fixture)
	s := scheduler.New(scheduler.Config{Replica: b.Replica, Log: zap.NewNop(), MaxBody: 1 << 20})
	server := extendertest.Serve(t, s.Handler())
	// Without a length, so that only reading finds out.
	body := io.MultiReader(strings.NewReader(`{"Pod":"`), io.LimitReader(endless{}, 8<<20))
	resp, err := http.Post(server.URL+"/v1/filter", "application/json", body)
	if err != nil {
		t.Skipf("the connection was cut before the response: %v", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read from
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestSlowBody(t *testing.T) {
	b := newHarness(t, fixture)
	s := scheduler.New(scheduler.Config{Replica: b.Replica, Log: zap.NewNop()})
	server := httptest.NewUnstartedServer(s.Handler())
	server.Config.ReadTimeout = time.Minute
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is left to say
	_, _ = fmt.Fprintf(conn, "POST /v1/filter HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{")
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// broken panics when it is asked for a view.
type broken struct{ extender.Replica }

func (broken) View() *projections.View { panic("no view today") }
func (broken) Env() allocator.Env      { return allocator.Env{} }
func (broken) Unready() string         { return "the test says so" }

func TestPanic(t *testing.T) {
	core, lines := observer.New(zap.DebugLevel)
	s := scheduler.New(scheduler.Config{Replica: broken{}, Log: zap.New(core)})
	server := extendertest.Serve(t, s.Handler())
	body := fmt.Sprintf(`{"Pod":%s,"NodeNames":["a"]}`, podText("ns1", "p-0", "StatefulSet/p", nil))
	if code := ask(t, http.MethodPost, server.URL+"/v1/filter", body, nil); code != http.StatusInternalServerError {
		t.Errorf("status %d", code)
	}
	if lines.FilterMessageSnippet("panicked").Len() != 1 {
		t.Errorf("%d lines in the log", lines.Len())
	}
	if code := ask(t, http.MethodGet, server.URL+"/readyz", "", nil); code != http.StatusServiceUnavailable {
		t.Errorf("not ready: status %d", code)
	}
}
