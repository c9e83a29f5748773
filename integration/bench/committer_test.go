package bench

import (
	"context"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/allocator"
	"galaxy/eventlog/etcdlog"
)

// BenchmarkCommitter compares allocations through the committer with the same bytes put in the batches that so many
// callers can fill, one transaction after another, with the same condition and head. With one caller this compares
// latencies.
func BenchmarkCommitter(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			target, count, rounds := 0.7, 2560, 16
			switch n {
			case 1:
				target, count, rounds = 0.83, 25, 80
			case 16:
				target, count = 0.5, 1280
			}
			client, seen := startEtcd(b), &batches{}
			r := lead(b, openLog(b, client), seen)
			made := 0
			binds := make([]allocator.Bind, count)
			next := func() {
				for i := range binds {
					binds[i] = allocator.Bind{Pod: podOf(made), Node: nodeName(made), NodeNetwork: networkOf(made)}
					made++
				}
			}
			value := sample(b, r, client)
			if _, err := client.Put(b.Context(), "/raw/head", rawHead); err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			var c comparison
			for b.Loop() {
				for range rounds {
					next()
					c.rounds(1, func() { rawPuts(b, client, min(n, etcdlog.DefaultMaxEvents), made, count, value) },
						func() {
							callers(b, n, count, func(_, i int) error {
								_, err := r.Do(ctx, "bench", binds[i])
								return err
							})
						})
				}
			}
			c.report(b, count, target)
			if n == 1 {
				b.ReportMetric(1/c.ratio(), "times-raw-latency")
			}
			seen.report(b)
		})
	}
}

const rawHead = `{"seq":1,"hash":"0000000000000000000000000000000000000000000000000000000000000000","generation":"00000000"}`

// rawPuts is what etcd can do.
func rawPuts(tb testing.TB, client *clientv3.Client, batch, from, count int, value string) {
	unmoved := clientv3.Compare(clientv3.Value("/raw/head"), "=", rawHead)
	for done := 0; done < count; done += batch {
		size := min(batch, count-done)
		ops := make([]clientv3.Op, 0, size+1)
		for i := range size {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("/raw/log/%020d", from+done+i), value))
		}
		ops = append(ops, clientv3.OpPut("/raw/head", rawHead))
		response, err := client.Txn(tb.Context()).If(unmoved).Then(ops...).Commit()
		if err != nil || !response.Succeeded {
			tb.Fatal("raw transaction: ", response, err)
		}
	}
}

// sample is the stored form of an allocation.
func sample(b *testing.B, r *allocator.Replica, client *clientv3.Client) string {
	if _, err := r.Do(context.Background(), "bench",
		allocator.Bind{Pod: podOf(1 << 24), Node: nodeName(1), NodeNetwork: networkOf(1)}); err != nil {
		b.Fatal(err)
	}
	got, err := client.Get(b.Context(), "/galaxy/v1/log/ipam/00000000000000000002")
	if err != nil || len(got.Kvs) != 1 {
		b.Fatal("no event 2", err)
	}
	return string(got.Kvs[0].Value)
}
