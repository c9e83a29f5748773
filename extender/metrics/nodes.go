package metrics

import "github.com/prometheus/client_golang/prometheus"

// nodeCollector reads the state of the nodes at each scrape.
type nodeCollector struct {
	replica         Replica
	waiting, silent func() int
}

var (
	descNodes = prometheus.NewDesc("galaxy_nodes",
		"Nodes of the overlay: alive, lost, those that wait for a subnet, and those whose agents are silent but that "+
			"are not taken for lost.", []string{"state"}, nil)
	descNodeSubnets = prometheus.NewDesc("galaxy_node_subnets",
		"Node subnets of an overlay network: all, and those that nodes have.", []string{"type", "network"}, nil)
)

// WatchNodes adds the state of the nodes, which is read from the replica of the stream nodes at each scrape. Call it
// once.
func (m *Metrics) WatchNodes(replica Replica, waiting, silent func() int) {
	m.registry.MustRegister(&nodeCollector{replica, waiting, silent})
}

// Describe implements prometheus.Collector.
func (c *nodeCollector) Describe(out chan<- *prometheus.Desc) {
	out <- descNodes
	out <- descNodeSubnets
}

// Collect implements prometheus.Collector.
func (c *nodeCollector) Collect(out chan<- prometheus.Metric) {
	view := c.replica.View()
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	alive, lost := 0, 0
	for n := range view.Nodes() {
		if n.Alive() {
			alive++
		} else {
			lost++
		}
	}
	gauge(descNodes, alive, "alive")
	gauge(descNodes, lost, "lost")
	gauge(descNodes, c.waiting(), "withoutSubnet")
	gauge(descNodes, c.silent(), "silent")
	for i, n := range view.Overlay().Networks {
		total, used := view.NodeSubnetUsage(i)
		gauge(descNodeSubnets, total, "total", n.CIDR.String())
		gauge(descNodeSubnets, used, "used", n.CIDR.String())
	}
}
