package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/cmd/internal/cli"
	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/extender/metrics"
	"galaxy/extender/rest"
	"galaxy/ipam"
)

// harness is a real etcd with a log in it, the allocator that writes it, and the REST port before that.
type harness struct {
	t       *testing.T
	etcd    *etcdtest.Server
	client  *clientv3.Client
	log     *etcdlog.Log
	replica *allocator.Replica
	rest    string       // URL of the REST port
	now     atomic.Int64 // Unix seconds, for events
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	b := &harness{t: t, etcd: etcdtest.Start(t)}
	b.now.Store(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Unix())
	b.client = b.etcd.Client(t)
	ctx, cancel := context.WithCancel(context.Background())
	log, err := etcdlog.Open(ctx, b.client, etcdlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b.log = log
	b.replica, err = allocator.NewReplica(ctx, allocator.Config{
		Log: log, Actor: "galaxy-ipam-0", Now: func() time.Time { return time.Unix(b.now.Load(), 0) },
		Rules: allocator.Rules{ReuseDelay: allocator.DefaultReuseDelay},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.replica.Lead(ctx, eventlog.Fence{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the term ended: %v", err)
		}
	})
	for !b.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	port := httptest.NewServer(rest.New(rest.Config{
		Replica: b.replica, Metrics: metrics.New(b.replica).Handler(), Log: zap.NewNop(), Events: log, Version: "test",
	}).Handler())
	t.Cleanup(port.Close)
	b.rest = port.URL
	return b
}

// do carries out a command a second after the one before it.
func (b *harness) do(cause string, command allocator.Command) {
	b.t.Helper()
	b.now.Add(1)
	if _, err := b.replica.Do(b.t.Context(), cause, command); err != nil {
		b.t.Fatal(err)
	}
}

const floatingIPs = `[
	{"nodeSubnets":["10.49.27.0/24"],"ips":["10.49.27.205","10.49.27.216~10.49.27.218"],"subnet":"10.49.27.0/24","gateway":"10.49.27.1","vlan":2},
	{"nodeSubnets":["10.173.13.0/24"],"ips":["10.173.13.10~10.173.13.13"],"subnet":"10.173.13.0/24","gateway":"10.173.13.1"}
]`

var network = netip.MustParsePrefix("10.49.27.0/24")

func pod(kind, app, name, uid string, policy ipam.Policy) allocator.Pod {
	return allocator.Pod{
		Owner: ipam.Owner{Kind: kind, Namespace: "default", App: app, Pod: name}, UID: uid, Policy: policy,
		Workload: allocator.Workload{Exists: true, Scales: true, Replicas: 2},
	}
}

// story writes a log in which most things happen once.
func (b *harness) story() {
	b.t.Helper()
	subnets, err := ipam.ParseConfig([]byte(floatingIPs))
	if err != nil {
		b.t.Fatal(err)
	}
	db0 := pod(ipam.KindStatefulSet, "db", "db-0", "uid-db-0", ipam.Immutable)
	web := pod(ipam.KindDeployment, "web", "web-7d9f-x2x4z", "uid-web-1", ipam.ReleaseOnDelete)
	b.do("configmap", allocator.Configure{Source: "ConfigMap kube-system/floatingip-config", Subnets: subnets})
	b.do("uid-db-0", allocator.Bind{Pod: db0, Node: "node3", NodeNetwork: network})
	b.do("uid-web-1", allocator.Bind{Pod: web, Node: "node3", NodeNetwork: network})
	b.do("pool", allocator.SizePool{Pool: "blue", Size: 2, PreAllocate: true})
	b.do("uid-web-1", allocator.EndPod{Pod: web})
	b.do("uid-db-0", allocator.EndPod{Pod: db0})
	db0.UID = "uid-db-0-again"
	b.do("uid-db-0-again", allocator.Bind{Pod: db0, Node: "node5", NodeNetwork: network})
}

// run is one call of the program.
func (b *harness) run(args ...string) (code int, out, errs string) {
	return b.runWith(b.t.Context(), nil, args...)
}

func (b *harness) runWith(ctx context.Context, in []byte, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	args = append([]string{"--etcd-endpoints", b.etcd.Endpoint(), "--server", b.rest}, args...)
	code = run(ctx, args, bytes.NewReader(in), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// must runs what has to succeed.
func (b *harness) must(args ...string) string {
	b.t.Helper()
	code, out, errs := b.run(args...)
	if code != cli.OK {
		b.t.Fatalf("galaxyctl %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// refuses runs what has to fail, and say all of these.
func (b *harness) refuses(says []string, args ...string) {
	b.t.Helper()
	code, out, errs := b.run(args...)
	if code != cli.Failure {
		b.t.Errorf("galaxyctl %s: exit %d, want %d\n%s%s", strings.Join(args, " "), code, cli.Failure, out, errs)
	}
	for _, words := range says {
		if !strings.Contains(errs, words) {
			b.t.Errorf("galaxyctl %s says %q, want %q in it", strings.Join(args, " "), errs, words)
		}
	}
	b.t.Log(strings.TrimSpace(errs))
}
