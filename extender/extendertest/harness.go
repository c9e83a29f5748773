package extendertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/extender"
	"galaxy/ipam"
	"galaxy/kube/objects"
)

// Subnets is the configuration of contract section 13: 7 subnets, 39 addresses.
const Subnets = `[
{"routableSubnet":"10.49.27.0/24","ips":["10.49.27.205","10.49.27.216~10.49.27.218"],"subnet":"10.49.27.0/24","gateway":"10.49.27.1","vlan":2},
{"routableSubnet":"10.173.13.0/24","ips":["10.173.13.2","10.173.13.10~10.173.13.13","10.173.13.15"],"subnet":"10.173.13.0/24","gateway":"10.173.13.1","vlan":2},
{"routableSubnet":"10.180.1.2/32","ips":["10.180.154.2~10.180.154.3"],"subnet":"10.180.154.0/24","gateway":"10.180.154.1","vlan":3},
{"routableSubnet":"10.180.1.3/32","ips":["10.180.154.7~10.180.154.8"],"subnet":"10.180.154.0/24","gateway":"10.180.154.1","vlan":3},
{"nodeSubnets":["10.0.1.0/24","10.0.2.0/24"],"ips":["10.0.70.2~10.0.70.20"],"subnet":"10.0.70.0/24","gateway":"10.0.70.1"},
{"nodeSubnets":["10.49.28.0/26","10.49.29.0/24"],"ips":["10.0.80.2~10.0.80.4"],"subnet":"10.0.80.0/24","gateway":"10.0.80.1"},
{"nodeSubnets":["10.49.28.0/26"],"ips":["10.0.81.2~10.0.81.4"],"subnet":"10.0.81.0/24","gateway":"10.0.81.1"}]`

// NodeIPs are the nodes of the fixture.
var NodeIPs = map[string]string{
	"node1": "10.180.1.3", "node2": "10.48.28.2", "node3": "10.49.27.3", "node4": "10.173.13.4", "node5": "10.49.28.3",
	"node6": "10.49.29.3",
}

// NodeText is a node as JSON.
func NodeText(name, ip string) string {
	return fmt.Sprintf(`{"kind":"Node","metadata":{"name":%q,"uid":"uid-%s","labels":{"a":"<b>"}},"status":{"addresses":[{"type":"InternalIP","address":%q}]}}`, name, name, ip)
}

// PodText is a pod of a StatefulSet "sts" unless owner says otherwise, with annotations by "policy", "pool" and "args".
func PodText(namespace, name, owner string, annotations map[string]string) string {
	names := map[string]string{
		"policy": "k8s.v1.cni.galaxy.io/release-policy", "pool": "tke.cloud.tencent.com/eni-ip-pool",
		"args": "k8s.v1.cni.galaxy.io/args",
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

// SubnetsOf reads a configuration of subnets, which has to be right.
func SubnetsOf(t testing.TB, config string) []ipam.Subnet {
	t.Helper()
	subnets, err := ipam.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return subnets
}

// ClusterOf is a cluster of the documents' objects and the nodes of the fixture, as it is at a moment.
func ClusterOf(t testing.TB, at time.Time, documents ...string) *objects.Set {
	t.Helper()
	for name, ip := range NodeIPs {
		documents = append(documents, NodeText(name, ip))
	}
	set, err := objects.Parse([]byte(strings.Join(documents, "\n---\n")), at)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Addr is an address that is right.
func Addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// PodOf owns what pod N of a StatefulSet in ns1 has.
func PodOf(app string, n int) ipam.Owner {
	return ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "ns1", App: app, Pod: fmt.Sprintf("%s-%d", app, n)}
}

// Harness is a replica that leads on a log in memory, a cluster of objects, and a clock that stands still.
type Harness struct {
	T       testing.TB
	Log     *memlog.Log
	Replica *allocator.Replica
	cluster atomic.Pointer[objects.Set]
	now     atomic.Int64
}

// New makes a Harness with a configuration of subnets, unless that is empty; nil is no observer.
func New(t testing.TB, config string, observer allocator.Observer) *Harness {
	t.Helper()
	h := &Harness{T: t, Log: memlog.New()}
	h.now.Store(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC).UnixNano())
	replica, err := allocator.NewReplica(t.Context(), allocator.Config{
		Log: h.Log, Actor: "test", Rules: allocator.Rules{ReuseDelay: 30 * time.Second}, Observer: observer,
		Now: func() time.Time { return time.Unix(0, h.now.Load()) },
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Replica = replica
	Lead(t, replica)
	if config != "" {
		h.Do(allocator.Configure{Source: "test", Subnets: SubnetsOf(t, config)})
	}
	return h
}

// Lead has a replica lead until the test ends.
func Lead(t testing.TB, replica *allocator.Replica) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
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
}

// Do has the replica carry out a command.
func (h *Harness) Do(cmd allocator.Command) allocator.Result {
	h.T.Helper()
	result, err := h.Replica.Do(context.Background(), "test", cmd)
	if err != nil {
		h.T.Fatalf("%T: %v", cmd, err)
	}
	return result
}

// Bind binds a pod to a node of the fixture without a scheduler.
func (h *Harness) Bind(owner ipam.Owner, policy ipam.Policy, node string) {
	h.T.Helper()
	config := h.Replica.View().Config()
	i, ok := config.NodeNetworkOf(Addr(NodeIPs[node]))
	if !ok {
		h.T.Fatalf("node %s has no network", node)
	}
	h.Do(allocator.Bind{Node: node, NodeNetwork: config.NodeNetworks()[i], Pod: allocator.Pod{
		Owner: owner, UID: "uid-" + owner.Pod, Policy: policy,
		Workload: allocator.Workload{Exists: true, Scales: true, Replicas: 20},
	}})
}

// Objects replaces the cluster; the nodes of the fixture are in it always.
func (h *Harness) Objects(documents ...string) {
	h.T.Helper()
	h.cluster.Store(ClusterOf(h.T, time.Unix(0, h.now.Load()), documents...))
}

// Cluster is the newest cluster; nil before the first Objects.
func (h *Harness) Cluster() extender.Cluster {
	if set := h.cluster.Load(); set != nil {
		return set
	}
	return nil
}

// Pass lets time pass.
func (h *Harness) Pass(d time.Duration) { h.now.Add(int64(d)) }
