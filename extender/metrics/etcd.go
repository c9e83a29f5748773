package metrics

import "github.com/prometheus/client_golang/prometheus"

// etcdGauges are how full etcd is.
type etcdGauges struct {
	size, quota, alarm *prometheus.GaugeVec // by endpoint
	free, disk         prometheus.Gauge     // of the disk of an etcd inside this process
	registry           *prometheus.Registry
	watched            bool
}

func newEtcdGauges(registry *prometheus.Registry) *etcdGauges {
	by := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"endpoint"})
	}
	g := &etcdGauges{
		size: by("galaxy_etcd_database_bytes", "Size of the database of etcd."),
		quota: by("galaxy_etcd_quota_bytes", "Size of the database of etcd from which on it takes no writes; 0 is "+
			"not known."),
		alarm: by("galaxy_etcd_fault", "1 while a member of etcd says that something is wrong with it, such as an "+
			"alarm."),
		free: prometheus.NewGauge(prometheus.GaugeOpts{Name: "galaxy_etcd_disk_free_bytes",
			Help: "Left on the disk of the embedded etcd."}),
		disk: prometheus.NewGauge(prometheus.GaugeOpts{Name: "galaxy_etcd_disk_bytes",
			Help: "Size of the disk of the embedded etcd."}),
	}
	registry.MustRegister(g.size, g.quota, g.alarm)
	g.registry = registry
	return g
}

// EtcdSize says how full the database of a member of etcd is, and whether it finds something wrong with itself.
func (m *Metrics) EtcdSize(endpoint string, size, quota int64, alarm bool) {
	m.etcd.size.WithLabelValues(endpoint).Set(float64(size))
	m.etcd.quota.WithLabelValues(endpoint).Set(float64(quota))
	value := 0.0
	if alarm {
		value = 1
	}
	m.etcd.alarm.WithLabelValues(endpoint).Set(value)
}

// EtcdDisk says how full the disk of an etcd inside this process is. One goroutine calls it.
func (m *Metrics) EtcdDisk(free, total uint64) {
	if !m.etcd.watched { // without such an etcd there is nothing to show
		m.etcd.watched = true
		m.etcd.registry.MustRegister(m.etcd.free, m.etcd.disk)
	}
	m.etcd.free.Set(float64(free))
	m.etcd.disk.Set(float64(total))
}
