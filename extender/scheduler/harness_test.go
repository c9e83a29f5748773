package scheduler_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"

	"galaxy/extender/extendertest"
	"galaxy/extender/scheduler"
)

const fixture = extendertest.Subnets

var (
	addr     = extendertest.Addr
	ask      = extendertest.Ask
	asJSON   = extendertest.JSON
	raw      = extendertest.Raw
	podText  = extendertest.PodText
	nodeText = extendertest.NodeText
	nodeIPs  = extendertest.NodeIPs
)

// harness is the scheduler's port over a real replica.
type harness struct {
	*extendertest.Harness
	handler   http.Handler
	scheduler *httptest.Server
}

func newHarness(t testing.TB, config string) *harness {
	t.Helper()
	b := &harness{Harness: extendertest.New(t, config, nil)}
	b.handler = scheduler.New(scheduler.Config{Replica: b.Replica, Cluster: b.Cluster, Log: zap.NewNop()}).Handler()
	b.scheduler = extendertest.Serve(t, b.handler)
	return b
}
