package rest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"galaxy/extender/extendertest"
	"galaxy/extender/rest"
)

func (b *harness) authorized(by rest.Authorizer, reads ...bool) *httptest.Server {
	return extendertest.Serve(b.T, rest.New(rest.Config{
		Replica: b.Replica, Metrics: figures, Log: zap.NewNop(), Events: b.Log, Version: "test", Authorize: by,
		AuthorizeReads: len(reads) > 0,
	}).Handler())
}

// TestAuthorizeQuestions: what is asked for each write, and that reads ask nothing.
func TestAuthorizeQuestions(t *testing.T) {
	b := newHarness(t, fixture)
	j := &extendertest.Judge{User: "jane"}
	server := b.authorized(j)
	for _, c := range []struct {
		method, path, body string
		code               int
		asks               string
	}{
		{"PUT", "/v1/ip/10.173.13.2", `{"poolName":"p"}`, 200, "t0k3n create floatingips 10.173.13.2"},
		{"PUT", "/v1/ip/10%2E173.13.10", `{"poolName":"p"}`, 200, "t0k3n create floatingips 10.173.13.10"},
		{"PUT", "/v1/ip/FD00:0::1", `{"poolName":"p"}`, 404, "t0k3n create floatingips fd00::1"},
		{"PUT", "/v1/ip/10.173.13.2%2Fx", `{"poolName":"p"}`, 400, "t0k3n create floatingips 10.173.13.2/x"},
		{"POST", "/v1/ip", `{"ips":[{"ip":"10.173.13.2","poolName":"p"}]}`, 200, "t0k3n delete floatingips "},
		{"POST", "/v1/pool", `{"name":"blue","size":1}`, 200, "t0k3n update pools "},
		{"DELETE", "/v1/pool/blue", ``, 200, "t0k3n delete pools blue"},
		{"DELETE", "/v1/pool/a%2Fb%20c", ``, 404, "t0k3n delete pools a/b c"},
		{"DELETE", "/v1/pool/a%252Fb", ``, 404, "t0k3n delete pools a%2Fb"},
		{"GET", "/v1/ip", ``, 200, ""},
		{"GET", "/v1/pool", ``, 200, ""},
		{"HEAD", "/metrics", ``, 200, ""},
		{"GET", "/healthz", ``, 200, ""},
		{"DELETE", "/v1/ip", ``, 405, ""},
		{"POST", "/v1/nothing", `{}`, 404, ""},
	} {
		resp, text := raw(t, c.method, server.URL+c.path, c.body, extendertest.Bearer)
		if asked := j.Last(); resp.StatusCode != c.code || asked != c.asks {
			t.Errorf("%s %s: %d %s, asks %q; want %d and %q", c.method, c.path, resp.StatusCode, text, asked, c.code,
				c.asks)
		}
	}
}

// TestAuthorizeRefusals: the response to each kind of no; nothing is written.
func TestAuthorizeRefusals(t *testing.T) {
	b := newHarness(t, fixture)
	before := b.Replica.View().Position().Head.Seq
	for name, c := range map[string]struct {
		header string
		err    error
		code   int
		says   string
		asks   bool
	}{
		"no token":       {"", nil, 401, "Authorization: Bearer TOKEN", false},
		"an empty token": {"Bearer  ", nil, 401, "Authorization: Bearer TOKEN", false},
		"another scheme": {"Basic amFuZTp4", nil, 401, "Authorization: Bearer TOKEN", false},
		"a bad token":    {"bearer x", extendertest.Unauthenticated("it has expired"), 401, "it has expired", true},
		"no right": {"Bearer x", extendertest.Forbidden("jane may not create floatingips"), 403,
			"jane may not create floatingips", true},
		"nobody to ask": {"Bearer x", errors.New("connection refused"), 503, "connection refused", true},
		"a wrapped bad one": {"Bearer x", errors.Join(extendertest.Unauthenticated("it has expired")), 401,
			"it has expired", true},
		"a wrapped no right": {"Bearer x", errors.Join(extendertest.Forbidden("no rule")), 403, "no rule", true},
	} {
		j := &extendertest.Judge{User: "jane", Err: c.err}
		server := b.authorized(j)
		var header map[string]string
		if c.header != "" {
			header = map[string]string{"Authorization": c.header}
		}
		resp, text := raw(t, http.MethodPut, server.URL+"/v1/ip/10.173.13.2", `{"poolName":"p"}`, header)
		if resp.StatusCode != c.code || !strings.Contains(text, c.says) || !strings.Contains(text, `"message"`) ||
			(j.Last() != "") != c.asks {
			t.Errorf("%s: %d %s, want %d and %q", name, resp.StatusCode, text, c.code, c.says)
		}
		if challenge := resp.Header.Get("WWW-Authenticate"); (challenge == "Bearer") != (c.code == http.StatusUnauthorized) {
			t.Errorf("%s: WWW-Authenticate %q", name, challenge)
		}
	}
	if after := b.Replica.View().Position().Head.Seq; after != before {
		t.Errorf("the log went from %d to %d", before, after)
	}
}

// TestAuthorizeReads: what is asked for each read, where reads are asked about at all. What says nothing of the cluster
// is for anybody.
func TestAuthorizeReads(t *testing.T) {
	j := &extendertest.Judge{User: "jane"}
	server := newHarness(t, fixture).authorized(j, true)
	for _, c := range []struct{ method, path, asks string }{
		{"GET", "/v1/ip", "list floatingips "},
		{"HEAD", "/v1/ip", "list floatingips "},
		{"GET", "/v1/ip/10.173.13.2", "get floatingips 10.173.13.2"},
		{"GET", "/v1/ip/10.173.13.2/history", "list floatingips "},
		{"GET", "/v1/log", "list floatingips "},
		{"GET", "/v1/state", "list floatingips "},
		{"GET", "/v1/pool", "list pools "},
		{"GET", "/v1/pool/blue", "get pools blue"},
		{"GET", "/metrics", "get /metrics "},
		{"GET", "/healthz", ""},
		{"GET", "/readyz", ""},
		{"GET", "/healthy", ""},
		{"GET", "/openapi.json", ""},
	} {
		resp, text := raw(t, c.method, server.URL+c.path, "", nil)
		if want := c.asks != ""; (resp.StatusCode == http.StatusUnauthorized) != want {
			t.Errorf("%s %s without a token: %d %s", c.method, c.path, resp.StatusCode, text)
		}
		if raw(t, c.method, server.URL+c.path, "", extendertest.Bearer); c.asks != strings.TrimPrefix(j.Last(),
			"t0k3n ") {
			t.Errorf("%s %s does not ask %q", c.method, c.path, c.asks)
		}
	}
}

// TestAuthorizeEverything: each operation of the document is refused without a token and asked about with one, so that
// none that is added later is forgotten.
func TestAuthorizeEverything(t *testing.T) {
	b := newHarness(t, fixture)
	j := &extendertest.Judge{Err: extendertest.Forbidden("no")}
	server := b.authorized(j, true)
	var document struct{ Paths map[string]map[string]any }
	ask(t, http.MethodGet, server.URL+"/openapi.json", "", &document)
	operations := 0
	for path, methods := range document.Paths {
		for method := range methods {
			operations++
			url := server.URL + strings.NewReplacer("{ip}", "10.0.70.4", "{name}", "p").Replace(path)
			if resp, text := raw(t, strings.ToUpper(method), url, `{}`,
				nil); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s without a token: %d %s", method, path, resp.StatusCode, text)
			}
			if resp, text := raw(t, strings.ToUpper(method), url, `{}`,
				extendertest.Bearer); resp.StatusCode != http.StatusForbidden || j.Last() == "" {
				t.Errorf("%s %s: %d %s; give it a line in acts", method, path, resp.StatusCode, text)
			}
		}
	}
	if operations < 11 {
		t.Errorf("only %d operations were found", operations)
	}
}

// TestAuthorizeCause: the log says who asked, if that is known.
func TestAuthorizeCause(t *testing.T) {
	b := newHarness(t, fixture)
	j := &extendertest.Judge{User: "system:serviceaccount:ops:ann"}
	server := b.authorized(j)
	raw(t, http.MethodPut, server.URL+"/v1/ip/10.173.13.2", `{"poolName":"p"}`, extendertest.Bearer)
	if cause := extendertest.NewestCause(t, b.Log); !strings.HasPrefix(cause, "rest-") ||
		!strings.HasSuffix(cause, " by system:serviceaccount:ops:ann") {
		t.Errorf("reserved: %q", cause)
	}
	raw(t, http.MethodPost, server.URL+"/v1/ip", `{"ips":[{"ip":"10.173.13.2","poolName":"p"}]}`, extendertest.Bearer)
	if cause := extendertest.NewestCause(t, b.Log); !strings.HasSuffix(cause, " by system:serviceaccount:ops:ann") {
		t.Errorf("released: %q", cause)
	}
	j.User = strings.Repeat("ä", 1000)
	raw(t, http.MethodPost, server.URL+"/v1/pool", `{"name":"blue","size":1}`, extendertest.Bearer)
	if cause := extendertest.NewestCause(t, b.Log); len(cause) > 400 || !strings.HasSuffix(cause, "ä...") {
		t.Errorf("a long name: %q", cause)
	}
	ask(t, http.MethodPost, b.rest.URL+"/v1/pool", `{"name":"blue","size":2}`, nil)
	if cause := extendertest.NewestCause(t, b.Log); !strings.HasPrefix(cause, "rest-") ||
		strings.Contains(cause, " by ") {
		t.Errorf("without an Authorizer: %q", cause)
	}
	if user := rest.UserOf(t.Context()); user != "" {
		t.Errorf("nobody is %q", user)
	}
}
