// Package bench compares what the product does with what it is built on, side by side in one run: `make bench`. Each
// benchmark reports a ratio and the target that is set for it; none fails because the machine is slow.
package bench

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// A side is one of two ways that are compared: how long each of its rounds took.
type side struct {
	took []time.Duration
	cpu  time.Duration // of the whole process, etcd included
}

func (s *side) round(work func()) {
	burnt, began := cpu(), time.Now()
	work()
	s.took = append(s.took, time.Since(began))
	s.cpu += cpu() - burnt
}

// each is the median round by what is done in it; other rounds may have met a busy machine.
func (s *side) each(count int) time.Duration { return median(s.took) / time.Duration(count) }

func (s *side) cpuEach(count int) float64 {
	return float64(s.cpu.Nanoseconds()) / 1e3 / float64(count*len(s.took))
}

// comparison is two ways of doing the same, in turn, so that a noisy machine is noisy for both.
type comparison struct{ ours, raw side }

func (c *comparison) rounds(n int, raw, ours func()) {
	for i := range n {
		if i%2 == 0 {
			c.raw.round(raw)
			c.ours.round(ours)
		} else {
			c.ours.round(ours)
			c.raw.round(raw)
		}
	}
}

// ratio is the speed of ours by that of raw: the median over the pairs of rounds, each of which met the same machine.
func (c *comparison) ratio() float64 {
	ratios := make([]float64, len(c.ours.took))
	for i := range ratios {
		ratios[i] = float64(c.raw.took[i]) / float64(c.ours.took[i])
	}
	return median(ratios)
}

// report shows a comparison of rounds in which count things are done.
func (c *comparison) report(b *testing.B, count int, target float64) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(c.ratio(), "ratio")
	b.ReportMetric(target, "target")
	b.ReportMetric(1/c.ours.each(count).Seconds(), "ours/s")
	b.ReportMetric(1/c.raw.each(count).Seconds(), "raw/s")
	b.ReportMetric(c.ours.cpuEach(count), "ours-cpu-µs/op")
	b.ReportMetric(c.raw.cpuEach(count), "raw-cpu-µs/op")
}

func median[T time.Duration | float64](all []T) T { return percentile(all, 50) }

func percentile[T time.Duration | float64](all []T, p int) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

// cpu is the processor time that this process, etcd included, has used.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
