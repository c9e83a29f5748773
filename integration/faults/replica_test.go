// Package faults breaks what a replica stands on, and compares the responses that callers got with what the log says:
// nothing acknowledged is lost, nothing is held twice.
package faults

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/ipam"
	"galaxy/lease"
	"galaxy/projections"
)

var nodes = netip.MustParsePrefix("192.168.0.0/16")

const config = `[{"nodeSubnets":["192.168.0.0/16"],"subnet":"10.0.0.0/16","gateway":"10.0.0.1","ips":["10.0.0.2~10.0.255.254"]}]`

func open(t *testing.T, client *clientv3.Client) *etcdlog.Log {
	t.Helper()
	log, err := etcdlog.Open(etcdtest.Context(t), client, etcdlog.Options{AttemptTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// counting is an observer that counts conflicts.
type counting struct{ conflicts atomic.Int64 }

func (c *counting) Appended(int, int, time.Duration) {}
func (c *counting) Conflict()                        { c.conflicts.Add(1) }
func (c *counting) Folded(int)                       {}

func newReplica(t *testing.T, log eventlog.Log, actor string) (*allocator.Replica, *counting) {
	t.Helper()
	seen := &counting{}
	r, err := allocator.NewReplica(etcdtest.Context(t), allocator.Config{
		Log: log, Actor: actor, Now: time.Now, Rules: allocator.Rules{ReuseDelay: time.Second}, Observer: seen,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, seen
}

// lead makes a replica lead until the test ends, or the term does; how it ended comes back.
func lead(t *testing.T, r *allocator.Replica, fence eventlog.Fence) (ended <-chan error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		over <- r.Lead(ctx, fence)
	}()
	t.Cleanup(func() {
		stop()
		<-gone
	})
	for !r.Leading() {
		select {
		case err := <-over:
			t.Fatal("the term ended at once:", err)
		case <-time.After(time.Millisecond):
		}
	}
	return over
}

func configure(t *testing.T, r *allocator.Replica) {
	t.Helper()
	subnets, err := ipam.ParseConfig([]byte(config))
	if err == nil {
		_, err = r.Do(etcdtest.Context(t), "test", allocator.Configure{Source: "test", Subnets: subnets})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// acknowledged is the responses that callers got.
type acknowledged struct {
	mu    sync.Mutex
	holds map[ipam.Owner]netip.Addr
	freed map[ipam.Owner]bool
}

func podOf(i int) allocator.Pod {
	return allocator.Pod{
		Owner: ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "ns", App: fmt.Sprintf("app%d", i%7),
			Pod: fmt.Sprintf("app%d-%d", i%7, i)},
		UID: fmt.Sprintf("uid-%d", i),
	}
}

// upTo is a load of so many pods.
func upTo(pods int) func(int) bool { return func(i int) bool { return i >= pods } }

// load runs callers that bind pods, and end every third, each asking until it is answered. It returns when enough says
// so of the number of pods, and all callers are done.
func load(t *testing.T, callers int, enough func(pods int) bool, pick func() *allocator.Replica) *acknowledged {
	t.Helper()
	ctx := etcdtest.Context(t)
	facts := &acknowledged{holds: map[ipam.Owner]netip.Addr{}, freed: map[ipam.Owner]bool{}}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; !enough(i) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				facts.onePod(ctx, t, i, pick)
			}
		})
	}
	wg.Wait()
	return facts
}

func (f *acknowledged) onePod(ctx context.Context, t *testing.T, i int, pick func() *allocator.Replica) {
	pod := podOf(i)
	result, err := insist(ctx, pick, allocator.Bind{Pod: pod, Node: "n", NodeNetwork: nodes})
	if err != nil {
		t.Errorf("bind %s: %v", pod.Owner, err)
		return
	}
	f.mu.Lock()
	f.holds[pod.Owner] = result.Grants[0].Address
	f.mu.Unlock()
	if i%3 != 0 {
		return
	}
	if _, err := insist(ctx, pick, allocator.EndPod{Pod: pod}); err != nil {
		t.Errorf("end %s: %v", pod.Owner, err)
		return
	}
	f.mu.Lock()
	f.freed[pod.Owner] = true
	f.mu.Unlock()
}

// insist asks until there is a response: a command may be asked again, whatever became of it.
func insist(ctx context.Context, pick func() *allocator.Replica, command allocator.Command) (allocator.Result, error) {
	for {
		result, err := pick().Do(ctx, "test", command)
		if err == nil || ctx.Err() != nil || !passes(err) {
			return result, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func passes(err error) bool {
	return errors.Is(err, allocator.ErrNotLeader) ||
		errors.Is(err, eventlog.ErrOutcomeUnknown) || errors.Is(err, eventlog.ErrFenced) ||
		errors.Is(err, eventlog.ErrConflict)
}

// compare replays the whole log, which refuses an address that is held twice, and holds it against the responses that
// callers got.
func (f *acknowledged) compare(t *testing.T, log eventlog.Log) *projections.View {
	t.Helper()
	db, err := projections.Load(etcdtest.Context(t), log, eventlog.StreamIPAM, projections.Until{}, nil)
	if err != nil {
		t.Fatal("replay:", err)
	}
	view := db.View()
	for owner, addr := range f.holds {
		a := view.Address(addr)
		switch {
		case f.freed[owner]:
			if a != nil && a.Owner == owner {
				t.Errorf("%s was answered that %s is released, and still holds it", owner, addr)
			}
		case a == nil || a.Owner != owner:
			t.Errorf("%s was answered that it holds %s, and the log says %+v", owner, addr, a)
		}
	}
	if held, want := view.Scope(ipam.Owner{}).Held, 0; held != want {
		t.Errorf("nobody holds %d addresses", held)
	}
	return view
}

func one(r *allocator.Replica) func() *allocator.Replica {
	return func() *allocator.Replica { return r }
}

func TestCutConnections(t *testing.T) {
	server := etcdtest.Start(t)
	proxy := etcdtest.NewProxy(t, server.Endpoint())
	log := open(t, etcdtest.Client(t, proxy.Endpoint()))
	r, _ := newReplica(t, log, "a")
	lead(t, r, eventlog.Fence{})
	configure(t, r)

	done := make(chan struct{})
	var cutting sync.WaitGroup
	cutting.Go(func() {
		for i := 0; ; i++ {
			fault := etcdtest.CutAfter
			if i%3 == 2 {
				fault = etcdtest.CutBefore
			}
			proxy.Arm(fault, 300)
			select {
			case <-done:
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	facts := load(t, 16, func(pods int) bool { return pods >= 2000 && proxy.Cuts() >= 6 }, one(r))
	close(done)
	cutting.Wait()
	t.Logf("%d connections cut", proxy.Cuts())
	facts.compare(t, open(t, server.Client(t)))
}

func TestEtcdChangesItsLeader(t *testing.T) {
	cluster := etcdtest.StartCluster(t, 3)
	log := open(t, cluster.Client(t))
	r, _ := newReplica(t, log, "a")
	over := lead(t, r, eventlog.Fence{})
	configure(t, r)
	done := make(chan *acknowledged)
	var moves atomic.Int64
	go func() {
		done <- load(t, 16, func(pods int) bool { return pods >= 2000 && moves.Load() >= 4 }, one(r))
	}()
	for {
		select {
		case facts := <-done:
			facts.compare(t, log)
			return
		case err := <-over:
			t.Fatal("the term ended:", err)
		case <-time.After(10 * time.Millisecond):
			cluster.MoveLeader(t)
			moves.Add(1)
		}
	}
}

// TestTwoWriters: two replicas that both believe to lead. The compare on the head keeps them from harm; they only cost
// each other work.
func TestTwoWriters(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	log := open(t, client)
	a, conflictsA := newReplica(t, log, "a")
	b, conflictsB := newReplica(t, log, "b")
	lead(t, a, eventlog.Fence{})
	configure(t, a)
	lead(t, b, eventlog.Fence{})
	var turn atomic.Int64
	facts := load(t, 32, upTo(3000), func() *allocator.Replica {
		if turn.Add(1)%2 == 0 {
			return a
		}
		return b
	})
	if conflictsA.conflicts.Load()+conflictsB.conflicts.Load() == 0 {
		t.Fatal("no conflict: the two never met")
	}
	t.Logf("%d and %d conflicts", conflictsA.conflicts.Load(), conflictsB.conflicts.Load())
	facts.compare(t, log)
}

// TestDeposed: a leader whose key is gone can write nothing more, and the responses that callers get are true.
func TestDeposed(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	log := open(t, client)
	ctx := etcdtest.Context(t)
	first, err := lease.Elect(ctx, client, lease.Candidate{Key: lease.LeaderKey("/galaxy"), ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := newReplica(t, log, "a")
	b, _ := newReplica(t, log, "b")
	over := lead(t, a, eventlog.Fence{Key: first.Key, Revision: first.Revision})
	configure(t, a)

	var leader atomic.Pointer[allocator.Replica]
	leader.Store(a)
	done := make(chan *acknowledged)
	go func() {
		done <- load(t, 16, func(pods int) bool { return pods >= 3000 && leader.Load() == b }, leader.Load)
	}()
	time.Sleep(50 * time.Millisecond)
	// as when its lease ends in etcd while it does not know yet
	if _, err := client.Delete(ctx, first.Key); err != nil {
		t.Fatal(err)
	}
	second, err := lease.Elect(ctx, client, lease.Candidate{Key: lease.LeaderKey("/galaxy"), ID: "b"})
	if err != nil {
		t.Fatal(err)
	}
	lead(t, b, eventlog.Fence{Key: second.Key, Revision: second.Revision})
	leader.Store(b)
	if err := <-over; !errors.Is(err, eventlog.ErrFenced) {
		t.Fatalf("the deposed leader ended with %v", err)
	}
	facts := <-done
	facts.compare(t, log)
	for records, err := range log.Read(ctx, eventlog.StreamIPAM, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		seenB := false
		for _, record := range records {
			e, err := eventlog.Decode(record)
			if err != nil {
				t.Fatal(err)
			}
			if seenB = seenB || e.Actor == "b"; seenB && e.Actor == "a" {
				t.Fatalf("event %d is of the deposed leader", e.Seq)
			}
		}
	}
}

// TestFollowerIsEqual: a follower at the same event has the same digest, and a compaction under it changes nothing.
func TestFollowerIsEqual(t *testing.T) {
	server := etcdtest.Start(t)
	client := server.Client(t)
	log := open(t, client)
	leader, _ := newReplica(t, log, "a")
	proxy := etcdtest.NewProxy(t, server.Endpoint())
	follower, _ := newReplica(t, open(t, etcdtest.Client(t, proxy.Endpoint())), "b")
	ctx, stop := context.WithCancel(etcdtest.Context(t))
	followed := make(chan error, 1)
	go func() { followed <- follower.Follow(ctx) }()

	lead(t, leader, eventlog.Fence{})
	configure(t, leader)
	load(t, 16, upTo(500), one(leader))
	proxy.Block()
	load(t, 16, upTo(1000), one(leader))
	got, err := client.Get(ctx, "/galaxy", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(ctx, got.Header.Revision); err != nil {
		t.Fatal(err)
	}
	proxy.CutAll()
	proxy.Heal()
	want := leader.View()
	for follower.View().Position().Head.Seq < want.Position().Head.Seq {
		select {
		case err := <-followed:
			t.Fatal("the follower ended:", err)
		case <-ctx.Done():
			t.Fatalf("the follower is at event %d, the leader at %d", follower.View().Position().Head.Seq,
				want.Position().Head.Seq)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if follower.View().Digest() != want.Digest() {
		t.Fatal("the follower has another digest than the leader")
	}
	if _, err := follower.Do(ctx, "test", allocator.EndPod{Pod: podOf(1)}); !errors.Is(err, allocator.ErrNotLeader) {
		t.Fatalf("a follower decided: %v", err)
	}
	stop()
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
}
