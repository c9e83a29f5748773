package extender_test

import (
	"bufio"
	"bytes"
	"context"
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
	"galaxy/extender/api"
	"galaxy/extender/httpserver"
	"galaxy/extender/metrics"
	"galaxy/projections"
)

func TestRefusals(t *testing.T) {
	b := newBed(t, fixture)
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
		{"/v1/filter", `{"Pod":` + pod + `,"NodeNames":["a",5]}`, "", 400, "NodeNames[1]: want a string, have a number"},
		{"/v1/filter", `{"Pod":` + pod + `,"NodeNames":["a",null]}`, "", 400, "want a name, have null"},
		{"/v1/filter", `{"Pod":` + pod + `,"Nodes":{"items":[null]}}`, "", 400, "want a Node, have null"},
		{"/v1/filter", `{"Pod":` + pod + `,"Nodes":{"items":[{"metadata":{"name":"a"}},{}]}}`, "", 400, "Nodes.items[1]: metadata.name is missing"},
		{"/v1/filter", `{"Pod":{"metadata":{"name":["x"]}},"NodeNames":[]}`, "", 400, "Pod.metadata.name: want a string, have an array"},
		{"/v1/filter", `{"Pod":` + pod + `,"NodeNames":[]} {}`, "", 400, "something follows"},
		{"/v1/filter", "{\"Pod\":" + pod + ",\"NodeNames\":[\"\xff\"]}", "", 400, "UTF-8"},
		{"/v1/filter", strings.Repeat(`{"a":`, 1<<20), "", 400, "depth"},
		{"/v1/filter", strings.Repeat(`[`, 1<<20), "", 400, "want an object"},
		{"/v1/filter", `{}`, "text/plain", 415, "text/plain"},
		{"/v1/filter", `{}`, "application/json; charset=utf-8", 400, "no Pod"},
		{"/v1/prioritize", `{}`, "", 400, "no Pod"},
		{"/v1/bind", `{"PodName":"a"}`, "", 400, "needs PodName, PodNamespace and Node"},
		{"/v1/bind", `{"PodName":5}`, "", 400, "PodName: want a string, have a number"},
		{"/v1/bind", `{"PodName":"` + strings.Repeat("a", 1<<20) + `"}`, "", 413, "larger than"},
		{"/v1/preempt", `{}`, "", 400, "no Pod"},
		{"/v1/preempt", `{"Pod":` + pod + `,"NodeNameToVictims":{"n":{"Pods":[{}]}}}`, "", 400, "metadata.name is missing"},
		{"/v1/preempt", `{"Pod":` + pod + `,"NodeNameToMetaVictims":{"n":{"NumPDBViolations":1.5}}}`, "", 400, "whole number"},
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
		resp.Body.Close()
		if resp.StatusCode != c.status || !strings.Contains(string(text), c.sentence) || len(text) > 500 {
			t.Errorf("%s %.60s: %d %.300s, want %d and %q", c.path, c.body, resp.StatusCode, text, c.status, c.sentence)
		}
	}
	for path, want := range map[string]int{"/v1/filter": 405, "/v1/nothing": 404, "/healthy": 200, "/healthz": 200, "/readyz": 200} {
		if code := ask(t, http.MethodGet, b.scheduler.URL+path, "", nil); code != want {
			t.Errorf("GET %s: %d, want %d", path, code, want)
		}
	}
	for _, c := range []struct {
		method, path string
		want         int
	}{{"GET", "/v1/nothing", 404}, {"DELETE", "/v1/ip", 405}, {"POST", "/v1/pool/x", 405}, {"GET", "/metrics", 200}, {"GET", "/healthz", 200}} {
		var f api.Failure
		into := any(&f)
		if c.want == 200 {
			into = nil
		}
		if code := ask(t, c.method, b.rest.URL+c.path, "", into); code != c.want || into != nil && f.Code != c.want {
			t.Errorf("%s %s: %d %+v, want %d", c.method, c.path, code, f, c.want)
		}
	}
}

func TestHugeBody(t *testing.T) {
	b := newBed(t, fixture)
	s := extender.NewScheduler(extender.SchedulerConfig{Replica: b.replica, Metrics: b.metrics, Log: zap.NewNop(), MaxBody: 1 << 20})
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	// Without a length, so that only reading finds out.
	body := io.MultiReader(strings.NewReader(`{"Pod":"`), io.LimitReader(endless{}, 8<<20))
	resp, err := http.Post(server.URL+"/v1/filter", "application/json", body)
	if err != nil {
		t.Skipf("the connection was cut before the answer: %v", err)
	}
	defer resp.Body.Close()
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
	b := newBed(t, fixture)
	s := extender.NewScheduler(extender.SchedulerConfig{Replica: b.replica, Metrics: b.metrics, Log: zap.NewNop()})
	server := httptest.NewUnstartedServer(s.Handler())
	server.Config.ReadTimeout = 200 * time.Millisecond
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/filter HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{")
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
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
	s := extender.NewScheduler(extender.SchedulerConfig{Replica: broken{}, Metrics: metrics.New(nil), Log: zap.New(core)})
	server := httptest.NewServer(s.Handler())
	defer server.Close()
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

func TestMetrics(t *testing.T) {
	b := populated(t)
	b.objects()
	b.filter(podText("ns1", "new-0", "StatefulSet/new", nil), four...)
	resp, err := http.Get(b.rest.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	for _, want := range []string{
		`galaxy_ip_counter{first_ip="10.173.13.2",subnet="10.173.13.0/24",type="allocated"} 4`,
		`galaxy_ip_counter{first_ip="10.173.13.2",subnet="10.173.13.0/24",type="total"} 6`,
		`galaxy_ip_counter{first_ip="10.173.13.2",subnet="10.173.13.0/24",type="cooling"} 0`,
		`galaxy_schedule_latency_bucket{func="filter",le="0.1"} 2`,
		`galaxy_schedule_latency_bucket{func="bind",le="6.4"} 0`,
		"galaxy_log_append_seconds_count", "galaxy_log_batch_events_sum", "galaxy_log_conflicts_total 0", "galaxy_replay_events_total",
		`galaxy_projection_position{stream="ipam"} `, "galaxy_leading 1", "galaxy_ip_draining 0",
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestServer(t *testing.T) {
	s := httpserver.New(zap.NewNop())
	entered, leave := make(chan struct{}), make(chan struct{})
	at, err := s.Listen("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = w.Write([]byte("done"))
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + at.String())
		if err != nil {
			answer <- err.Error()
			return
		}
		text, _ := io.ReadAll(resp.Body)
		answer <- string(text)
	}()
	<-entered
	cancel()
	time.Sleep(20 * time.Millisecond)
	close(leave)
	if got := <-answer; got != "done" {
		t.Errorf("the request in hand at the end got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := httpserver.New(zap.NewNop()).Listen("nonsense", nil); err == nil {
		t.Error("no port: no error")
	}
}

// TestOpenAPI asks every operation of the document, and compares its answers with the document's schemas.
func TestOpenAPI(t *testing.T) {
	b := populated(t)
	var document struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			RequestBody *struct {
				Content map[string]struct{ Schema map[string]any }
			}
			Responses map[string]struct {
				Content map[string]struct{ Schema map[string]any }
			}
		}
		Components struct{ Schemas map[string]map[string]any }
	}
	if code := ask(t, http.MethodGet, b.rest.URL+"/openapi.json", "", &document); code != 200 || document.OpenAPI != "3.1.0" {
		t.Fatalf("openapi.json: %d %s", code, document.OpenAPI)
	}
	bodies := map[string]string{
		"post /v1/ip": `{"ips":[{"ip":"10.0.80.2","podName":"x"}]}`, "put /v1/ip/{ip}": `{"poolName":"p"}`, "post /v1/pool": `{"name":"p","size":3,"preAllocateIP":true}`,
	}
	want := []string{"get /v1/ip", "post /v1/ip", "get /v1/ip/{ip}", "put /v1/ip/{ip}", "get /v1/ip/{ip}/history",
		"post /v1/pool", "get /v1/pool", "get /v1/pool/{name}", "delete /v1/pool/{name}", "get /v1/log", "get /v1/state"}
	operations := 0
	for _, methods := range document.Paths {
		operations += len(methods)
	}
	if operations != len(want) {
		t.Errorf("%d operations, want %d", operations, len(want))
	}
	for _, name := range want {
		method, path, _ := strings.Cut(name, " ")
		op, ok := document.Paths[path][method]
		if !ok || op.OperationID == "" {
			t.Errorf("%s is not in the document", name)
			continue
		}
		if (bodies[name] != "") != (op.RequestBody != nil) {
			t.Errorf("%s: a body in the document: %t", name, op.RequestBody != nil)
		}
		url := b.rest.URL + strings.NewReplacer("{ip}", "10.0.70.4", "{name}", "p").Replace(path)
		var answer any
		code := ask(t, strings.ToUpper(method), url, bodies[name], &answer)
		response, ok := op.Responses[fmt.Sprint(code)]
		if !ok {
			t.Errorf("%s answers %d (%v), which is not in the document", name, code, answer)
			continue
		}
		for _, fault := range conforms(document.Components.Schemas, response.Content["application/json"].Schema, answer, name) {
			t.Error(fault)
		}
	}
}

// conforms checks the shape of a value: types, required and unknown members.
func conforms(schemas map[string]map[string]any, schema map[string]any, value any, at string) (faults []string) {
	if ref, ok := schema["$ref"].(string); ok {
		schema = schemas[ref[strings.LastIndexByte(ref, '/')+1:]]
	}
	switch value := value.(type) {
	case map[string]any:
		members, _ := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := value[name.(string)]; !ok {
				faults = append(faults, fmt.Sprintf("%s: no %s, which is required", at, name))
			}
		}
		for name, v := range value {
			member, ok := members[name].(map[string]any)
			if !ok {
				if members != nil {
					faults = append(faults, fmt.Sprintf("%s: %s is not in the document", at, name))
				}
				continue
			}
			faults = append(faults, conforms(schemas, member, v, at+"."+name)...)
		}
	case []any:
		item, _ := schema["items"].(map[string]any)
		for i, v := range value {
			faults = append(faults, conforms(schemas, item, v, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case string, float64, bool:
		want := map[string]string{"string": "string", "integer": "float64", "number": "float64", "boolean": "bool"}
		if kind, ok := schema["type"].(string); ok && want[kind] != fmt.Sprintf("%T", value) {
			faults = append(faults, fmt.Sprintf("%s: %v is no %s", at, value, kind))
		}
	}
	return faults
}
