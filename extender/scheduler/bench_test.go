package scheduler_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"galaxy/extender/scheduler"
)

// thousandNodes is the sample of whole nodes with a thousand of them, spread over the networks of the fixture.
func thousandNodes(b testing.TB) (body []byte, names []string) {
	var sent map[string]json.RawMessage
	sample(b, "filter-nodeCacheCapable-false.json", &sent)
	var list struct {
		Items []map[string]json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(sent["Nodes"], &list); err != nil {
		b.Fatal(err)
	}
	template := string(asCompact(b, list.Items[0]))
	var nodes []json.RawMessage
	for i := range 1000 {
		name := fmt.Sprintf("kwok-%04d", i)
		text := bytes.ReplaceAll([]byte(template), []byte("kwok-0007"), []byte(name))
		text = bytes.ReplaceAll(text, []byte(`"10.49.28.11"`), fmt.Appendf(nil, `"10.%d.%d.%d"`, 49, 27+i%3, 2+i%60))
		nodes = append(nodes, text)
		names = append(names, name)
	}
	sent["Nodes"] = asCompact(b, map[string]any{"metadata": map[string]any{}, "items": nodes})
	return asCompact(b, sent), names
}

func asCompact(b testing.TB, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	return text
}

// BenchmarkDecodeNodes measures our decoder against encoding/json on a thousand whole nodes.
func BenchmarkDecodeNodes(b *testing.B) {
	body, _ := thousandNodes(b)
	reference := time.Duration(1 << 62)
	for range 5 {
		started := time.Now()
		var sent extenderv1.ExtenderArgs
		if err := json.Unmarshal(body, &sent); err != nil {
			b.Fatal(err)
		}
		reference = min(reference, time.Since(started))
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := scheduler.DecodeArgs(body); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(reference)/(float64(b.Elapsed())/float64(b.N)), "x-encoding/json")
}

// BenchmarkFilter measures the verb with a thousand nodes over HTTP on loopback.
func BenchmarkFilter(b *testing.B) {
	harness := newHarness(b, fixture)
	whole, names := thousandNodes(b)
	documents := make([]string, 0, len(names))
	for i, name := range names {
		documents = append(documents, nodeText(name, fmt.Sprintf("10.%d.%d.%d", 49, 27+i%3, 2+i%60)))
	}
	harness.Objects(documents...)
	var sent map[string]json.RawMessage
	sample(b, "filter-nodeCacheCapable-true.json", &sent)
	sent["NodeNames"] = asCompact(b, names)
	for name, body := range map[string][]byte{"names": asCompact(b, sent), "nodes": whole} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			var took []time.Duration
			for b.Loop() {
				started := time.Now()
				resp, err := http.Post(harness.scheduler.URL+"/v1/filter", "application/json", bytes.NewReader(body))
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(resp, err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				took = append(took, time.Since(started))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
