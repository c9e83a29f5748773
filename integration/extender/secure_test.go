package extender_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"galaxy/extender/extendertest"
	"galaxy/extender/forward"
	"galaxy/extender/httpserver"
	"galaxy/extender/metrics"
	"galaxy/extender/rest"
	"galaxy/extender/scheduler"
)

// TestForwardTLS: a follower reaches a leader that wants certificates.
func TestForwardTLS(t *testing.T) {
	certificates := extendertest.Load(t, extendertest.NewSecret(t, extendertest.Sign(t, nil, "ca")).Files(),
		zap.NewNop())
	c := newHarness(t, 2, func(_ *scheduler.Config, f *forward.Config) { f.TLS = certificates.Peer("") })
	at := extendertest.ServeTLS(t, certificates.Server(), c.members[0].scheduler.Config.Handler, httpserver.Clients{})
	if _, _, err := net.SplitHostPort(at); err != nil {
		t.Fatal(err)
	}
	c.holder.Store(&forward.Peer{Scheduler: at})
	c.members[1].forwarder.Forget()
	if code, failure := c.members[1].bind(1); code != http.StatusOK || failure != "" || !c.bound(1) {
		t.Errorf("%d %q", code, failure)
	}
}

// TestAuthorizeForwarded: a follower refuses at once; what it passes on is judged again by the leader, who sees the
// token.
func TestAuthorizeForwarded(t *testing.T) {
	c := newHarness(t, 2, nil)
	judges, servers := []*extendertest.Judge{{User: "jane"}, {User: "jane"}}, []*httptest.Server{}
	for i, m := range c.members {
		servers = append(servers, extendertest.Serve(t, rest.New(rest.Config{
			Replica: m.replica, Metrics: metrics.New(nil).Handler(), Log: zap.NewNop(), Events: c.log, Version: "test",
			Forward: m.forwarder, Authorize: judges[i],
		}).Handler()))
	}
	c.holder.Store(&forward.Peer{REST: strings.TrimPrefix(servers[0].URL, "http://")})
	c.members[1].forwarder.Forget()
	put := func() (*http.Response, string) {
		return raw(t, http.MethodPut, servers[1].URL+"/v1/ip/10.173.13.2", `{"poolName":"p"}`, extendertest.Bearer)
	}
	if resp, text := put(); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.StatusCode, text)
	}
	for i, j := range judges {
		if asked := j.Last(); asked != "t0k3n create floatingips 10.173.13.2" {
			t.Errorf("replica %d asked %q", i, asked)
		}
	}
	if cause := extendertest.NewestCause(t, c.log); !strings.HasSuffix(cause, " by jane") {
		t.Errorf("cause %q", cause)
	}
	judges[0].Err = extendertest.Forbidden("not any more")
	if resp, text := put(); resp.StatusCode != http.StatusForbidden || !strings.Contains(text, "not any more") {
		t.Errorf("the leader's no: %d %s", resp.StatusCode, text)
	}
	judges[0].Last()
	judges[1].Err = extendertest.Forbidden("not here")
	if resp, text := put(); resp.StatusCode != http.StatusForbidden || !strings.Contains(text, "not here") ||
		judges[0].Last() != "" {
		t.Errorf("the follower's no: %d %s", resp.StatusCode, text)
	}
}
