package rest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"

	"galaxy/extender/extendertest"
	"galaxy/extender/rest"
)

const fixture = extendertest.Subnets

var (
	addr    = extendertest.Addr
	ask     = extendertest.Ask
	raw     = extendertest.Raw
	asJSON  = extendertest.JSON
	podText = extendertest.PodText
	sts     = extendertest.PodOf
)

// figures stand for metrics.
var figures = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// harness is the REST port over a real replica.
type harness struct {
	*extendertest.Harness
	rest *httptest.Server
}

func newHarness(t testing.TB, config string) *harness {
	t.Helper()
	b := &harness{Harness: extendertest.New(t, config, nil)}
	b.rest = extendertest.Serve(t, rest.New(rest.Config{
		Replica: b.Replica, Cluster: b.Cluster, Metrics: figures, Log: zap.NewNop(), Events: b.Log, Version: "test",
	}).Handler())
	return b
}
