package bench

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/embedded"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/ipam"
)

// Four node networks, each with a subnet of a million addresses.
const config = `[
{"nodeSubnets":["192.168.0.0/18"],"subnet":"10.0.0.0/12","gateway":"10.0.0.1","ips":["10.0.0.2~10.15.255.254"]},
{"nodeSubnets":["192.168.64.0/18"],"subnet":"10.16.0.0/12","gateway":"10.16.0.1","ips":["10.16.0.2~10.31.255.254"]},
{"nodeSubnets":["192.168.128.0/18"],"subnet":"10.32.0.0/12","gateway":"10.32.0.1","ips":["10.32.0.2~10.47.255.254"]},
{"nodeSubnets":["192.168.192.0/18"],"subnet":"10.48.0.0/12","gateway":"10.48.0.1","ips":["10.48.0.2~10.63.255.254"]}]`

func subnets(tb testing.TB, text string) []ipam.Subnet {
	parsed, err := ipam.ParseConfig([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return parsed
}

const nodes = 1000

func nodeName(i int) string { return fmt.Sprintf("node-%04d", i%nodes) }

// nodeIP spreads the nodes over the node networks.
func nodeIP(i int) netip.Addr {
	i %= nodes
	return netip.AddrFrom4([4]byte{192, 168, byte(i%4*64 + i/4/200), byte(1 + i/4%200)})
}

func networkOf(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i % 4 * 64), 0}), 18)
}

// podOf is a pod with names as long as those of real clusters. Fifty pods share a Deployment.
func podOf(i int) allocator.Pod {
	app := fmt.Sprintf("checkout-%05d", i/50)
	return allocator.Pod{
		Owner: ipam.Owner{Kind: ipam.KindDeployment, Namespace: fmt.Sprintf("team-%02d", i/50%40), App: app,
			Pod: fmt.Sprintf("%s-5f7c5dc5dd-%05x", app, i)},
		UID: fmt.Sprintf("cb875e67-ad1f-4af2-bf9a-%012x", i),
	}
}

// startEtcd runs an etcd that syncs its files, as in earnest.
func startEtcd(tb testing.TB) *clientv3.Client {
	return etcdtest.Start(tb, func(c *embedded.Config) { c.UnsafeNoFsync = false }).Client(tb)
}

func openLog(tb testing.TB, client *clientv3.Client) *etcdlog.Log {
	log, err := etcdlog.Open(tb.Context(), client, etcdlog.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return log
}

// lead starts a replica that leads until the benchmark ends.
func lead(tb testing.TB, log eventlog.Log, observer allocator.Observer) *allocator.Replica {
	ctx, stop := context.WithCancel(context.Background())
	r, err := allocator.NewReplica(ctx, allocator.Config{
		Log: log, Actor: "bench", Now: time.Now, Rules: allocator.Rules{ReuseDelay: allocator.DefaultReuseDelay},
		Observer: observer,
	}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.Lead(ctx, eventlog.Fence{}) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
	for !r.Leading() {
		time.Sleep(time.Millisecond)
	}
	if _, err := r.Do(ctx, "bench", allocator.Configure{Source: "bench", Subnets: subnets(tb, config)}); err != nil {
		tb.Fatal(err)
	}
	return r
}

// callers runs n goroutines that share count calls.
func callers(tb testing.TB, n, count int, call func(caller, i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for caller := range n {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				if err := call(caller, i); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// batches counts the transactions of a replica.
type batches struct{ transactions, events atomic.Int64 }

func (s *batches) Appended(events, _ int, _ time.Duration) {
	s.transactions.Add(1)
	s.events.Add(int64(events))
}
func (s *batches) Conflict()  {}
func (s *batches) Folded(int) {}

func (s *batches) report(b *testing.B) {
	b.ReportMetric(float64(s.events.Load())/float64(max(s.transactions.Load(), 1)), "events/txn")
}
