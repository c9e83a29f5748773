package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/workqueue"

	"galaxy/integration/cluster/controlplane"
)

// rounds is how often two things are measured in turn, so that what else the machine does hits both.
const rounds = 3

// podStart is longer than a burst: what kubelets do is not measured.
const podStart = time.Minute

// burst lets the scheduler see n pods at once, and returns how long it takes until all are bound. They are gone after.
func (w *harness) burst(name string, n int, edits func(i int) []controlplane.PodEdit) time.Duration {
	w.t.Helper()
	w.Scheduler.Pause()
	workqueue.ParallelizeUntil(w.t.Context(), 32, n, func(i int) {
		p := controlplane.NewPod("default", fmt.Sprintf("%s-%d", name, i),
			append(edits(i), controlplane.WithLabel(controlplane.AppLabel, name))...)
		if _, err := w.Client.CoreV1().Pods("default").Create(w.t.Context(), p, metav1.CreateOptions{}); err != nil {
			w.t.Error(err)
		}
	})
	bound := w.watchBound(name)
	start := time.Now()
	w.Scheduler.Continue()
	for seen := 0; seen < n; {
		select {
		case event, open := <-bound:
			if event.Type == watch.Added {
				seen++
			}
			if !open {
				bound = nil
			}
		case <-time.After(5 * time.Second): // a watch may end
			seen = w.countBound(name)
		}
		if time.Since(start) > 2*time.Minute {
			w.t.Fatalf("%s: %d of %d pods are bound", name, seen, n)
		}
	}
	took := time.Since(start)
	if err := w.Client.CoreV1().Pods("default").DeleteCollection(w.t.Context(), metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: controlplane.Selector(name)}); err != nil {
		w.t.Fatal(err)
	}
	w.WaitPodsGone("default", controlplane.Selector(name), 2*time.Minute)
	w.WaitFor("their addresses are given back", time.Minute, func(context.Context) error {
		if held := w.held(func(r row) bool { return strings.HasPrefix(r.PodName, name+"-") }); len(held) > 0 {
			return fmt.Errorf("%d are held", len(held))
		}
		return nil
	})
	return took
}

// watchBound watches pods that are bound. Looking costs the same cores as what is looked at, and this costs least.
func (w *harness) watchBound(name string) <-chan watch.Event {
	w.t.Helper()
	watched, err := w.Client.CoreV1().Pods("default").Watch(w.t.Context(), metav1.ListOptions{
		LabelSelector: controlplane.Selector(name),
		FieldSelector: fields.OneTermNotEqualSelector("spec.nodeName", "").String(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return watched.ResultChan() // it ends with the test
}

func (w *harness) countBound(name string) (n int) {
	w.t.Helper()
	for _, p := range w.Pods("default", controlplane.Selector(name)) {
		if p.Spec.NodeName != "" {
			n++
		}
	}
	return n
}

func always(edits ...controlplane.PodEdit) func(int) []controlplane.PodEdit {
	return func(int) []controlplane.PodEdit { return slices.Clone(edits) }
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// against measures two bursts in turn, and reports the rate of the first and its ratio to the second.
func (w *harness) against(b *testing.B, n int, this, other func(int) []controlplane.PodEdit) {
	var rates, ratios []float64
	for b.Loop() {
		for round := range rounds {
			o := w.burst(fmt.Sprintf("other%d", round), n, other)
			t := w.burst(fmt.Sprintf("this%d", round), n, this)
			rates, ratios = append(rates, float64(n)/t.Seconds()), append(ratios, o.Seconds()/t.Seconds())
		}
	}
	b.ReportMetric(median(rates), "pods/s")
	b.ReportMetric(median(ratios), "ratio")
}

// A burst of 500 pods on 1,000 nodes: with addresses, through the extender, against the same pods without.
func BenchmarkBurst(b *testing.B) {
	w := newHarness(b, settings{nodes: [3]int{500, 500, 0}, options: controlplane.Options{PodStart: podStart}})
	w.burst("warm", 100, always(controlplane.WithAddress()))
	before := w.histograms()
	w.against(b, 500, always(controlplane.WithAddress()), always())
	after := w.histograms()
	for _, verb := range []string{"filter", "bind"} {
		for _, q := range []float64{0.5, 0.99} {
			b.ReportMetric(1e3*quantile(before[verb], after[verb], q), fmt.Sprintf("%s-p%.0f-ms", verb, q*100))
		}
	}
}

// The same with a kube-scheduler that keeps to the rate of requests that Kubernetes gives it by default, 50 a second.
// With an extender that binds, it spends none of them on bindings.
func BenchmarkBurstDefaultRate(b *testing.B) {
	byDefault := func(config map[string]any) {
		connection := config["clientConnection"].(map[string]any)
		delete(connection, "qps")
		delete(connection, "burst")
	}
	w := newHarness(b, settings{nodes: [3]int{500, 500, 0},
		options: controlplane.Options{PodStart: podStart, EditScheduler: byDefault}})
	w.burst("warm", 100, always(controlplane.WithAddress()))
	w.against(b, 500, always(controlplane.WithAddress()), always())
}

// 500 pods ask at once for addresses of a subnet that has just 500, against one that has plenty.
func BenchmarkExactFit(b *testing.B) {
	exact := `[{"nodeSubnets":["10.10.0.0/16"],"ips":["10.20.0.2~10.20.1.245"],"subnet":"10.20.0.0/21","gateway":"10.20.7.254"},
	           {"nodeSubnets":["10.11.0.0/16"],"ips":["10.21.0.2~10.21.7.250"],"subnet":"10.21.0.0/21","gateway":"10.21.7.254"}]`
	w := newHarness(b, settings{nodes: [3]int{200, 200, 0}, subnets: exact,
		options: controlplane.Options{PodStart: podStart}})
	w.burst("warm", 100, always(controlplane.WithAddress()))
	w.against(b, 500, always(controlplane.WithAddress(), inNetwork(0)),
		always(controlplane.WithAddress(), inNetwork(1)))
}

// Each of 1,000 nodes asks for its first address at once, against 1,000 pods without an address that are bound to the
// same nodes.
func BenchmarkFirstAddresses(b *testing.B) {
	w := newHarness(b, settings{nodes: [3]int{500, 500, 0}, options: controlplane.Options{PodStart: podStart}})
	pinned := func(edits ...controlplane.PodEdit) func(int) []controlplane.PodEdit {
		return func(i int) []controlplane.PodEdit {
			node := fmt.Sprintf("n%d-%d", i/500, i%500)
			return append(slices.Clone(edits), controlplane.WithNodeSelector(corev1.LabelHostname, node))
		}
	}
	w.against(b, 1000, pinned(controlplane.WithAddress()), pinned())
}

// Only 20 of 1,000 nodes have addresses, against a cluster where all have: the scheduler must not draw in vain.
func BenchmarkFewNodes(b *testing.B) {
	one := `[{"nodeSubnets":["10.12.0.0/16"],"ips":["10.22.0.2~10.22.7.250"],"subnet":"10.22.0.0/21","gateway":"10.22.7.254"}`
	few := one + `]`
	all := one + `,{"nodeSubnets":["10.10.0.0/16","10.11.0.0/16"],"ips":["10.20.0.2~10.20.7.250"],"subnet":"10.20.0.0/21","gateway":"10.20.7.254"}]`
	w := newHarness(b, settings{nodes: [3]int{490, 490, 20}, subnets: few,
		options: controlplane.Options{PodStart: podStart}})
	const pods = 300
	var rates, ratios []float64
	for b.Loop() {
		for round := range rounds {
			w.configureNodes(all, 1000)
			o := w.burst(fmt.Sprintf("all%d", round), pods, always(controlplane.WithAddress()))
			w.configureNodes(few, 20)
			t := w.burst(fmt.Sprintf("few%d", round), pods, always(controlplane.WithAddress()))
			rates, ratios = append(rates, pods/t.Seconds()), append(ratios, o.Seconds()/t.Seconds())
		}
	}
	b.ReportMetric(median(rates), "pods/s")
	b.ReportMetric(median(ratios), "ratio")
}

// configureNodes puts subnets in force, and waits until as many nodes show that they have addresses.
func (w *harness) configureNodes(subnets string, want int) {
	w.t.Helper()
	w.configure(subnets)
	w.WaitFor(fmt.Sprintf("%d nodes have addresses", want), time.Minute, func(ctx context.Context) error {
		nodes, err := w.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		n := 0
		for i := range nodes.Items {
			if quantity := nodes.Items[i].Status.Capacity[controlplane.Resource]; !quantity.IsZero() {
				n++
			}
		}
		if n != want {
			return fmt.Errorf("%d have", n)
		}
		return nil
	})
}

// histograms are how long galaxy-ipam took for each verb so far.
func (w *harness) histograms() map[string]*dto.Histogram {
	w.t.Helper()
	all := map[string]*dto.Histogram{}
	for _, m := range w.metrics(w.api())["galaxy_schedule_latency"].GetMetric() {
		all[m.GetLabel()[0].GetValue()] = m.GetHistogram()
	}
	return all
}

// quantile is the upper bound of the bucket in which a quantile lies, of what came between two scrapes.
func quantile(before, after *dto.Histogram, q float64) float64 {
	total := after.GetSampleCount() - before.GetSampleCount()
	for i, bucket := range after.GetBucket() {
		seen := bucket.GetCumulativeCount()
		if i < len(before.GetBucket()) {
			seen -= before.GetBucket()[i].GetCumulativeCount()
		}
		if float64(seen) >= q*float64(total) {
			return bucket.GetUpperBound()
		}
	}
	return -1
}
