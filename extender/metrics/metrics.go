package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"galaxy/allocator"
	"galaxy/projections"
)

// Metrics are the figures that Prometheus scrapes, in a registry of their own. It is an allocator.Observer.
type Metrics struct {
	registry *prometheus.Registry

	schedule *prometheus.HistogramVec
	append   prometheus.Histogram
	batch    prometheus.Histogram
	bytes    prometheus.Counter
	conflict prometheus.Counter
	folded   prometheus.Counter
	replay   prometheus.Gauge
	config   *prometheus.CounterVec
	cloud    *prometheus.HistogramVec
	expired  prometheus.Counter
	digests  prometheus.Counter
	passed   *prometheus.CounterVec
	waits    *prometheus.GaugeVec
	expires  *prometheus.GaugeVec
	etcd     *etcdGauges
}

// Replica is what is read at each scrape; *allocator.Replica is one.
type Replica interface {
	View() *projections.View
	Env() allocator.Env
	Leading() bool
}

// scheduleBuckets are the contract's 0.1*2^n seconds, n from 0 to 6, and finer ones below them: we answer in less than
// a millisecond, which the contract's buckets would not show.
var scheduleBuckets = []float64{
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
	0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4,
}

// New makes the metrics. The state of the addresses is read from the replica at each scrape; nil leaves it out until
// Watch.
func New(replica Replica) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		schedule: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "galaxy_schedule_latency", Help: "Seconds to answer the scheduler, successful answers only.",
			Buckets: scheduleBuckets,
		}, []string{"func"}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "galaxy_log_append_seconds", Help: "Seconds for one transaction of the log.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "galaxy_log_batch_events", Help: "Events in one transaction of the log.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "galaxy_log_appended_bytes_total", Help: "Bytes of events appended to the log.",
		}),
		conflict: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "galaxy_log_conflicts_total", Help: "Batches decided again because another writer was faster.",
		}),
		folded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "galaxy_replay_events_total", Help: "Events of the log that were read and folded, at start-up and " +
				"while following.",
		}),
		replay: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "galaxy_replay_seconds", Help: "Seconds that the replay of the log at start-up took.",
		}),
		config: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "galaxy_reconcile_errors_total", Help: "Faults in cluster objects and failed reconciliations, by " +
				"kind.",
		}, []string{"kind"}),
		cloud: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "galaxy_cloud_provider_latency", Help: "Seconds that the cloud provider took, successful calls only.",
			Buckets: prometheus.ExponentialBuckets(0.1, 2, 7),
		}, []string{"func"}),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "galaxy_claims_expired_total", Help: "Claims of filter that were taken back, as no bind has " +
				"followed.",
		}),
	}
	m.digests = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "galaxy_digest_differences_total",
		Help: "States of other replicas that were not ours at the same event. Anything but 0 needs a person.",
	})
	m.passed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "galaxy_forwarded_requests_total",
		Help: "Attempts to have the leader answer a request that has come to this replica, by path.",
	}, []string{"path"})
	m.waits, m.expires = newWaits(), newExpires()
	m.registry.MustRegister(m.waits, m.expires)
	m.etcd = newEtcdGauges(m.registry)
	m.registry.MustRegister(m.passed, m.schedule, m.append, m.batch, m.bytes, m.conflict, m.folded, m.replay, m.config,
		m.cloud, m.expired, m.digests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, verb := range []string{"filter", "bind"} {
		m.schedule.WithLabelValues(verb) // shown before the first one
	}
	if replica != nil {
		m.Watch(replica)
	}
	return m
}

// Watch adds the state of the addresses, which is read from the replica at each scrape. Call it once, for metrics that
// were made before the replica.
func (m *Metrics) Watch(replica Replica) { m.registry.MustRegister(&addressCollector{replica}) }

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Registry is where others may register their own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Scheduled counts a response to the scheduler.
func (m *Metrics) Scheduled(verb string, took time.Duration) {
	m.schedule.WithLabelValues(verb).Observe(took.Seconds())
}

// Appended counts a transaction of the log.
func (m *Metrics) Appended(events, bytes int, took time.Duration) {
	m.append.Observe(took.Seconds())
	m.batch.Observe(float64(events))
	m.bytes.Add(float64(bytes))
}

// Conflict counts a batch that was decided again.
func (m *Metrics) Conflict() { m.conflict.Inc() }

// Folded counts events that were read and folded.
func (m *Metrics) Folded(events int) { m.folded.Add(float64(events)) }

// Replayed notes how long start-up took to read the log.
func (m *Metrics) Replayed(took time.Duration) { m.replay.Set(took.Seconds()) }

// CloudCall counts a call of the cloud provider: assign or unassign.
func (m *Metrics) CloudCall(call string, took time.Duration) {
	m.cloud.WithLabelValues(call).Observe(took.Seconds())
}

// ClaimExpired counts a claim that was taken back.
func (m *Metrics) ClaimExpired() { m.expired.Inc() }

// DigestDiffers counts a replica whose state is not ours at the same event.
func (m *Metrics) DigestDiffers() { m.digests.Inc() }

// PassedOn counts an attempt to have the leader answer a request.
func (m *Metrics) PassedOn(path string) { m.passed.WithLabelValues(path).Inc() }

// WatchMirror adds how many objects of the mirror are not compared with the log yet, which is asked at each scrape.
// Call it once.
func (m *Metrics) WatchMirror(waiting func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "galaxy_mirror_waiting_objects",
		Help: "FloatingIP and Pool objects that wait to be compared with the log.",
	}, func() float64 { return float64(waiting()) }))
}

// Reconcile counts an error of the reconciler by its kind.
func (m *Metrics) Reconcile(kind string) { m.config.WithLabelValues(kind).Inc() }
