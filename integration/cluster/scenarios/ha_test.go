package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/integration/cluster/controlplane"
)

// leader is the replica that leads, by its port in the election.
func (w *harness) leader() *controlplane.IPAM {
	w.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(w.etcd[1], ",")})
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // nothing was written
	var leads *controlplane.IPAM
	w.WaitFor("one leads", 20*time.Second, func(ctx context.Context) error {
		response, err := client.Get(ctx, "/galaxy/v1/lease/leader")
		if err != nil || len(response.Kvs) == 0 {
			return fmt.Errorf("nobody leads: %w", err)
		}
		var holder struct{ Address string }
		if err := json.Unmarshal(response.Kvs[0].Value, &holder); err != nil {
			return err
		}
		for _, ipam := range w.ipams {
			if strings.HasSuffix(ipam.URL, "//"+holder.Address) {
				leads = ipam
				return nil
			}
		}
		return fmt.Errorf("%s leads, and is none of ours", holder.Address)
	})
	return leads
}

// Three replicas, and the leader is killed in the midst of a burst of 500 pods: all run, none twice with one address,
// and nothing that was said to be so is lost. Then it is killed again and again while pods come and go.
func TestLeaderKilledInBurst(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{60, 60, 0}, replicas: 3})
	first := w.leader()
	web := controlplane.NewDeployment("default", "web", 500, controlplane.WithAddress())
	start := time.Now()
	w.Create(web)
	w.WaitFor("the burst is under way", time.Minute, func(context.Context) error {
		if n := runningIn(w.Pods("default", "")); n < 50 {
			return fmt.Errorf("%d pods run", n)
		}
		return nil
	})
	first.Kill()
	killed := time.Now()
	second := w.leader()
	for second == first { // until its lease has ended
		time.Sleep(50 * time.Millisecond)
		second = w.leader()
	}
	took := time.Since(killed)
	w.WaitPodsRunning("default", controlplane.Selector("web"), 500, 2*time.Minute)
	t.Logf("another leads after %s; all 500 pods run after %s", took.Round(10*time.Millisecond),
		time.Since(start).Round(10*time.Millisecond))
	if most := 6 * time.Second; took > most {
		t.Errorf("it took two lease periods, %s, and more until another led: %s", most, took)
	}
	w.agree()
	first.Start()
	sticky := controlplane.NewDeployment("default", "sticky", 30, controlplane.WithAddress(), immutable())
	w.Create(sticky)
	for round := range 3 {
		w.Scale(sticky, int32(10+round*10))
		w.leader().Kill()
		w.Scale(web, int32(400-round*100))
		time.Sleep(2 * time.Second)
		for _, ipam := range w.ipams {
			if !ipam.Running() {
				ipam.Start()
			}
		}
	}
	w.WaitPodsRunning("default", controlplane.Selector("web"), 200, 2*time.Minute)
	w.WaitPodsRunning("default", controlplane.Selector("sticky"), 30, 2*time.Minute)
	w.waitHeld("sticky", 30)
	w.agree()
	w.Scale(web, 500) // some more events
	w.WaitPodsRunning("default", controlplane.Selector("web"), 500, 2*time.Minute)
	w.sameDigests()
}

// sameDigests waits until all replicas have published the digest of their state after one and the same event, and
// compares. They do so by themselves after every 1,024th event.
func (w *harness) sameDigests() {
	w.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(w.etcd[1], ",")})
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // nothing was written
	w.WaitFor("all replicas publish a digest of the same event", 40*time.Second, func(ctx context.Context) error {
		response, err := client.Get(ctx, "/galaxy/v1/lease/replica/", clientv3.WithPrefix())
		if err != nil {
			return err
		}
		digests := map[uint64]map[string]int{} // by event, how many replicas have which
		for _, kv := range response.Kvs {
			var published struct {
				Digests []struct {
					Seq    uint64
					Digest string
				}
			}
			if err := json.Unmarshal(kv.Value, &published); err != nil {
				return err
			}
			for _, d := range published.Digests {
				if digests[d.Seq] == nil {
					digests[d.Seq] = map[string]int{}
				}
				digests[d.Seq][d.Digest]++
			}
		}
		for seq, by := range digests {
			if len(by) > 1 {
				w.t.Fatalf("after event %d the replicas have different states: %v", seq, by)
			}
			for _, n := range by {
				if n == len(w.ipams) {
					w.t.Logf("%d replicas have the same digest after event %d", n, seq)
					return nil
				}
			}
		}
		return fmt.Errorf("%d replicas have published %v", len(response.Kvs), digests)
	})
	for _, ipam := range w.ipams {
		if differences := w.metric(ipam, "galaxy_digest_differences_total"); differences != 0 {
			w.t.Errorf("%s has found %g states that differ", ipam.Name(), differences)
		}
	}
}

// metric is the sum of a counter or gauge of a replica over its labels.
func (w *harness) metric(ipam *controlplane.IPAM, name string) float64 {
	w.t.Helper()
	sum := 0.0
	for _, m := range w.metrics(ipam.API)[name].GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}

// metrics are all that a replica shows.
func (w *harness) metrics(api string) map[string]*dto.MetricFamily {
	w.t.Helper()
	response, err := w.http.Get(api + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	return families(w.t, response.Body)
}

// families reads metrics as Prometheus does.
func families(t testing.TB, text io.Reader) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(text)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The replicas are replaced one by one, as a rollout does it, while pods are scheduled: no request of the scheduler
// fails that is repeated once.
func TestRollingUpgrade(t *testing.T) {
	w := newHarness(t, settings{nodes: [3]int{30, 30, 0}, replicas: 3})
	stop := make(chan struct{})
	done := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				done <- n
				return
			case <-time.After(50 * time.Millisecond):
			}
			p := controlplane.NewPod("default", fmt.Sprintf("p-%d", n), controlplane.WithAddress(),
				controlplane.WithLabel(controlplane.AppLabel, "stream"))
			w.Create(p)
		}
	}()
	time.Sleep(time.Second)
	for _, ipam := range w.ipams {
		ipam.Restart()
		time.Sleep(time.Second)
	}
	close(stop)
	n := <-done
	pods := w.WaitPodsRunning("default", controlplane.Selector("stream"), n, time.Minute)
	w.agree()
	failed := 0
	events, err := w.events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	errs := map[string]int{}
	for _, e := range events {
		if e.Reason == "FailedScheduling" {
			errs[e.InvolvedObject.Name] += max(int(e.Count), 1)
		}
	}
	for name, times := range errs {
		if times > 1 {
			failed++
			t.Errorf("pod %s was refused %d times", name, times)
		}
	}
	t.Logf("%d pods, of which %d needed a second attempt", len(pods), len(errs)-failed)
}
