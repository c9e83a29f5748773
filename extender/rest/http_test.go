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

// What changes something comes as JSON, and not from a web page of another site; what only reads may come from
// anywhere.
func TestWritesFromBrowsers(t *testing.T) {
	b := newHarness(t, fixture)
	host := strings.TrimPrefix(b.rest.URL, "http://")
	for what, c := range map[string]struct {
		method, path, body string
		headers            string // lines
		status             int
		sentence           string
	}{
		"JSON": {"POST", "/v1/pool", pool, "Content-Type: application/json", 200, ""},
		"JSON of a character set": {
			"POST", "/v1/pool", pool, `Content-Type: Application/JSON; charset="utf-8"`, 200, "",
		},
		"it is not said what": {"POST", "/v1/pool", pool, "", 200, ""},
		"what a form sends": {
			"POST", "/v1/pool", pool, "Content-Type: application/x-www-form-urlencoded",
			415, `\"application/x-www-form-urlencoded\" is not understood; send JSON, with the header Content-Type`,
		},
		"what a page sends unasked": {"POST", "/v1/ip", pool, "Content-Type: text/plain", 415, "text/plain"},
		"no type at all":            {"PUT", "/v1/ip/10.49.27.205", pool, "Content-Type: ;", 415, "send JSON"},
		"a body to delete by":       {"DELETE", "/v1/pool/p", "x", "Content-Type: text/plain", 415, "send JSON"},
		"no body":                   {"DELETE", "/v1/pool/none", "", "Content-Type: text/plain", 404, ""},
		"a page of its own":         {"POST", "/v1/pool", pool, "Origin: https://" + host, 200, ""},
		"a browser's own request":   {"POST", "/v1/pool", pool, "Sec-Fetch-Site: none", 200, ""},
		"the same origin, behind another host": {
			"POST", "/v1/pool", pool, "Sec-Fetch-Site: same-origin" + "\n" + "Origin: https://front", 200, "",
		},
		"another site": {
			"POST", "/v1/pool", pool, "Origin: https://evil.example",
			403, `not allowed: a browser sends this for a page of another site (Origin \"https://evil.example\"`,
		},
		"a page of no site":      {"POST", "/v1/pool", pool, "Origin: null", 403, "use galaxyctl"},
		"another port":           {"POST", "/v1/pool", pool, "Origin: http://127.0.0.1:1", 403, "use galaxyctl"},
		"a browser of today":     {"POST", "/v1/pool", pool, "Sec-Fetch-Site: cross-site", 403, "cross-site"},
		"a neighbour of its own": {"POST", "/v1/pool", pool, "Sec-Fetch-Site: same-site", 403, "same-site"},
		"a page that deletes":    {"DELETE", "/v1/pool/p", "", "Sec-Fetch-Site: cross-site", 403, "not allowed"},
		"a page that reserves":   {"PUT", "/v1/ip/10.49.27.205", pool, "Origin: http://a", 403, "not allowed"},
		"a page that reads":      {"GET", "/v1/ip", "", "Sec-Fetch-Site: cross-site", 200, ""},
	} {
		headers := map[string]string{}
		for line := range strings.Lines(c.headers) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			headers[name] = value
		}
		response, text := raw(t, c.method, b.rest.URL+c.path, c.body, headers)
		if response.StatusCode != c.status || !strings.Contains(text, c.sentence) {
			t.Errorf("%s: %d %s, want %d %s", what, response.StatusCode, text, c.status, c.sentence)
		}
		if !json.Valid([]byte(text)) || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s: %s", what, response.Header.Get("Content-Type"), text)
		}
	}
}

// pool is the body of a request that sizes a pool.
const pool = `{"name":"p","size":3}`

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
