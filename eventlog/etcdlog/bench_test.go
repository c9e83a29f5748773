package etcdlog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/embedded"
	"galaxy/eventlog/etcdlog/etcdtest"
)

// plain makes n records of a usual size.
func plain(after uint64, n int) []eventlog.Record {
	made := make([]eventlog.Record, n)
	for i := range made {
		seq := after + uint64(i) + 1
		made[i] = eventlog.Record{Seq: seq, Bytes: fmt.Appendf(nil,
			`{"v":1,"seq":%d,"type":"AddressAllocated","padding":"%s"}`, seq, strings.Repeat("x", 350))}
	}
	return made
}

func fsynced(c *embedded.Config) { c.UnsafeNoFsync = false }

// BenchmarkAppend compares one append with the same keys and values put in one unconditional transaction.
func BenchmarkAppend(b *testing.B) {
	client := etcdtest.Start(b, fsynced).Client(b)
	ctx := b.Context()
	for _, n := range []int{1, 16, 127} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			log := open(b, client, etcdlog.Options{Prefix: fmt.Sprintf("/append-%d-%d", n, time.Now().UnixNano())})
			head, err := log.Head(ctx, stream)
			if err != nil {
				b.Fatal(err)
			}
			raw := fmt.Sprintf("/raw-%d-%d/", n, time.Now().UnixNano())
			put := func(records []eventlog.Record) error {
				puts := make([]clientv3.Op, 0, n+1)
				for _, r := range records {
					puts = append(puts, clientv3.OpPut(fmt.Sprintf("%slog/%020d", raw, r.Seq), string(r.Bytes)))
				}
				_, err := client.Txn(ctx).Then(append(puts,
					clientv3.OpPut(raw+"head", strings.Repeat("h", 130)))...).Commit()
				return err
			}
			add := func(records []eventlog.Record) (err error) {
				head, err = log.Append(ctx, stream, head, records, eventlog.Fence{})
				return err
			}
			var ours, theirs time.Duration
			b.ReportAllocs()
			for round := 0; b.Loop(); round++ {
				records := plain(head.Seq, n)
				// In turn, so that both meet the same machine.
				if round%2 == 0 {
					theirs += timed(b, put, records)
				}
				ours += timed(b, add, records)
				if round%2 == 1 {
					theirs += timed(b, put, records)
				}
			}
			b.ReportMetric(float64(ours)/float64(theirs), "times-raw")
			b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "µs/append")
			b.ReportMetric(float64(n*b.N)/ours.Seconds(), "events/s")
		})
	}
}

func timed(b *testing.B, write func([]eventlog.Record) error, records []eventlog.Record) time.Duration {
	began := time.Now()
	if err := write(records); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// BenchmarkReplay compares reading a stream with plain pages of the same keys.
func BenchmarkReplay(b *testing.B) {
	const total = 50_000
	client := etcdtest.Start(b, func(c *embedded.Config) { c.MaxTxnOps = 1024 }).Client(b)
	log := open(b, client, etcdlog.Options{MaxEvents: 1000})
	ctx := b.Context()
	head, err := log.Head(ctx, stream)
	for head.Seq < total && err == nil {
		head, err = log.Append(ctx, stream, head, plain(head.Seq, 1000), eventlog.Fence{})
	}
	if err != nil {
		b.Fatal(err)
	}
	var ours, theirs time.Duration
	for b.Loop() {
		began, n := time.Now(), 0
		for records, err := range log.Read(ctx, stream, 0, 0) {
			if err != nil {
				b.Fatal(err)
			}
			n += len(records)
		}
		ours += time.Since(began)
		if n != total {
			b.Fatal(n)
		}
		began = time.Now()
		if n := rawRead(b, client, "/galaxy/v1/log/"+stream+"/"); n != total {
			b.Fatal(n)
		}
		theirs += time.Since(began)
	}
	b.ReportMetric(float64(ours)/float64(theirs), "times-raw")
	b.ReportMetric(float64(total*b.N)/ours.Seconds(), "events/s")
	b.ReportMetric(float64(total*b.N)/theirs.Seconds(), "raw-events/s")
}

// rawRead pages through keys as etcd's own tools do.
func rawRead(b *testing.B, client *clientv3.Client, prefix string) (n int) {
	from, revision := prefix, int64(0)
	for {
		response, err := client.Get(b.Context(), from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)),
			clientv3.WithLimit(1000), clientv3.WithRev(revision))
		if err != nil {
			b.Fatal(err)
		}
		n += len(response.Kvs)
		if !response.More {
			return n
		}
		revision = response.Header.Revision
		from = string(response.Kvs[len(response.Kvs)-1].Key) + "\x00"
	}
}
