package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Waits says whether something is held back until a person or another system has done their part: for what, in one
// word.
func (m *Metrics) Waits(what string, waiting bool) {
	value := 0.0
	if waiting {
		value = 1
	}
	m.waits.WithLabelValues(what).Set(value)
}

func newWaits() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "galaxy_waits", Help: "1 while addresses are held back: for a migration to be said, or for the running " +
			"pods to be recorded.",
	}, []string{"for"})
}

// WatchGate adds whether addresses are given out, which is read at each scrape. Call it once.
func (m *Metrics) WatchGate(open func() bool) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "galaxy_gate_open", Help: "1 while this replica leads and gives addresses out, 0 while its term has " +
			"yet to record the running pods, or it follows.",
	}, func() float64 {
		if open() {
			return 1
		}
		return 0
	}))
}

// CertificateExpires says until when a certificate is good that this replica shows for some use.
func (m *Metrics) CertificateExpires(use string, at time.Time) {
	m.expires.WithLabelValues(use).Set(float64(at.Unix()))
}

func newExpires() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "galaxy_certificate_expires_timestamp_seconds",
		Help: "Until when a certificate of this replica is good, in seconds since 1970.",
	}, []string{"use"})
}
