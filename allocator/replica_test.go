package allocator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/ipam"
	"galaxy/projections"
)

var (
	testNodes  = netip.MustParsePrefix("192.168.0.0/16")
	testConfig = `[{"nodeSubnets":["192.168.0.0/16"],"subnet":"10.0.0.0/16","gateway":"10.0.0.1","ips":["10.0.0.2~10.0.255.254"]}]`
)

// replicaHarness is a replica that leads on a log in memory.
type replicaHarness struct {
	log     *memlog.Log
	replica *Replica
	ended   chan error
	stop    func()
}

func newReplicaHarness(t *testing.T, log *memlog.Log, actor string) *replicaHarness {
	t.Helper()
	r, err := NewReplica(t.Context(), Config{Log: log, Actor: actor, Now: time.Now,
		Rules: Rules{ReuseDelay: DefaultReuseDelay}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &replicaHarness{log: log, replica: r, ended: make(chan error, 1)}
}

func (s *replicaHarness) lead(t *testing.T, fence eventlog.Fence) *replicaHarness {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.ended <- s.replica.Lead(ctx, fence) }()
	t.Cleanup(stop)
	for !s.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	return s
}

func (s *replicaHarness) configured(t *testing.T) *replicaHarness {
	t.Helper()
	subnets, err := ipam.ParseConfig([]byte(testConfig))
	if err == nil {
		_, err = s.replica.Do(t.Context(), "test", Configure{Source: "test", Subnets: subnets})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testPod(i int) Pod {
	return Pod{
		Owner: ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "ns", App: "app", Pod: fmt.Sprintf("app-%d", i)},
		UID:   fmt.Sprintf("u%d", i),
	}
}

func bindTo(i int) Bind { return Bind{Pod: testPod(i), Node: "n", NodeNetwork: testNodes} }

// bindAll binds n pods at once and returns the errors.
func (s *replicaHarness) bindAll(t *testing.T, n int) []error {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { _, errs[i] = s.replica.Do(t.Context(), "test", bindTo(i)) })
	}
	wg.Wait()
	return errs
}

// replayed is what the log says.
func replayed(t *testing.T, log eventlog.Log) *projections.View {
	t.Helper()
	db, err := projections.Load(t.Context(), log, eventlog.StreamIPAM, projections.Until{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return db.View()
}

func TestManyCallers(t *testing.T) {
	s := newReplicaHarness(t, memlog.NewWithLimits(eventlog.Limits{Events: 7, Bytes: 1 << 20}), "a").lead(t,
		eventlog.Fence{}).configured(t)
	for i, err := range s.bindAll(t, 500) {
		if err != nil {
			t.Fatalf("pod %d: %v", i, err)
		}
	}
	view := replayed(t, s.log)
	if got := view.Scope(testPod(0).Owner.AppLevel()).Held; got != 500 {
		t.Fatalf("%d addresses are held, want 500", got)
	}
	if view.Digest() != s.replica.View().Digest() {
		t.Fatal("the replica and the log differ")
	}
}

// TestLostResponses: the log says that it does not know, whether the events landed or not. Callers get that as an
// error, the term ends, and the next one finds the truth.
func TestLostResponses(t *testing.T) {
	for _, landed := range []bool{true, false} {
		s := newReplicaHarness(t, memlog.New(), "a").lead(t, eventlog.Fence{}).configured(t)
		s.log.SetFault(func(string, eventlog.Head) memlog.Fault {
			return memlog.Fault{Err: eventlog.ErrOutcomeUnknown, Landed: landed}
		})
		if _, err := s.replica.Do(t.Context(), "test", bindTo(1)); !errors.Is(err, eventlog.ErrOutcomeUnknown) {
			t.Fatalf("landed %t: the caller got %v", landed, err)
		}
		if err := <-s.ended; !errors.Is(err, eventlog.ErrOutcomeUnknown) {
			t.Fatalf("landed %t: the term ended with %v", landed, err)
		}
		if held := s.replica.View().Address(netip.MustParseAddr("10.0.0.2")); held != nil {
			t.Fatalf("landed %t: readers see what nobody knows to be durable", landed)
		}
		s.log.SetFault(nil)
		s.lead(t, eventlog.Fence{})
		if held := s.replica.View().Address(netip.MustParseAddr("10.0.0.2")); (held != nil) != landed {
			t.Fatalf("landed %t: after catching up the address is %+v", landed, held)
		}
		if _, err := s.replica.Do(t.Context(), "test", bindTo(1)); err != nil {
			t.Fatalf("landed %t: asked again: %v", landed, err)
		}
		if head := s.replica.View().Position().Head.Seq; head != 2 {
			t.Fatalf("landed %t: the log has %d events, want 2", landed, head)
		}
	}
}

// TestConflict: another writer was faster; all commands are decided again on what it wrote.
func TestConflict(t *testing.T) {
	log := memlog.New()
	a := newReplicaHarness(t, log, "a").lead(t, eventlog.Fence{}).configured(t)
	b := newReplicaHarness(t, log, "b").lead(t, eventlog.Fence{})
	for i, err := range append(a.bindAll(t, 40), b.bindAll(t, 80)...) {
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if got := replayed(t, log).Scope(testPod(0).Owner.AppLevel()).Held; got != 80 {
		t.Fatalf("%d addresses are held, want 80", got)
	}
}

// TestNoOldNews: a command that seems fulfilled already is still checked against the log.
func TestNoOldNews(t *testing.T) {
	log := memlog.New()
	a := newReplicaHarness(t, log, "a").lead(t, eventlog.Fence{}).configured(t)
	b := newReplicaHarness(t, log, "b").lead(t, eventlog.Fence{})
	if _, err := a.replica.Do(t.Context(), "test", bindTo(1)); err != nil {
		t.Fatal(err)
	}
	// b has not heard of the pod, so there seems to be nothing to end.
	result, err := b.replica.Do(t.Context(), "test", EndPod{Pod: testPod(1)})
	if err != nil || len(result.Released) != 1 {
		t.Fatalf("b released %v, %v", result.Released, err)
	}
}

func TestFenced(t *testing.T) {
	log := memlog.New()
	log.SetFence("leader", 5)
	s := newReplicaHarness(t, log, "a").lead(t, eventlog.Fence{Key: "leader", Revision: 5}).configured(t)
	log.SetFence("leader", 6)
	if _, err := s.replica.Do(t.Context(), "test", bindTo(1)); !errors.Is(err, eventlog.ErrFenced) {
		t.Fatalf("the caller got %v", err)
	}
	if err := <-s.ended; !errors.Is(err, eventlog.ErrFenced) {
		t.Fatalf("the term ended with %v", err)
	}
	if _, err := s.replica.Do(t.Context(), "test", bindTo(1)); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("after the term the caller got %v", err)
	}
}

func TestTooLarge(t *testing.T) {
	s := newReplicaHarness(t, memlog.NewWithLimits(eventlog.Limits{Events: 100, Bytes: 2000}), "a").lead(t,
		eventlog.Fence{}).configured(t)
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf(`{"nodeSubnets":["192.168.0.0/16"],"subnet":"10.1.%d.0/24","gateway":"10.1.%d.1","ips":["10.1.%d.2"]}`, i, i, i))
	}
	subnets, err := ipam.ParseConfig([]byte("[" + strings.Join(many, ",") + "]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.replica.Do(t.Context(), "test", Configure{Source: "large", Subnets: subnets}); !errors.Is(err,
		eventlog.ErrTooLarge) {
		t.Fatalf("the caller got %v", err)
	}
	if _, err := s.replica.Do(t.Context(), "test", bindTo(1)); err != nil {
		t.Fatalf("after a refusal: %v", err)
	}
}

// TestRepeats: a command with more to do than a transaction can hold is carried out in several.
func TestRepeats(t *testing.T) {
	s := newReplicaHarness(t, memlog.NewWithLimits(eventlog.Limits{Events: 10, Bytes: 1 << 20}), "a").lead(t,
		eventlog.Fence{}).configured(t)
	result, err := s.replica.Do(t.Context(), "test", SizePool{Pool: "p", Size: 95, PreAllocate: true})
	if err != nil || result.Held != 95 {
		t.Fatalf("holds %d, %v", result.Held, err)
	}
	result, err = s.replica.Do(t.Context(), "test", DeletePool{Pool: "p"})
	if err != nil || len(result.Released) != 95 {
		t.Fatalf("released %d, %v", len(result.Released), err)
	}
	if s.replica.View().Pool("p") != nil {
		t.Fatal("the pool is still there")
	}
}

// TestStop: the end of a term answers everybody, truly.
func TestStop(t *testing.T) {
	s := newReplicaHarness(t, memlog.New(), "a").lead(t, eventlog.Fence{}).configured(t)
	var wg sync.WaitGroup
	errs := make([]error, 200)
	for i := range errs {
		wg.Go(func() { _, errs[i] = s.replica.Do(t.Context(), "test", bindTo(i)) })
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Fatalf("the term ended with %v", err)
	}
	wg.Wait()
	view := replayed(t, s.log)
	for i, err := range errs {
		if held := len(collect(view.Held(testPod(i).Owner))); (err == nil) != (held == 1) {
			t.Errorf("pod %d got %v and holds %d", i, err, held)
		}
	}
}

// TestRefusalsAreCheap: a command that is refused costs the log nothing, and leaves nothing behind.
func TestRefusalsAreCheap(t *testing.T) {
	asked := &asking{Log: memlog.New()}
	r, err := NewReplica(t.Context(), Config{Log: asked, Actor: "a", Now: time.Now,
		Rules: Rules{ReuseDelay: DefaultReuseDelay}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := (&replicaHarness{log: asked.Log, replica: r, ended: make(chan error, 1)}).lead(t,
		eventlog.Fence{}).configured(t)
	before := asked.times.Load()
	for range 20 {
		var unknown *UnknownAddressError
		if _, err := s.replica.Do(t.Context(), "test",
			Reserve{Address: netip.MustParseAddr("192.0.2.1")}); !errors.As(err, &unknown) {
			t.Fatal(err)
		}
	}
	if _, err := s.replica.Do(t.Context(), "test", bindTo(1)); err != nil {
		t.Fatal(err)
	}
	if n := asked.times.Load() - before; n != 1 {
		t.Fatalf("the log was asked %d times, want once, for the bind", n)
	}
	// That there is nothing to delete is relied upon, as a deletion is.
	if _, err := s.replica.Do(t.Context(), "test", DeletePool{Pool: "none"}); !errors.Is(err, ErrNoPool) ||
		asked.times.Load()-before != 2 {
		t.Fatalf("%v, after the log was asked %d times", err, asked.times.Load()-before)
	}
}

// asking counts how often a log is asked.
type asking struct {
	*memlog.Log
	times atomic.Int64
}

func (a *asking) Head(ctx context.Context, stream string) (eventlog.Head, error) {
	a.times.Add(1)
	return a.Log.Head(ctx, stream)
}

func (a *asking) Append(ctx context.Context, stream string, after eventlog.Head, records []eventlog.Record,
	fence eventlog.Fence) (eventlog.Head, error) {
	a.times.Add(1)
	return a.Log.Append(ctx, stream, after, records, fence)
}

func TestCallerGivesUp(t *testing.T) {
	s := newReplicaHarness(t, memlog.New(), "a").lead(t, eventlog.Fence{}).configured(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.replica.Do(ctx, "test", bindTo(1)); !errors.Is(err, context.Canceled) {
		t.Fatalf("the caller got %v", err)
	}
}

func TestRulesAreChecked(t *testing.T) {
	for _, delay := range []time.Duration{-time.Second, 1500 * time.Millisecond, 2 * time.Hour} {
		if _, err := NewReplica(t.Context(), Config{Log: memlog.New(), Actor: "a", Now: time.Now,
			Rules: Rules{ReuseDelay: delay}}, nil); err == nil {
			t.Errorf("a reuse delay of %s is accepted", delay)
		}
	}
}

// TestSnapshots: a leader saves its state, and the next start reads it.
func TestSnapshots(t *testing.T) {
	s := newReplicaHarness(t, memlog.New(), "a").lead(t, eventlog.Fence{}).configured(t)
	ctx, stop := context.WithCancel(t.Context())
	saved := make(chan eventlog.Head, 1)
	var keeping sync.WaitGroup
	keeping.Go(func() {
		Snapshots{Every: 10, Poll: time.Millisecond, Report: func(at eventlog.Head, err error) {
			if err != nil {
				t.Error(err)
			}
			select {
			case saved <- at:
			default:
			}
		}}.Keep(ctx, s.replica)
	})
	s.bindAll(t, 30)
	at := <-saved
	stop()
	keeping.Wait()
	head, r, err := s.log.LoadSnapshot(t.Context(), eventlog.StreamIPAM, 0)
	if err != nil || head.Seq < at.Seq || at.Seq < 10 {
		t.Fatalf("saved at %d, newest at %d: %v", at.Seq, head.Seq, err)
	}
	db, err := projections.Restore(r)
	if err != nil || db.View().Position().Head != head {
		t.Fatalf("restored at %v: %v", db.View().Position(), err)
	}
}

// TestGenerationChanges: a log that was restored is not the one that was known.
func TestGenerationChanges(t *testing.T) {
	s := newReplicaHarness(t, memlog.New(), "a").lead(t, eventlog.Fence{}).configured(t)
	s.stop()
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}
	s.log.Regenerate()
	if err := s.replica.Lead(t.Context(), eventlog.Fence{}); !errors.Is(err, eventlog.ErrGeneration) {
		t.Fatalf("leading on another generation ends with %v", err)
	}
}

// TestCheckpoints: no batch runs across an event at which replicas compare their digests, so the leader has a view at
// just that event.
func TestCheckpoints(t *testing.T) {
	var mu sync.Mutex
	var at []uint64
	log := memlog.New()
	r, err := NewReplica(t.Context(), Config{Log: log, Actor: "a", Now: time.Now,
		Rules: Rules{ReuseDelay: DefaultReuseDelay}, Checkpoint: func(view *projections.View) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, view.Position().Head.Seq)
		}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := (&replicaHarness{log: log, replica: r, ended: make(chan error, 1)}).lead(t, eventlog.Fence{}).configured(t)
	for _, err := range s.bindAll(t, 2*checkpointEvery+10) {
		if err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(at, []uint64{checkpointEvery, 2 * checkpointEvery}) {
		t.Errorf("the leader has views to compare at %v", at)
	}
}

// Where nobody compares views, a checkpoint is an event like any other.
func TestNoCheckpoints(t *testing.T) {
	log := memlog.New()
	r, err := NewReplica(t.Context(), Config{Log: log, Actor: "a", Now: time.Now, Rules: Rules{ReuseDelay: DefaultReuseDelay}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := (&replicaHarness{log: log, replica: r, ended: make(chan error, 1)}).lead(t, eventlog.Fence{}).configured(t)
	for _, err := range s.bindAll(t, checkpointEvery+10) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// joining is a context that does something when a caller is about to queue.
type joining struct {
	context.Context
	first func()
}

func (j *joining) Done() <-chan struct{} {
	if f := j.first; f != nil {
		j.first = nil
		f()
	}
	return j.Context.Done()
}

// TestQueuedAsTheTermEnds: who gets into the queue after the term has emptied it for the last time is answered all the
// same.
func TestQueuedAsTheTermEnds(t *testing.T) {
	s := newReplicaHarness(t, memlog.New(), "a").lead(t, eventlog.Fence{}).configured(t)
	waits, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ctx := &joining{waits, func() {
		s.stop()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	}}
	if _, err := s.replica.Do(ctx, "test", bindTo(1)); !errors.Is(err, ErrNotLeader) {
		t.Errorf("the caller got %v", err)
	}
}

// TestLeftInTheQueue: the end of a term answers those whom it has not even taken out of the queue.
func TestLeftInTheQueue(t *testing.T) {
	const callers, taken = 10, 3 // one is in flight, one is in the open batch, and one found that full
	s := newReplicaHarness(t, memlog.NewWithLimits(eventlog.Limits{Events: 1, Bytes: 1 << 20}), "a").lead(t,
		eventlog.Fence{}).configured(t)
	s.log.SetFault(func(string, eventlog.Head) memlog.Fault {
		for deadline := time.Now().Add(10 * time.Second); len(s.replica.queue) < callers-taken &&
			time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		return memlog.Fault{Err: eventlog.ErrFenced}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	errs := make(chan error, callers)
	for i := range callers {
		go func() {
			_, err := s.replica.Do(ctx, "test", bindTo(i))
			errs <- err
		}()
	}
	for range callers {
		if err := <-errs; !errors.Is(err, ErrNotLeader) && !errors.Is(err, eventlog.ErrFenced) {
			t.Errorf("a caller got %v", err)
		}
	}
	if err := <-s.ended; !errors.Is(err, eventlog.ErrFenced) {
		t.Errorf("the term ended with %v", err)
	}
}
