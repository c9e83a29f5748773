package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/eventlog/memlog"
	"galaxy/ipam"
	"galaxy/lease"
)

// nodesBed is a stream nodes that is led, and agents that a test announces.
type nodesBed struct {
	replica *allocator.Replica
	mu      sync.Mutex
	now     time.Time
}

func (b *nodesBed) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *nodesBed) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func newNodesBed(t *testing.T) *nodesBed {
	t.Helper()
	b := &nodesBed{now: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}
	ctx, cancel := context.WithCancel(context.Background())
	replica, err := allocator.NewReplica(ctx, allocator.Config{Log: memlog.New(), Stream: eventlog.StreamNodes, Actor: "test", Now: b.clock}, nil)
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
	return b
}

// states are the nodes in words, such as "a 10.0.0.0/24; b lost".
func (b *nodesBed) states() string {
	var all []string
	for n := range b.replica.View().Nodes() {
		text := n.Name
		for _, s := range n.Subnets {
			text += " " + s.String()
		}
		if !n.Alive() {
			text += " lost"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func (b *nodesBed) await(t *testing.T, want string) {
	t.Helper()
	for range 1000 {
		if b.states() == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the nodes are %q, want %q", b.states(), want)
}

func overlayOf(t *testing.T, text string) []ipam.OverlayNetwork {
	t.Helper()
	networks, err := ipam.ParseOverlay([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return networks
}

// Agents come, go, return and never return, on the leases of a real etcd.
func TestNodesFollowLeases(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client(t)
	b := newNodesBed(t)
	ctx, cancel := context.WithCancel(t.Context())
	prefix := lease.NodesPrefix("/galaxy")
	var deleted sync.Map
	var reported sync.Map
	n := &Nodes{
		Replica: b.replica, Prefix: prefix, Overlay: overlayOf(t, `[{"cidr":"10.0.0.0/23","nodePrefix":24}]`), Source: "test", Keep: time.Hour,
		Alive: func(ctx context.Context) iter.Seq2[[]lease.Change, error] { return lease.Watch(ctx, client, prefix) },
		Deleted: func(name string) bool {
			_, gone := deleted.Load(name)
			return gone
		},
		Report: func(node, reason, _ string) { reported.Store(node, reason) },
		Now:    b.clock, Log: zap.NewNop(),
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	announce := func(name string) *lease.Announcement {
		t.Helper()
		value, err := json.Marshal(ipam.Announcement{Node: name, Machine: "m-" + name, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := lease.Announce(ctx, client, prefix+name, value, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	stop := func(a *lease.Announcement) {
		t.Helper()
		if err := a.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	a := announce("a")
	b.await(t, "a 10.0.0.0/24")
	second := announce("b")
	b.await(t, "a 10.0.0.0/24; b 10.0.1.0/24")
	b.pass(settleFor)
	stop(a)
	b.await(t, "a 10.0.0.0/24 lost; b 10.0.1.0/24")
	a = announce("a") // a reboot
	b.await(t, "a 10.0.0.0/24; b 10.0.1.0/24")
	third := announce("c")
	b.await(t, "a 10.0.0.0/24; b 10.0.1.0/24; c")
	for range 100 {
		if _, told := reported.Load("c"); told {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if reason, _ := reported.Load("c"); reason != eventNoSpace || n.Waiting() != 1 {
		t.Errorf("node c finds no subnet, and is told %v; %d wait", reason, n.Waiting())
	}
	stop(second)
	b.await(t, "a 10.0.0.0/24; b 10.0.1.0/24 lost; c")
	deleted.Store("b", true)
	b.await(t, "a 10.0.0.0/24; c 10.0.1.0/24")
	stop(third)
	b.await(t, "a 10.0.0.0/24; c 10.0.1.0/24 lost")
	b.pass(time.Hour + time.Second)
	b.await(t, "a 10.0.0.0/24")
	stop(a)
	b.await(t, "a 10.0.0.0/24 lost")
}

// Most leases ending at once is more likely a fault of etcd than of the nodes: it is believed only when it lasts.
func TestManyLossesAreDoubted(t *testing.T) {
	b := newNodesBed(t)
	for !b.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	n := &Nodes{Replica: b.replica, Overlay: overlayOf(t, `[{"cidr":"10.0.0.0/16"}]`), Now: b.clock, Log: zap.NewNop(), Keep: time.Hour}
	n.alive, n.bad = map[string]ipam.Announcement{}, map[string]string{}
	for i := range 10 {
		name := fmt.Sprintf("n%d", i)
		n.alive[name] = ipam.Announcement{Node: name, Machine: name, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	}
	look := func() (alive int) {
		for range 3 { // what follows from the step before
			n.reconcile(t.Context())
		}
		for node := range b.replica.View().Nodes() {
			if node.Alive() {
				alive++
			}
		}
		return alive
	}
	if alive := look(); alive != 10 {
		t.Fatalf("%d of 10 nodes have joined", alive)
	}
	b.pass(settleFor)
	for i := range 5 {
		delete(n.alive, fmt.Sprintf("n%d", i))
	}
	if alive := look(); alive != 5 {
		t.Errorf("half of the nodes are gone, and %d are alive", alive)
	}
	n.alive = map[string]ipam.Announcement{}
	if alive := look(); alive != 5 {
		t.Errorf("all nodes look lost at once, and %d are still taken for alive", alive)
	}
	b.pass(doubtFor + time.Second)
	if alive := look(); alive != 0 {
		t.Errorf("all nodes have been lost for long, and %d are taken for alive", alive)
	}
}

// A new leader may have come with an etcd that was away: it believes in no loss before the agents had time to come back to it.
func TestNewLeaderBelievesInNoLoss(t *testing.T) {
	b := newNodesBed(t)
	for !b.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	agents := func() map[string]ipam.Announcement {
		return map[string]ipam.Announcement{"a": {Node: "a", Machine: "a", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	}
	networks := overlayOf(t, `[{"cidr":"10.0.0.0/23","nodePrefix":24}]`)
	before := &Nodes{Replica: b.replica, Overlay: networks, Now: b.clock, Log: zap.NewNop(), Keep: time.Hour, alive: agents()}
	for range 3 {
		before.reconcile(t.Context())
	}
	after := &Nodes{Replica: b.replica, Overlay: networks, Now: b.clock, Log: zap.NewNop(), Keep: time.Hour}
	after.reconcile(t.Context())
	b.pass(settleFor - time.Second)
	after.reconcile(t.Context())
	if got := b.states(); got != "a 10.0.0.0/24" {
		t.Errorf("a leader who is new has made of the nodes %q", got)
	}
	b.pass(time.Second)
	after.reconcile(t.Context())
	if got := b.states(); got != "a 10.0.0.0/24 lost" {
		t.Errorf("the agent has not come back, and the nodes are %q", got)
	}
}

// What is not understood is told once, and loses nobody.
func TestBadAnnouncements(t *testing.T) {
	var faults []string
	n := &Nodes{Prefix: "/p/", Log: zap.NewNop(), Fault: func(kind string) { faults = append(faults, kind) }}
	n.alive, n.bad = map[string]ipam.Announcement{}, map[string]string{}
	good := []byte(`{"node":"a","machine":"m","addresses":["192.0.2.1"]}`)
	n.note([]lease.Change{{Key: "/p/a", Value: good}})
	for range 3 {
		n.note([]lease.Change{{Key: "/p/a", Value: []byte("nonsense")}, {Key: "/p/b", Value: good}})
	}
	if !slices.Equal(faults, []string{"node", "node"}) || len(n.alive) != 1 {
		t.Errorf("faults %v, alive %v", faults, n.alive)
	}
}
