package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/ipam"
)

// BenchmarkAgentRestart is an agent that is killed and started again on a node that has its routes to all other nodes,
// which are only announced: until it is ready and has compared all. It must write nothing to the kernel. Its memory is
// what it has resident then.
func BenchmarkAgentRestart(b *testing.B) {
	for _, nodes := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) { benchRestart(b, nodes) })
	}
}

func benchRestart(b *testing.B, nodes int) {
	// IPv6, as Linux compares each new IPv4 neighbour on a link with all others; see kernel.BenchmarkConverge.
	l := newLabOf(b, 0, `{"overlay":{"networks":[{"cidr":"fd00:244::/48","nodePrefix":64}]}}`)
	n := l.bareNode(near, "n0", 0, "--lease-ttl", "10s")
	n.sysctl("net/ipv6/route/max_size", "1000000")
	n.agent.start()
	l.announce(nodes)
	patience := 2 * time.Minute
	settled := func() (status routes) {
		eventually(b, "all nodes have routes", patience, func() (err error) {
			s, err := n.status()
			if status = routes(s.Routes.Writes); err == nil &&
				(s.Ready != "" || s.Routes.Routes != nodes || len(s.Differs) > 0) {
				err = fmt.Errorf("%d routes, %d differ, %s", s.Routes.Routes, len(s.Differs), s.Ready)
			}
			return err
		})
		return status
	}
	settled()
	var ready time.Duration
	var writes routes
	rounds := 0
	for b.Loop() {
		n.agent.kill()
		start := time.Now()
		n.agent.start()
		writes += settled()
		ready += time.Since(start)
		rounds++
	}
	time.Sleep(2 * time.Second) // what a start needs once is given back
	b.ReportMetric(float64(writes), "writes")
	b.ReportMetric(float64(ready.Milliseconds())/float64(rounds), "ready-ms")
	b.ReportMetric(resident(b, n.agent.cmd.Process.Pid), "rss-MiB")
	b.ReportMetric(0, "ns/op")
}

// routes is a number of writes to the kernel.
type routes int

// announce puts up so many nodes that are on the link of the others, as their agents would.
func (l *harness) announce(nodes int) {
	l.t.Helper()
	client := l.etcd("", "")
	var lease *clientv3.LeaseGrantResponse
	eventually(l.t, "there is an etcd", 20*time.Second, func() (err error) {
		ctx, cancel := context.WithTimeout(l.t.Context(), time.Second)
		defer cancel()
		lease, err = client.Grant(ctx, 3600)
		return err
	})
	var ops []clientv3.Op
	for i := range nodes {
		text, err := json.Marshal(ipam.Announcement{
			Node: fmt.Sprintf("node-%05d", i), Machine: fmt.Sprintf("machine-%d", i),
			Addresses: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("fd99::1:%x", i+1))},
			Backend:   "cross-subnet",
		})
		if err != nil {
			l.t.Fatal(err)
		}
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("/galaxy/v1/lease/node/node-%05d", i), string(text),
			clientv3.WithLease(lease.ID)))
		if len(ops) == 100 || i == nodes-1 {
			if _, err := client.Txn(l.t.Context()).Then(ops...).Commit(); err != nil {
				l.t.Fatal(err)
			}
			ops = nil
		}
	}
}

// resident is a process's memory in MiB.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		b.Fatalf("no VmRSS in\n%s", text)
	}
	kib, err := strconv.Atoi(fields[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}
