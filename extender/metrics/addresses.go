package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"galaxy/ipam"
)

// addressCollector reads the counts of the newest view at each scrape. Counts beyond 64 bits saturate.
type addressCollector struct{ replica Replica }

var (
	descAddresses = prometheus.NewDesc("galaxy_ip_counter",
		"Addresses of a subnet: total and allocated, and of the others those that cool down and those that are free.",
		[]string{"type", "subnet", "first_ip"}, nil)
	descDraining = prometheus.NewDesc("galaxy_ip_draining", "Held addresses that are no longer configured.", nil, nil)
	descPosition = prometheus.NewDesc("galaxy_projection_position", "Sequence number of the newest folded event.",
		[]string{"stream"}, nil)
	descLeading = prometheus.NewDesc("galaxy_leading", "1 while this replica decides.", nil, nil)
	descPool    = prometheus.NewDesc("galaxy_pool_addresses", "Size of a pool, and the addresses that it holds.",
		[]string{"type", "pool"}, nil)
)

// Describe implements prometheus.Collector.
func (c *addressCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descAddresses, descDraining, descPosition, descLeading, descPool} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *addressCollector) Collect(out chan<- prometheus.Metric) {
	view, env := c.replica.View(), c.replica.Env()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	seen := map[[2]string]int{}
	for i, s := range view.Config().Subnets {
		u := view.Usage(i, env.Now, env.Rules.ReuseDelay)
		first := ""
		if len(s.Ranges) > 0 {
			first = s.Ranges[0].First.String()
		}
		labels := [2]string{s.Prefix.String(), first}
		if seen[labels]++; seen[labels] > 1 { // several subnets of one network without addresses
			labels[1] += "#" + strconv.Itoa(seen[labels])
		}
		gauge(descAddresses, float64(u.Total), "total", labels[0], labels[1])
		gauge(descAddresses, float64(u.Held), "allocated", labels[0], labels[1])
		gauge(descAddresses, float64(u.Cooling), "cooling", labels[0], labels[1])
		gauge(descAddresses, float64(u.Free), "free", labels[0], labels[1])
	}
	draining := 0
	for range view.Draining() {
		draining++
	}
	gauge(descDraining, float64(draining))
	gauge(descPosition, float64(view.Position().Head.Seq), "ipam")
	leading := 0.0
	if c.replica.Leading() {
		leading = 1
	}
	gauge(descLeading, leading)
	for pool := range view.Pools() {
		gauge(descPool, float64(pool.Size), "size", pool.Name)
		gauge(descPool, float64(view.Scope(ipam.Owner{Pool: pool.Name}).Held), "held", pool.Name)
	}
}
