package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"galaxy/allocator"
)

// BenchmarkFollowerLag is how long after its caller was answered an allocation can be read on a follower.
func BenchmarkFollowerLag(b *testing.B) {
	client := startEtcd(b)
	leader := lead(b, openLog(b, client), nil)
	ctx, stop := context.WithCancel(context.Background())
	follower, err := allocator.NewReplica(ctx,
		allocator.Config{Log: openLog(b, client), Actor: "follower", Now: time.Now}, nil)
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- follower.Follow(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	var lags []time.Duration
	for i := 0; b.Loop(); i++ {
		result, err := leader.Do(ctx, "bench", allocator.Bind{Pod: podOf(i), Node: nodeName(i),
			NodeNetwork: networkOf(i)})
		if err != nil {
			b.Fatal(err)
		}
		answered := time.Now()
		for follower.View().Position().Head.Seq < result.Seq {
			time.Sleep(20 * time.Microsecond)
		}
		lags = append(lags, time.Since(answered))
	}
	slices.Sort(lags)
	for _, q := range []float64{0.5, 0.99} {
		b.ReportMetric(float64(lags[int(q*float64(len(lags)-1))].Microseconds()), fmt.Sprintf("p%.0f-µs", q*100))
	}
}
