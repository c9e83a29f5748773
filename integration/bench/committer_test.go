// Package bench compares what the product does with what it is built on, side by side in one run: `make bench`.
package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
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

var network = netip.MustParsePrefix("192.168.0.0/16")

const config = `[{"nodeSubnets":["192.168.0.0/16"],"subnet":"10.0.0.0/8","gateway":"10.0.0.1","ips":["10.0.0.2~10.255.255.254"]}]`

// lead starts a replica on a new etcd and makes it lead.
func lead(tb testing.TB) (*allocator.Replica, *clientv3.Client) {
	// With fsync, as etcd runs in earnest.
	client := etcdtest.Start(tb, func(c *embedded.Config) { c.UnsafeNoFsync = false }).Client(tb)
	log, err := etcdlog.Open(tb.Context(), client, etcdlog.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return leadOn(tb, log), client
}

func leadOn(tb testing.TB, log eventlog.Log) *allocator.Replica {
	ctx, stop := context.WithCancel(context.Background())
	r, err := allocator.NewReplica(ctx, allocator.Config{
		Log: log, Actor: "bench", Now: time.Now, Rules: allocator.Rules{ReuseDelay: allocator.DefaultReuseDelay}, Observer: &seen,
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
	subnets, err := ipam.ParseConfig([]byte(config))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := r.Do(ctx, "bench", allocator.Configure{Source: "bench", Subnets: subnets}); err != nil {
		tb.Fatal(err)
	}
	return r
}

func bindOf(i int64) allocator.Bind {
	app := fmt.Sprintf("web-%d", i/50)
	return allocator.Bind{
		Pod: allocator.Pod{
			Owner: ipam.Owner{Kind: ipam.KindDeployment, Namespace: "default", App: app, Pod: fmt.Sprintf("%s-5f7c5dc5dd-%05d", app, i)},
			UID:   fmt.Sprintf("cb875e67-ad1f-4af2-bf9a-%012d", i),
		},
		Node:        fmt.Sprintf("node-%04d", i%1000),
		NodeNetwork: network,
	}
}

var total int64

// batches counts what a replica appends.
type batches struct {
	transactions, events atomic.Int64
	took                 atomic.Int64
}

var seen batches

func (b *batches) Appended(events, _ int, took time.Duration) {
	b.transactions.Add(1)
	b.events.Add(int64(events))
	b.took.Add(int64(took))
}
func (b *batches) Conflict()  {}
func (b *batches) Folded(int) {}

// callers runs n goroutines that share count calls, and returns the time taken.
func callers(tb testing.TB, n int, count int64, call func(i int64) error) time.Duration {
	var next atomic.Int64
	next.Store(total)
	total += count
	end := total
	var wg sync.WaitGroup
	start := time.Now()
	for range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := next.Add(1) - 1; i < end; i = next.Add(1) - 1 {
				if err := call(i); err != nil {
					tb.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	return time.Since(start)
}

// rawPuts writes events of the same size in the batches that n callers can fill, one transaction after another, with the
// same condition and the same head: what etcd can do.
func rawPuts(tb testing.TB, client *clientv3.Client, batch int, count int64, value string) time.Duration {
	head := `{"seq":1,"hash":"0000000000000000000000000000000000000000000000000000000000000000","generation":"00000000"}`
	if _, err := client.Put(tb.Context(), "/raw/head", head); err != nil {
		tb.Fatal(err)
	}
	start := time.Now()
	for done := int64(0); done < count; done += int64(batch) {
		ops := make([]clientv3.Op, 0, batch+1)
		for i := range batch {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("/raw/log/%020d", done+int64(i)), value))
		}
		ops = append(ops, clientv3.OpPut("/raw/head", head))
		if _, err := client.Txn(tb.Context()).If(clientv3.Compare(clientv3.Value("/raw/head"), "=", head)).Then(ops...).Commit(); err != nil {
			tb.Fatal(err)
		}
	}
	return time.Since(start)
}

// BenchmarkCommitter reports allocations a second through the committer, and their ratio to raw etcd in the same run.
// Rounds alternate, so that a noisy machine is noisy for both.
func BenchmarkCommitter(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			r, client := lead(b)
			count := int64(20000)
			if n == 1 {
				count = 2000
			}
			value := sample(b, r, client)
			ctx := context.Background()
			var ours, raw, rawCPU, ourCPU time.Duration
			for b.Loop() {
				for range 3 {
					c0 := cpu()
					raw += rawPuts(b, client, min(n, 127), count, value)
					c1 := cpu()
					ours += callers(b, n, count, func(i int64) error {
						_, err := r.Do(ctx, "bench", bindOf(i))
						return err
					})
					rawCPU += c1 - c0
					ourCPU += cpu() - c1
				}
			}
			rounds := float64(3 * b.N)
			b.ReportMetric(float64(seen.events.Load())/float64(seen.transactions.Load()), "events/txn")
			b.ReportMetric(float64(seen.took.Load())/float64(seen.transactions.Load())/1000, "us/txn")
			b.ReportMetric(ours.Seconds()*1e6/float64(seen.transactions.Load()), "us/loop")
			seen = batches{}
			b.ReportMetric(float64(count)*rounds/ours.Seconds(), "alloc/s")
			b.ReportMetric(float64(count)*rounds/raw.Seconds(), "raw-put/s")
			b.ReportMetric(raw.Seconds()/ours.Seconds(), "ratio")
			b.ReportMetric(rawCPU.Seconds()*1e6/float64(count)/rounds, "raw-cpu-us/ev")
			b.ReportMetric(ourCPU.Seconds()*1e6/float64(count)/rounds, "our-cpu-us/ev")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cpu is the processor time that this process, etcd included, has used.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// sample is the stored form of an allocation.
func sample(b *testing.B, r *allocator.Replica, client *clientv3.Client) string {
	if _, err := r.Do(context.Background(), "bench", bindOf(1<<40)); err != nil {
		b.Fatal(err)
	}
	got, err := client.Get(b.Context(), "/galaxy/v1/log/ipam/00000000000000000002")
	if err != nil || len(got.Kvs) != 1 {
		b.Fatal("no event 2", err)
	}
	if os.Getenv("VERBOSE") != "" {
		b.Logf("%s", got.Kvs[0].Value)
	}
	return string(got.Kvs[0].Value)
}
