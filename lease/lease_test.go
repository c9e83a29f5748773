package lease_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/lease"
)

const (
	ttl = 2 * time.Second // the shortest that leaves room on a slow machine
	key = "/galaxy/v1/lease/leader"
)

func candidate(id string) lease.Candidate {
	return lease.Candidate{Key: key, ID: id, Address: id + ":443", TTL: ttl}
}

func elect(t *testing.T, client *clientv3.Client, id string) *lease.Leadership {
	t.Helper()
	l, err := lease.Elect(etcdtest.Context(t), client, candidate(id))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// within fails the test unless the channel is closed, or brings something, in time.
func within[T any](t *testing.T, limit time.Duration, c <-chan T, what string) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(limit):
		t.Fatalf("%s: nothing happened for %s", what, limit)
	}
	return got
}

// electing stands for election in the background.
func electing(t *testing.T, client *clientv3.Client, id string) <-chan *lease.Leadership {
	won := make(chan *lease.Leadership, 1)
	ctx := etcdtest.Context(t)
	go func() {
		if l, err := lease.Elect(ctx, client, candidate(id)); err == nil {
			won <- l
		}
	}()
	return won
}

func TestElectAndResign(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	if _, err := lease.Leader(ctx, client, key); !errors.Is(err, lease.ErrNoLeader) {
		t.Fatalf("before the election: %v", err)
	}
	first := elect(t, client, "a")
	holder, err := lease.Leader(ctx, client, key)
	if err != nil || holder.ID != "a" || holder.Address != "a:443" || holder.Since.IsZero() {
		t.Fatalf("the leader is %+v, %v", holder, err)
	}
	next := electing(t, client, "b")
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	if err := first.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	within(t, time.Second, first.Lost(), "the resigned leader")
	if first.Err() != nil {
		t.Errorf("a leader that resigned reports why it lost: %v", first.Err())
	}
	second := within(t, 5*time.Second, next, "the other candidate")
	if took := time.Since(began); took > time.Second {
		t.Errorf("handing over took %s", took)
	}
	if second.Revision <= first.Revision {
		t.Errorf("fences %d, then %d", first.Revision, second.Revision)
	}
	if err := errors.Join(second.Resign(ctx), second.Resign(ctx)); err != nil {
		t.Errorf("resign twice: %v", err)
	}
}

func TestLeaderIsRenewed(t *testing.T) {
	t.Parallel()
	client := etcdtest.Start(t).Client(t)
	l := elect(t, client, "a")
	select {
	case <-l.Lost():
		t.Fatalf("lost: %v", l.Err())
	case <-time.After(2*ttl + ttl/2):
	}
}

func TestSameIdentityDoesNotSteal(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	first := elect(t, client, "a")
	again := electing(t, client, "a")
	select {
	case <-again:
		t.Fatal("a candidate took over from its own former life")
	case <-time.After(ttl + ttl/2):
	}
	if err := first.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, again, "the candidate in its second life")
}

func TestLeaseIsRevoked(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	first := elect(t, client, "a")
	response, err := client.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Revoke(ctx, clientv3.LeaseID(response.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
	within(t, time.Second, first.Lost(), "the leader whose lease was revoked")
	if first.Err() == nil {
		t.Error("no reason is given")
	}
}

func TestKeyIsDeleted(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	first := elect(t, client, "a")
	if _, err := client.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	within(t, time.Second, first.Lost(), "the leader whose key was deleted")
}

// A leader that is cut off stops believing in itself before anybody else can lead.
func TestCutOffLeader(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	proxy := etcdtest.NewProxy(t, etcd.Endpoint())
	first := elect(t, etcdtest.Client(t, proxy.Endpoint()), "a")
	next := electing(t, etcd.Client(t), "b")
	proxy.Block()
	began := time.Now()
	second := within(t, 3*ttl+2*time.Second, next, "the other candidate")
	select {
	case <-first.Lost():
	default:
		t.Fatal("another leads, and the one that was cut off still believes that it does")
	}
	// etcd looks for ended leases twice a second, and the last renewal may have been just before the cut.
	if took := time.Since(began); took > ttl+1500*time.Millisecond {
		t.Errorf("handing over took %s, the TTL is %s", took, ttl)
	}
	if second.Revision <= first.Revision {
		t.Errorf("fences %d, then %d", first.Revision, second.Revision)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := first.Resign(ctx); err == nil {
		t.Error("resigning without etcd succeeded")
	}
	proxy.Heal()
}

// Short troubles are not felt.
func TestLeaderOutlivesRestart(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	l := elect(t, etcd.Client(t), "a")
	etcd.Restart(t)
	select {
	case <-l.Lost():
		t.Fatalf("lost: %v", l.Err())
	case <-time.After(2 * ttl):
	}
}

// Several candidates that lead in turn, each resigning or being deleted: at no time do two hold valid fences.
func TestNeverTwo(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	counter := etcd.Client(t)
	var mu sync.Mutex
	var fences []int64
	var running sync.WaitGroup
	for _, id := range []string{"a", "b", "c"} {
		client := etcd.Client(t)
		running.Go(func() {
			for {
				l, err := lease.Elect(ctx, client, candidate(id))
				if err != nil {
					return
				}
				response, err := counter.Txn(ctx).
					If(clientv3.Compare(clientv3.CreateRevision(l.Key), "=", l.Revision)).
					Then(clientv3.OpPut("/owner", id)).Commit()
				mu.Lock()
				if err == nil && response.Succeeded {
					fences = append(fences, l.Revision)
				}
				mu.Unlock()
				if err := l.Resign(context.WithoutCancel(ctx)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if len(fences) < 10 {
		t.Errorf("only %d leaderships in 3 seconds", len(fences))
	}
	for i := 1; i < len(fences); i++ {
		if fences[i] <= fences[i-1] {
			t.Fatalf("fence %d was used after fence %d", fences[i], fences[i-1])
		}
	}
	t.Logf("%d leaderships", len(fences))
}

// changes watches in the background.
func changes(t *testing.T, client *clientv3.Client, prefix string) <-chan lease.Change {
	seen := make(chan lease.Change, 100)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for batch, err := range lease.Watch(ctx, client, prefix) {
			if err != nil {
				return
			}
			for _, c := range batch {
				seen <- c
			}
		}
	}()
	return seen
}

func TestAnnounceAndWatch(t *testing.T) {
	t.Parallel()
	const prefix = "/galaxy/v1/lease/node/"
	etcd := etcdtest.Start(t)
	client, ctx := etcd.Client(t), etcdtest.Context(t)
	first, err := lease.Announce(ctx, client, prefix+"n1", []byte("one"), ttl)
	if err != nil {
		t.Fatal(err)
	}
	seen := changes(t, client, prefix)
	expect := func(want lease.Change) {
		t.Helper()
		got := within(t, 3*ttl, seen, "the watch")
		if got.Key != want.Key || string(got.Value) != string(want.Value) || got.Gone != want.Gone {
			t.Fatalf("seen %+v, want %+v", got, want)
		}
	}
	expect(lease.Change{Key: prefix + "n1", Value: []byte("one")})
	second, err := lease.Announce(ctx, client, prefix+"n2", []byte("two"), ttl)
	if err != nil {
		t.Fatal(err)
	}
	expect(lease.Change{Key: prefix + "n2", Value: []byte("two")})
	if err := first.Update(ctx, []byte("one again")); err != nil {
		t.Fatal(err)
	}
	expect(lease.Change{Key: prefix + "n1", Value: []byte("one again")})
	if err := second.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	expect(lease.Change{Key: prefix + "n2", Gone: true})

	response, err := client.Get(ctx, prefix+"n1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Revoke(ctx, clientv3.LeaseID(response.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
	expect(lease.Change{Key: prefix + "n1", Gone: true})
	expect(lease.Change{Key: prefix + "n1", Value: []byte("one again")})
	if err := first.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	expect(lease.Change{Key: prefix + "n1", Gone: true})
}

func TestAnnouncementReturnsAfterCut(t *testing.T) {
	t.Parallel()
	const name = "/galaxy/v1/lease/node/n1"
	etcd := etcdtest.Start(t)
	proxy := etcdtest.NewProxy(t, etcd.Endpoint())
	a, err := lease.Announce(etcdtest.Context(t), etcdtest.Client(t, proxy.Endpoint()), name, []byte("one"), ttl)
	if err != nil {
		t.Fatal(err)
	}
	seen := changes(t, etcd.Client(t), name)
	within(t, time.Second, seen, "the watch")
	proxy.Block()
	if c := within(t, 3*ttl, seen, "the end of the lease"); !c.Gone {
		t.Fatalf("seen %+v", c)
	}
	proxy.Heal()
	if c := within(t, 4*ttl, seen, "the new announcement"); c.Gone {
		t.Fatalf("seen %+v", c)
	}
	if err := a.Stop(etcdtest.Context(t)); err != nil {
		t.Fatal(err)
	}
}

func TestWatchSurvivesRestart(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	client, ctx := etcd.Client(t), etcdtest.Context(t)
	seen := changes(t, client, "/keys/")
	for _, k := range []string{"/keys/1", "/keys/2"} {
		if _, err := client.Put(ctx, k, k); err != nil {
			t.Fatal(err)
		}
		if c := within(t, 5*time.Second, seen, "the watch"); c.Key != k {
			t.Fatalf("seen %+v, want %s", c, k)
		}
		etcd.Restart(t)
	}
}

// A name that another machine has is waited for; one of an earlier life is taken over at once.
func TestNameIsOfOne(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	name := func(machine string, notified chan error) lease.Name {
		return lease.Name{
			Client: client, Key: "/names/a", TTL: 2 * time.Second, Conflict: func(err error) {
				select {
				case notified <- err:
				default:
				}
			},
			Others: func(value []byte) error {
				if string(value) == machine {
					return nil
				}
				return errors.New("the name is that of " + string(value))
			},
		}
	}
	ctx := t.Context()
	first, err := name("m1", nil).Announce(ctx, []byte("m1"))
	if err != nil || first.Revision() == 0 || time.Until(first.Until()) <= 0 {
		t.Fatal(err)
	}
	notified := make(chan error, 1)
	second := make(chan *lease.Announcement, 1)
	go func() {
		a, err := name("m2", notified).Announce(ctx, []byte("m2"))
		if err != nil {
			t.Error(err)
		}
		second <- a
	}()
	if err := within(t, 5*time.Second, notified,
		"the second is notified of the first"); err.Error() != "the name is that of m1" {
		t.Error(err)
	}
	again, err := name("m1", nil).Announce(ctx, []byte("m1")) // a restart, before the old lease has ended
	if err != nil || again.Revision() != first.Revision() {
		t.Errorf("the next life of m1: %v, revisions %d and %d", err, first.Revision(), again.Revision())
	}
	if err := again.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	last := within(t, 10*time.Second, second, "the second has the name")
	if err := last.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// A leader that is known to be dead is not waited for; one of another life is left alone.
func TestEndFormer(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	end := func(id string, want bool) {
		t.Helper()
		if ended, err := lease.EndFormer(ctx, client, key, id); err != nil || ended != want {
			t.Errorf("end %s: %v %v, want %v", id, ended, err, want)
		}
	}
	end("first", false) // nobody leads
	first := elect(t, client, "first")
	end("other", false)
	end("first", true)
	within(t, 10*time.Second, first.Lost(), "the former leader")
	second := elect(t, client, "second")
	end("first", false)
	if err := second.Resign(ctx); err != nil {
		t.Error(err)
	}
}

// Why nobody can be elected is notified, and untold with the next response.
func TestElectionIsNoted(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	client, ctx := etcd.Client(t), etcdtest.Context(t)
	full := clientv3.NewCtxClient(ctx)
	full.KV, full.Watcher, full.Lease = client.KV, client.Watcher, noLeases{client.Lease}
	notified := make(chan error, 100)
	c := candidate("first")
	c.Note = func(err error) { notified <- err }
	trying, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = lease.Elect(trying, full, c)
	}()
	if err := within(t, 10*time.Second, notified, "why nobody is elected"); !errors.Is(err, errNoSpace) {
		t.Errorf("notified of %v", err)
	}
	stop()
	<-ended
	if _, err := lease.Elect(ctx, client, c); err != nil {
		t.Fatal(err)
	}
	for err := range notified {
		if err == nil {
			return
		}
	}
}

var errNoSpace = errors.New("database space exceeded")

// noLeases is an etcd that is full.
type noLeases struct{ clientv3.Lease }

func (noLeases) Grant(context.Context, int64) (*clientv3.LeaseGrantResponse, error) {
	return nil, errNoSpace
}
