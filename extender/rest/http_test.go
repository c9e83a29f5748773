package rest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"galaxy/extender/api"
)

// What has no handler is refused in the form of our errors.
func TestUnmatched(t *testing.T) {
	b := newHarness(t, fixture)
	for _, c := range []struct {
		method, path string
		want         int
	}{{"GET", "/v1/nothing", 404}, {"DELETE", "/v1/ip", 405}, {"POST", "/v1/pool/x", 405}, {"GET", "/metrics", 200},
		{"GET", "/healthz", 200}} {
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

// fuzzBody posts bodies to a path. Whatever comes, the response is a 200 in the form of the interface or a 4xx with a
// sentence, and the handler lives on.
func fuzzBody(f *testing.F, path string, into func() any, seed string) {
	b := newHarness(f, fixture)
	f.Add([]byte(seed))
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		b.rest.Config.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body))))
		text := w.Body.Bytes()
		switch {
		case w.Code < 300:
			if err := json.Unmarshal(text, into()); err != nil {
				t.Errorf("%d %q: %v", w.Code, text, err)
			}
		case w.Code < 400 || w.Code >= 500 || len(text) == 0:
			t.Errorf("%d %q", w.Code, text)
		}
	})
}

func FuzzRelease(f *testing.F) {
	fuzzBody(f, "/v1/ip", func() any { return new(api.ReleaseResponse) },
		`{"ips":[{"ip":"10.0.80.2","podName":"lone","namespace":"ns3","appType":"Deployments"}],"force":true}`)
}

func FuzzPool(f *testing.F) {
	fuzzBody(f, "/v1/pool", func() any { return new(api.SizedResponse) }, `{"name":"p","size":3,"preAllocateIP":true}`)
}
