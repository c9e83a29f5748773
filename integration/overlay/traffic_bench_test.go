package overlay

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"galaxy/plugins"
)

// One measurement: long enough to be past TCP's slow start, short enough that all kinds get the same weather.
const (
	streamFor  = 150 * time.Millisecond
	roundTrips = 1500
)

// way is a pair of namespaces that are measured: one that listens, and one that sends.
type way struct {
	from net.Conn // a TCP connection that is echoed
	sink net.Conn // one that swallows all, and says at the end how much
	rtt  []float64
	rate []float64
}

// open connects two namespaces, whatever is between them.
func open(b *testing.B, from, to *namespace, at netip.Addr) *way {
	b.Helper()
	var listener net.Listener
	to.in(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
		return err
	})
	b.Cleanup(func() { _ = listener.Close() }) // which ends the loop
	go func() {
		for i := 0; ; i++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if i == 0 {
				go func() { _, _ = io.Copy(conn, struct{ io.Reader }{conn}) }() // until the benchmark ends
			} else {
				go swallow(conn)
			}
		}
	}()
	port := netip.MustParseAddrPort(listener.Addr().String()).Port()
	w := &way{}
	for _, conn := range []*net.Conn{&w.from, &w.sink} {
		eventually(b, "a connection", 10*time.Second, func() (err error) {
			*conn, err = from.dial("tcp", netip.AddrPortFrom(at, port))
			return err
		})
		b.Cleanup(func() { _ = (*conn).Close() }) // nothing is left to say
	}
	return w
}

// swallow reads all there is, and answers a byte for each that ends a run.
func swallow(conn net.Conn) {
	buffer := make([]byte, 256<<10)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if n > 0 && buffer[n-1] == 1 {
			if _, err := conn.Write([]byte{1}); err != nil {
				return
			}
		}
	}
}

// measure takes one round of both.
func (w *way) measure() error {
	one := []byte{7}
	start := time.Now()
	for range roundTrips {
		if _, err := w.from.Write(one); err != nil {
			return err
		}
		if _, err := io.ReadFull(w.from, one); err != nil {
			return err
		}
	}
	w.rtt = append(w.rtt, float64(time.Since(start).Nanoseconds())/roundTrips/1000)
	block, sent := make([]byte, 128<<10), 0
	for start = time.Now(); time.Since(start) < streamFor; sent += len(block) {
		if _, err := w.sink.Write(block); err != nil {
			return err
		}
	}
	if _, err := w.sink.Write([]byte{1}); err != nil {
		return err
	}
	if _, err := io.ReadFull(w.sink, one); err != nil {
		return err
	}
	w.rate = append(w.rate, float64(sent)*8/time.Since(start).Seconds()/1e9)
	return nil
}

// BenchmarkTraffic is TCP between two pods through galaxy-veth, on one node and across two, beside pods of the
// reference's bridge on the same nodes and a veth pair with nothing around it, in turn. x-bridge and x-bare are our
// round-trip time as a multiple of theirs, rate-x-bridge and rate-x-bare our throughput.
func BenchmarkTraffic(b *testing.B) {
	l := newLabOf(b, 2, `{"overlay":{"networks":[{"cidr":"10.244.0.0/16","nodePrefix":24}]}}`)
	for _, n := range l.nodes {
		eventually(b, n.name+" has its routes", 30*time.Second, func() error {
			s, err := n.status()
			if err == nil && (s.Ready != "" || s.Routes.Routes != 1) {
				err = fmt.Errorf("%+v", s)
			}
			return err
		})
	}
	files := reference(b)
	a, near, far := l.nodes[0].addPod("a"), l.nodes[0].addPod("near"), l.nodes[1].addPod("far")
	var bridged []*namespace
	for i, node := range []int{0, 0, 1} {
		bridged = append(bridged, l.bridgePod(b, files, fmt.Sprintf("bridged%d", i), node))
	}
	// The reference leaves the way between nodes to others: plain routes, as ours are.
	l.nodes[0].ip("route", "add", "10.220.1.0/24", "via", "10.99.0.11")
	l.nodes[1].ip("route", "add", "10.220.0.0/24", "via", "10.99.0.10")
	x, y := barePair(b)
	bare := open(b, x, y, netip.MustParseAddr("10.230.0.2"))
	b.Run("one-node", func(b *testing.B) {
		compare(b, open(b, a.namespace, near.namespace, near.addresses[0]),
			open(b, bridged[0], bridged[1], netip.MustParseAddr("10.220.0.3")), bare)
	})
	b.Run("across", func(b *testing.B) {
		compare(b, open(b, a.namespace, far.namespace, far.addresses[0]),
			open(b, bridged[0], bridged[2], netip.MustParseAddr("10.220.1.2")), bare)
	})
}

func compare(b *testing.B, ours, bridge, bare *way) {
	ways := []*way{ours, bridge, bare}
	bare.rtt, bare.rate = nil, nil
	for i := 0; b.Loop(); i++ {
		for j := range ways { // who comes first has colder caches
			if err := ways[(i+j)%len(ways)].measure(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(middle(ours.rtt), "rtt-µs")
	b.ReportMetric(middle(ours.rtt)/middle(bridge.rtt), "x-bridge")
	b.ReportMetric(middle(ours.rtt)/middle(bare.rtt), "x-bare")
	b.ReportMetric(middle(ours.rate), "Gbit/s")
	b.ReportMetric(middle(ours.rate)/middle(bridge.rate), "rate-x-bridge")
	b.ReportMetric(middle(ours.rate)/middle(bare.rate), "rate-x-bare")
	b.ReportMetric(0, "ns/op")
}

func middle(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// bridgePod makes a pod of the reference's bridge on a node.
func (l *harness) bridgePod(b *testing.B, files, name string, node int) *namespace {
	b.Helper()
	n, pod := l.nodes[node], newNamespace(b, name)
	call := n.caller(filepath.Join(files, "bridge"), "bridge",
		fmt.Sprintf(`{"cniVersion":"1.0.0","name":"ref","type":"bridge","bridge":"ref0","isDefaultGateway":true,
	  "ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.220.%d.0/24"}]]}}`, filepath.Join(n.state, "ref"), node), files)
	n.in(func() error { return call("ADD", name, pod.path()) })
	return pod
}

// barePair are two namespaces with a veth pair between them.
func barePair(b *testing.B) (x, y *namespace) {
	b.Helper()
	x, y = newNamespace(b, "x"), newNamespace(b, "y")
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: 1500}, PeerName: "eth0",
		PeerNamespace: netlink.NsFd(y.handle)}
	x.must("veth", x.links.LinkAdd(pair))
	for n, addr := range map[*namespace]string{x: "10.230.0.1/24", y: "10.230.0.2/24"} {
		link, err := n.links.LinkByName("eth0")
		n.must("eth0", err)
		n.must("address", n.links.AddrAdd(link, &netlink.Addr{IPNet: plugins.IPNet(netip.MustParsePrefix(addr))}))
		n.must("eth0", n.up("eth0"))
	}
	return x, y
}
