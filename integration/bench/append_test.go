package bench

import (
	"testing"
	"time"
	"context"
	"fmt"

	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/etcdtest"
)

func BenchmarkAppendOnly(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			client := etcdtest.Start(b).Client(b)
			log, err := etcdlog.Open(b.Context(), client, etcdlog.Options{})
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			head, _ := log.Head(ctx, "ipam")
			c := eventlog.Cursor{Head: head}
			var ours, raw, enc time.Duration
			const rounds = 1000
			for b.Loop() {
				for range 3 {
					raw += rawPuts(b, client, n, int64(n*rounds), fmt.Sprintf("%0480d", 1))
					for i := range rounds {
						s := time.Now()
						after := c.Head
						var recs []eventlog.Record
						for j := range n {
							bd := bindOf(int64(i*n + j))
							_, r, err := c.Write(time.Now(), "bench", "bench", &eventlog.AddressBound{Owner: bd.Pod.Owner, PodUID: bd.Pod.UID, Node: bd.Node})
							if err != nil {
								b.Fatal(err)
							}
							recs = append(recs, r)
						}
						enc += time.Since(s)
						if _, err := log.Append(ctx, "ipam", after, recs, eventlog.Fence{}); err != nil {
							b.Fatal(err)
						}
						ours += time.Since(s)
					}
				}
			}
			k := float64(3 * rounds * b.N)
			b.ReportMetric(ours.Seconds()*1e6/k, "us/append")
			b.ReportMetric(enc.Seconds()*1e6/k, "us/encode")
			b.ReportMetric(raw.Seconds()*1e6/k, "us/raw")
		})
	}
}
