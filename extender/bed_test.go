package extender_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/extender"
	"galaxy/extender/metrics"
	"galaxy/ipam"
	"galaxy/kube/objects"
)

// fixture is the configuration of contract section 13: 7 subnets, 39 addresses.
const fixture = `[
{"routableSubnet":"10.49.27.0/24","ips":["10.49.27.205","10.49.27.216~10.49.27.218"],"subnet":"10.49.27.0/24","gateway":"10.49.27.1","vlan":2},
{"routableSubnet":"10.173.13.0/24","ips":["10.173.13.2","10.173.13.10~10.173.13.13","10.173.13.15"],"subnet":"10.173.13.0/24","gateway":"10.173.13.1","vlan":2},
{"routableSubnet":"10.180.1.2/32","ips":["10.180.154.2~10.180.154.3"],"subnet":"10.180.154.0/24","gateway":"10.180.154.1","vlan":3},
{"routableSubnet":"10.180.1.3/32","ips":["10.180.154.7~10.180.154.8"],"subnet":"10.180.154.0/24","gateway":"10.180.154.1","vlan":3},
{"nodeSubnets":["10.0.1.0/24","10.0.2.0/24"],"ips":["10.0.70.2~10.0.70.20"],"subnet":"10.0.70.0/24","gateway":"10.0.70.1"},
{"nodeSubnets":["10.49.28.0/26","10.49.29.0/24"],"ips":["10.0.80.2~10.0.80.4"],"subnet":"10.0.80.0/24","gateway":"10.0.80.1"},
{"nodeSubnets":["10.49.28.0/26"],"ips":["10.0.81.2~10.0.81.4"],"subnet":"10.0.81.0/24","gateway":"10.0.81.1"}]`

var nodeIPs = map[string]string{
	"node1": "10.180.1.3", "node2": "10.48.28.2", "node3": "10.49.27.3", "node4": "10.173.13.4", "node5": "10.49.28.3", "node6": "10.49.29.3",
}

func nodeText(name, ip string) string {
	return fmt.Sprintf(`{"kind":"Node","metadata":{"name":%q,"uid":"uid-%s","labels":{"a":"<b>"}},"status":{"addresses":[{"type":"InternalIP","address":%q}]}}`, name, name, ip)
}

// podText is a pod of a StatefulSet "sts" unless owner says otherwise, with annotations by "policy", "pool" and "args".
func podText(namespace, name, owner string, annotations map[string]string) string {
	names := map[string]string{
		"policy": "k8s.v1.cni.galaxy.io/release-policy", "pool": "tke.cloud.tencent.com/eni-ip-pool", "args": "k8s.v1.cni.galaxy.io/args",
	}
	written := map[string]string{}
	for short, value := range annotations {
		written[names[short]] = value
	}
	kind, app, _ := strings.Cut(owner, "/")
	meta := map[string]any{"namespace": namespace, "name": name, "uid": "uid-" + name, "annotations": written}
	if owner != "" {
		meta["ownerReferences"] = []any{map[string]any{"kind": kind, "name": app, "controller": true}}
		if _, hash, ok := strings.Cut(app, "-"); ok && kind == "ReplicaSet" {
			meta["labels"] = map[string]string{"pod-template-hash": hash}
		}
	}
	text, err := json.Marshal(map[string]any{
		"kind": "Pod", "metadata": meta, "status": map[string]any{"phase": "Pending"},
		"spec": map[string]any{"containers": []any{map[string]any{"resources": map[string]any{"requests": map[string]any{"tke.cloud.tencent.com/eni-ip": "1"}}}}},
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// bed is both ports over a real replica on a log in memory.
type bed struct {
	t         testing.TB
	log       *memlog.Log
	replica   *allocator.Replica
	cluster   atomic.Pointer[objects.Set]
	scheduler *httptest.Server
	rest      *httptest.Server
	handlers  [2]http.Handler // of the scheduler's port and the REST port
	metrics   *metrics.Metrics
	now       atomic.Int64
}

func newBed(t testing.TB, config string) *bed {
	t.Helper()
	b := &bed{t: t, log: memlog.New()}
	b.now.Store(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC).UnixNano())
	b.metrics = metrics.New(nil)
	ctx, cancel := context.WithCancel(context.Background())
	replica, err := allocator.NewReplica(ctx, allocator.Config{
		Log: b.log, Actor: "test", Rules: allocator.Rules{ReuseDelay: 30 * time.Second}, Observer: b.metrics,
		Now: func() time.Time { return time.Unix(0, b.now.Load()) },
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.replica = replica
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = replica.Lead(ctx, eventlog.Fence{})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	for !replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	b.metrics.Watch(replica)
	if config != "" {
		subnets, err := ipam.ParseConfig([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		b.do(allocator.Configure{Source: "test", Subnets: subnets})
	}
	cluster := func() extender.Cluster {
		if set := b.cluster.Load(); set != nil {
			return set
		}
		return nil
	}
	scheduler := extender.NewScheduler(extender.SchedulerConfig{Replica: replica, Cluster: cluster, Metrics: b.metrics, Log: zap.NewNop()})
	b.handlers[0] = scheduler.Handler()
	b.scheduler = httptest.NewServer(b.handlers[0])
	t.Cleanup(b.scheduler.Close)
	rest := extender.NewREST(extender.RESTConfig{Replica: replica, Cluster: cluster, Metrics: b.metrics.Handler(), Log: zap.NewNop(), Events: b.log, Version: "test"})
	b.handlers[1] = rest.Handler()
	b.rest = httptest.NewServer(b.handlers[1])
	t.Cleanup(b.rest.Close)
	return b
}

func (b *bed) do(cmd allocator.Command) allocator.Result {
	b.t.Helper()
	result, err := b.replica.Do(context.Background(), "test", cmd)
	if err != nil {
		b.t.Fatalf("%T: %v", cmd, err)
	}
	return result
}

// objects replaces the cluster; the nodes of the fixture are in it always.
func (b *bed) objects(documents ...string) {
	b.t.Helper()
	for name, ip := range nodeIPs {
		documents = append(documents, nodeText(name, ip))
	}
	set, err := objects.Parse([]byte(strings.Join(documents, "\n---\n")), time.Unix(0, b.now.Load()))
	if err != nil {
		b.t.Fatal(err)
	}
	b.cluster.Store(set)
}

// ask sends a request, and decodes the answer if into is not nil.
func ask(t testing.TB, method, url, body string, into any) int {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(into); err != nil {
			t.Fatalf("%s %s: %d %.300s: %v", method, url, resp.StatusCode, text, err)
		}
	}
	return resp.StatusCode
}
