package metrics_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"galaxy/extender/extendertest"
	"galaxy/extender/metrics"
	"galaxy/ipam"
)

func TestMetrics(t *testing.T) {
	m := metrics.New(nil)
	b := extendertest.New(t, extendertest.Subnets, m)
	m.Watch(b.Replica)
	for n := range 4 {
		b.Bind(extendertest.PodOf("web", n), ipam.Immutable, "node4")
	}
	m.Scheduled("filter", time.Millisecond)
	m.Scheduled("filter", time.Second)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.Bytes()
	for _, want := range []string{
		`galaxy_ip_counter{first_ip="10.173.13.2",subnet="10.173.13.0/24",type="allocated"} 4`,
		`galaxy_ip_counter{first_ip="10.173.13.2",subnet="10.173.13.0/24",type="total"} 6`,
		`galaxy_ip_counter{first_ip="10.173.13.2",subnet="10.173.13.0/24",type="cooling"} 0`,
		`galaxy_schedule_latency_bucket{func="filter",le="0.1"} 1`,
		`galaxy_schedule_latency_bucket{func="bind",le="6.4"} 0`,
		"galaxy_log_append_seconds_count", "galaxy_log_batch_events_sum", "galaxy_log_conflicts_total 0",
		"galaxy_replay_events_total",
		`galaxy_projection_position{stream="ipam"} `, "galaxy_leading 1", "galaxy_ip_draining 0",
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}
