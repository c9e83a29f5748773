package etcdlog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/etcdtest"
)

// quick makes faults show early, so that tests are short.
var quick = etcdlog.Options{CheckInterval: 200 * time.Millisecond, AttemptTimeout: 2 * time.Second}

// batch makes n records after a sequence number.
func batch(after uint64, n int) []eventlog.Record {
	made := make([]eventlog.Record, n)
	for i := range made {
		seq := after + uint64(i) + 1
		made[i] = eventlog.Record{Seq: seq, Bytes: fmt.Appendf(nil, `{"seq":%d,"padding":%0300d}`, seq,
			time.Now().UnixNano())}
	}
	return made
}

// writer appends and remembers what was acknowledged. Nobody else writes, so that every conflict is a false one.
type writer struct {
	log  *etcdlog.Log
	head eventlog.Head
	all  []eventlog.Record
}

func newWriter(t *testing.T, log *etcdlog.Log) *writer {
	t.Helper()
	head, err := log.Head(etcdtest.Context(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	return &writer{log: log, head: head}
}

func (w *writer) append(ctx context.Context, n int) error {
	made := batch(w.head.Seq, n)
	head, err := w.log.Append(ctx, stream, w.head, made, eventlog.Fence{})
	if err != nil {
		return err
	}
	w.head, w.all = head, append(w.all, made...)
	return nil
}

// check makes sure that the log holds exactly what was acknowledged.
func (w *writer) check(t *testing.T, log *etcdlog.Log) {
	t.Helper()
	var stored []eventlog.Record
	for records, err := range log.Read(etcdtest.Context(t), stream, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, records...)
	}
	same(t, stored, w.all)
}

func same(t *testing.T, got, want []eventlog.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Seq != want[i].Seq || string(got[i].Bytes) != string(want[i].Bytes) {
			t.Fatalf("event %d is %s, want event %d %s", got[i].Seq, got[i].Bytes, want[i].Seq, want[i].Bytes)
		}
	}
}

// follower collects everything from the beginning of the stream, in the background.
type follower struct {
	want chan int
	done chan []eventlog.Record
}

func startFollower(t *testing.T, log *etcdlog.Log) *follower {
	f := &follower{want: make(chan int, 1), done: make(chan []eventlog.Record, 1)}
	ctx := etcdtest.Context(t)
	go func() {
		var seen []eventlog.Record
		total := -1
		for records, err := range log.Follow(ctx, stream, eventlog.Head{}) {
			if err != nil {
				t.Errorf("follow, after %d events: %v", len(seen), err)
				break
			}
			seen = append(seen, records...)
			select {
			case total = <-f.want:
			default:
			}
			if total >= 0 && len(seen) >= total {
				break
			}
		}
		f.done <- seen
	}()
	return f
}

// finish appends one more event, after the follower knows how many there will be, and compares.
func (f *follower) finish(t *testing.T, w *writer) {
	t.Helper()
	f.want <- len(w.all) + 1
	if err := w.append(etcdtest.Context(t), 1); err != nil {
		t.Fatal(err)
	}
	select {
	case seen := <-f.done:
		same(t, seen, w.all)
	case <-time.After(20 * time.Second):
		t.Fatal("the follower does not see all events")
	}
}

// The response to every transaction of many is lost, or the transaction itself is: every append is reported as landed,
// and has landed once.
func TestAppendWithLostResponses(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	proxy := etcdtest.NewProxy(t, etcd.Endpoint())
	w := newWriter(t, open(t, etcdtest.Client(t, proxy.Endpoint()), quick))
	direct := open(t, etcd.Client(t), quick)
	follow := startFollower(t, direct)
	const rounds = 60
	for i := range rounds {
		fault := etcdtest.CutAfter
		if i%3 == 0 {
			fault = etcdtest.CutBefore
		}
		proxy.Arm(fault, 300)
		if err := w.append(etcdtest.Context(t), 1+i%5); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
	if proxy.Cuts() < rounds {
		t.Errorf("%d faults in %d appends: the test tests less than it says", proxy.Cuts(), rounds)
	}
	follow.finish(t, w)
	w.check(t, direct)
}

// Another writer gets in between while the response is lost: the loser must hear so, and that only if it lost.
func TestLostResponsesAndAnotherWriter(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	proxy := etcdtest.NewProxy(t, etcd.Endpoint())
	ctx := etcdtest.Context(t)
	unlucky, other := open(t, etcdtest.Client(t, proxy.Endpoint()), quick), open(t, etcd.Client(t), quick)
	stop, stopped := make(chan struct{}), make(chan struct{})
	landed := map[string]bool{} // of the other writer
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			head, err := other.Head(ctx, stream)
			if err != nil {
				t.Error(err)
				return
			}
			made := batch(head.Seq, 1)
			if _, err := other.Append(ctx, stream, head, made, eventlog.Fence{}); err == nil {
				landed[string(made[0].Bytes)] = true
			} else if !errors.Is(err, eventlog.ErrConflict) {
				t.Error(err)
				return
			}
		}
	}()
	ours, conflicts := map[string]bool{}, 0
	for range 40 {
		head, err := unlucky.Head(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		proxy.Arm(etcdtest.CutAfter, 300)
		made := batch(head.Seq, 1)
		_, err = unlucky.Append(ctx, stream, head, made, eventlog.Fence{})
		switch {
		case err == nil:
			ours[string(made[0].Bytes)] = true
		case errors.Is(err, eventlog.ErrConflict):
			conflicts++
		default:
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
	t.Logf("%d landed, %d conflicts, the other writer landed %d", len(ours), conflicts, len(landed))
	total := len(ours) + len(landed)
	for records, err := range other.Read(ctx, stream, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if !ours[string(r.Bytes)] && !landed[string(r.Bytes)] {
				t.Fatalf("event %d was reported as not written: %s", r.Seq, r.Bytes)
			}
			total--
		}
	}
	if total != 0 {
		t.Fatalf("%d events were reported as written and are not there", total)
	}
}

func TestOutcomeUnknown(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	proxy := etcdtest.NewProxy(t, etcd.Endpoint())
	w := newWriter(t, open(t, etcdtest.Client(t, proxy.Endpoint()), quick))
	if err := w.append(etcdtest.Context(t), 3); err != nil {
		t.Fatal(err)
	}
	proxy.Block()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	err := w.append(ctx, 1)
	if !errors.Is(err, eventlog.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("append without a network: %v", err)
	}
	proxy.Heal()
}

func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	w := newWriter(t, open(t, etcd.Client(t), quick))
	follow := startFollower(t, open(t, etcd.Client(t), quick))
	load(t, w, 3, func() { etcd.Restart(t) })
	follow.finish(t, w)
	w.check(t, w.log)
}

func TestLeaderChangeUnderLoad(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.StartCluster(t, 3)
	w := newWriter(t, open(t, cluster.Client(t), quick))
	follow := startFollower(t, open(t, cluster.Client(t), quick))
	load(t, w, 3, func() { cluster.MoveLeader(t) })
	load(t, w, 1, func() { cluster.Restart(t, cluster.Leader(t)) })
	follow.finish(t, w)
	w.check(t, w.log)
}

// load appends without pause while trouble comes so many times.
func load(t *testing.T, w *writer, times int, trouble func()) {
	t.Helper()
	stop, failed := make(chan struct{}), make(chan error, 1)
	ctx := etcdtest.Context(t)
	go func() {
		for n := 1; ; n = n%9 + 1 {
			select {
			case <-stop:
				failed <- nil
				return
			default:
			}
			if err := w.append(ctx, n); err != nil {
				failed <- err
				return
			}
		}
	}()
	for range times {
		time.Sleep(200 * time.Millisecond)
		trouble()
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// A follower is cut off, and what it has not seen is compacted away from the history of etcd meanwhile.
func TestCompactionUnderFollower(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	proxy := etcdtest.NewProxy(t, etcd.Endpoint())
	client := etcd.Client(t)
	w := newWriter(t, open(t, client, quick))
	ctx := etcdtest.Context(t)
	if err := w.append(ctx, 10); err != nil {
		t.Fatal(err)
	}
	follow := startFollower(t, open(t, etcdtest.Client(t, proxy.Endpoint()), quick))
	for range 3 {
		time.Sleep(100 * time.Millisecond)
		proxy.Block()
		for range 20 {
			if err := w.append(ctx, 50); err != nil {
				t.Fatal(err)
			}
		}
		now, err := client.Get(ctx, "any")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Compact(ctx, now.Header.Revision); err != nil {
			t.Fatal(err)
		}
		proxy.CutAll()
		proxy.Heal()
	}
	follow.finish(t, w)
}

// The revision at which a log is read is compacted while it is read.
func TestCompactionUnderReader(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	client, ctx := etcd.Client(t), etcdtest.Context(t)
	w := newWriter(t, open(t, client, quick))
	for range 60 {
		if err := w.append(ctx, 127); err != nil {
			t.Fatal(err)
		}
	}
	expected := w.all
	var seen []eventlog.Record
	for records, err := range w.log.Read(ctx, stream, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, records...)
		if err := w.append(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Compact(ctx, currentRevision(t, w.log)); err != nil {
			t.Fatal(err)
		}
	}
	same(t, seen, expected)
}

func currentRevision(t *testing.T, log *etcdlog.Log) int64 {
	t.Helper()
	export, err := log.Export(etcdtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	return export.Revision()
}
