package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/extender"
	"galaxy/extender/metrics"
	"galaxy/extender/scheduler"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/projections"
)

// held is the state after n pods were bound, one event each, without a log beneath.
func held(b *testing.B, n int) *projections.DB {
	db := projections.New("bench")
	cursor := db.View().Cursor()
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	all := subnets(b, config)
	add := func(t *projections.Txn, data eventlog.Data) {
		e, _, err := cursor.Write(now, "bench", "bench", data)
		if err == nil {
			err = t.Fold(e, cursor.Head.Hash)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	t := db.Write()
	add(t, &eventlog.SubnetsConfigured{Source: "bench", Subnets: all})
	for i := range n {
		if i%4096 == 4095 {
			t.Commit()
			t = db.Write()
		}
		pod, subnet := podOf(i), all[i%len(all)]
		add(t, &eventlog.AddressAllocated{
			Address: ipam.Plus(subnet.Ranges[0].First, uint64(i/len(all))), Subnet: subnet.Prefix,
			Owner: pod.Owner, PodUID: pod.UID, Node: nodeName(i),
		})
	}
	t.Commit()
	return db
}

const million = 1_000_000

// BenchmarkMemory reports how much memory an allocated address takes when there are a million.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := heap()
		db := held(b, million)
		b.ReportMetric(float64(heap()-before)/million, "B/address")
		runtime.KeepAlive(db)
	}
	b.ReportMetric(1600, "target")
	b.ReportMetric(0, "ns/op")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// BenchmarkConfigure reports how long a configuration change takes while a million addresses are held.
func BenchmarkConfigure(b *testing.B) {
	db := held(b, million)
	grown := subnets(b, config)
	grown[3].Ranges[0].Last = grown[3].Ranges[0].Last.Prev()
	var took []time.Duration
	for b.Loop() {
		cursor := db.View().Cursor()
		began := time.Now()
		e, _, err := cursor.Write(time.Now(), "bench", "", &eventlog.SubnetsConfigured{Subnets: grown})
		t := db.Write()
		if err == nil {
			err = t.Fold(e, cursor.Head.Hash)
		}
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		t.Abort()
	}
	b.ReportMetric(float64(median(took).Milliseconds()), "ms")
	b.ReportMetric(0, "ns/op")
}

// frozen is a replica that stands still, for what only reads.
type frozen struct{ view *projections.View }

func (f frozen) Do(context.Context, string, allocator.Command) (allocator.Result, error) {
	return allocator.Result{}, allocator.ErrNotLeader
}
func (f frozen) View() *projections.View { return f.view }
func (f frozen) Env() allocator.Env      { return allocator.Env{Now: time.Now(), MaxEvents: 100} }
func (f frozen) Leading() bool           { return false }
func (f frozen) Unready() string         { return "" }

// thousand is a cluster of a thousand nodes without pods or workloads.
type thousand struct{ byName map[string]*kube.Node }

func newThousand() thousand {
	c := thousand{map[string]*kube.Node{}}
	for i := range nodes {
		c.byName[nodeName(i)] = &kube.Node{Name: nodeName(i), UID: nodeName(i), IPs: []netip.Addr{nodeIP(i)}}
	}
	return c
}

func (c thousand) KnowsPods() bool                        { return false }
func (c thousand) Pod(string, string) *kube.Pod           { return nil }
func (c thousand) PodByUID(string) *kube.Pod              { return nil }
func (c thousand) Node(name string) *kube.Node            { return c.byName[name] }
func (c thousand) Workload(ipam.Owner) allocator.Workload { return allocator.Workload{} }

// filterBody is a filter request of a Deployment's pod, as kube-scheduler sends it, with the names of some nodes.
func filterBody(tb testing.TB, i, names int) []byte {
	pod := podOf(i)
	list := make([]string, names)
	for j := range list {
		list[j] = nodeName(i + j)
	}
	body, err := json.Marshal(map[string]any{
		"Pod": map[string]any{
			"metadata": map[string]any{
				"name": pod.Owner.Pod, "namespace": pod.Owner.Namespace, "uid": pod.UID,
				"labels": map[string]string{"app": pod.Owner.App, "pod-template-hash": "5f7c5dc5dd"},
				"ownerReferences": []any{map[string]any{
					"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": pod.Owner.App + "-5f7c5dc5dd",
					"controller": true,
				}},
			},
			"spec": map[string]any{"containers": []any{map[string]any{
				"name": "c", "image": "registry.example/c:1",
				"resources": map[string]any{"requests": map[string]string{kube.ResourceIP: "1"}},
			}}},
			"status": map[string]any{"phase": "Pending"},
		},
		"Nodes": nil, "NodeNames": list,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

// BenchmarkFilterState compares filter with 1,000 node names, over HTTP on loopback, between a thousand and a million
// allocated addresses. Both must take the same time.
func BenchmarkFilterState(b *testing.B) {
	body := filterBody(b, million+1, nodes)
	few, many := newFilter(b, held(b, 1000), body), newFilter(b, held(b, million), body)
	var tookFew, tookMany []time.Duration
	for b.Loop() {
		for range 2000 {
			tookFew = append(tookFew, few())
			tookMany = append(tookMany, many())
		}
	}
	b.ReportMetric(float64(median(tookMany))/float64(median(tookFew)), "ratio")
	b.ReportMetric(1.3, "target")
	b.ReportMetric(float64(median(tookMany).Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(percentile(tookMany, 99).Nanoseconds())/1e3, "p99-µs")
	b.ReportMetric(0, "ns/op")
}

// newFilter serves a state, and returns what asks it once.
func newFilter(b *testing.B, db *projections.DB, body []byte) func() time.Duration {
	cluster := newThousand()
	scheduler := scheduler.New(scheduler.Config{
		Replica: frozen{db.View()}, Cluster: func() extender.Cluster { return cluster }, Metrics: metrics.New(nil),
		Log: zap.NewNop(),
	})
	server := httptest.NewServer(scheduler.Handler())
	b.Cleanup(server.Close)
	return func() time.Duration {
		began := time.Now()
		response, err := http.Post(server.URL+"/v1/filter", "application/json", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		if err != nil || response.Body.Close() != nil ||
			!bytes.HasSuffix(bytes.TrimSpace(text), []byte(`"Error":""}`)) {
			b.Fatal(err, fmt.Sprintf("%.200s", text))
		}
		return time.Since(began)
	}
}
