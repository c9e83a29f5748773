package etcdlog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/etcdtest"
)

// following begins a follower in the background that must end with an error.
func following(t *testing.T, log *etcdlog.Log, after eventlog.Head) <-chan error {
	ended := make(chan error, 1)
	ctx := etcdtest.Context(t)
	go func() {
		for _, err := range log.Follow(ctx, stream, after) {
			if err != nil {
				ended <- err
			}
		}
		close(ended)
	}()
	time.Sleep(50 * time.Millisecond) // so that it watches already
	return ended
}

func expectEnd(t *testing.T, ended <-chan error, want error) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, want) {
			t.Errorf("the follower ended with %v, want %v", err, want)
		}
		t.Log(err)
	case <-time.After(10 * time.Second):
		t.Errorf("the follower does not notice, want %v", want)
	}
}

func readError(t *testing.T, log *etcdlog.Log) error {
	for _, err := range log.Read(etcdtest.Context(t), stream, 0, 0) {
		if err != nil {
			return err
		}
	}
	return nil
}

// walk reads the stream as a projection does, with a cursor.
func walk(t *testing.T, log *etcdlog.Log) error {
	var cursor eventlog.Cursor
	for records, err := range log.Read(etcdtest.Context(t), stream, 0, 0) {
		if err != nil {
			return err
		}
		for _, r := range records {
			if _, err := cursor.Read(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// exported reads the whole log as a backup does.
func exported(t *testing.T, log *etcdlog.Log) error {
	ctx := etcdtest.Context(t)
	export, err := log.Export(ctx)
	if err != nil {
		return err
	}
	for _, err := range export.Damaged() {
		return err
	}
	for name := range export.Heads() {
		for _, err := range export.Read(ctx, name) {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// events appends n real events to an empty log.
func events(t *testing.T, log *etcdlog.Log, n int) eventlog.Head {
	t.Helper()
	ctx := etcdtest.Context(t)
	head, err := log.Head(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	cursor := eventlog.Cursor{Head: head}
	var records []eventlog.Record
	for range n {
		_, r, err := cursor.Write(time.Now(), "test", "", &eventlog.PoolDeleted{Pool: "blue"})
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	if head, err = log.Append(ctx, stream, head, records, eventlog.Fence{}); err != nil {
		t.Fatal(err)
	}
	return head
}

func TestTampering(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	client := etcd.Client(t)
	eventKey := func(prefix, seq string) string { return prefix + "/v1/log/" + stream + "/" + seq }
	put := func(key, value string) clientv3.Op { return clientv3.OpPut(key, value) }
	tests := map[string]struct {
		tamper func(prefix string) clientv3.Op
		read   bool // whether reading alone notices, and not only a cursor
	}{
		"event edited": {func(p string) clientv3.Op {
			return put(eventKey(p, "00000000000000000005"),
				`{"v":1,"seq":5,"type":"PoolDeleted","time":"2026-11-23T00:00:00Z","actor":"x","prev":"","data":{"pool":"red"}}`)
		}, false},
		"event deleted": {func(p string) clientv3.Op { return clientv3.OpDelete(eventKey(p, "00000000000000000005")) },
			true},
		"last deleted": {func(p string) clientv3.Op { return clientv3.OpDelete(eventKey(p, "00000000000000000010")) },
			true},
		"all deleted": {func(p string) clientv3.Op {
			return clientv3.OpDelete(eventKey(p, ""),
				clientv3.WithPrefix())
		}, true},
		"strange key":  {func(p string) clientv3.Op { return put(eventKey(p, "00000000000000000005-"), "{}") }, true},
		"head deleted": {func(p string) clientv3.Op { return clientv3.OpDelete(p + "/v1/head/" + stream) }, true},
		"head edited":  {func(p string) clientv3.Op { return put(p+"/v1/head/"+stream, `{"seq": 10}`) }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			options := quick
			options.Prefix = "/" + strings.ReplaceAll(name, " ", "-")
			log := open(t, client, options)
			head := events(t, log, 10)
			if err := walk(t, log); err != nil {
				t.Fatal(err)
			}
			ended := following(t, log, head)
			if _, err := client.Do(etcdtest.Context(t), test.tamper(options.Prefix)); err != nil {
				t.Fatal(err)
			}
			if err := readError(t, log); test.read && !errors.Is(err, eventlog.ErrCorrupt) {
				t.Errorf("read: %v", err)
			}
			if err := walk(t, log); !errors.Is(err, eventlog.ErrCorrupt) {
				t.Errorf("read with a cursor: %v", err)
			}
			if err := exported(t, log); !errors.Is(err, eventlog.ErrCorrupt) && test.read {
				t.Errorf("export: %v", err)
			}
			expectEnd(t, ended, eventlog.ErrCorrupt)
		})
	}
}

// An event that somebody has put after the head is not overwritten.
func TestForgedEvent(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	log := open(t, client, quick)
	head := events(t, log, 3)
	if _, err := client.Put(ctx, "/galaxy/v1/log/ipam/00000000000000000004", "{}"); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(ctx, stream, head, batch(3, 1), eventlog.Fence{}); !errors.Is(err, eventlog.ErrCorrupt) {
		t.Fatalf("append over a forged event: %v", err)
	}
}

// Everything is deleted and another log takes its place, in the same etcd.
func TestReplacedLog(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	log := open(t, client, quick)
	head := events(t, log, 10)
	ended := following(t, log, head)
	if _, err := client.Delete(ctx, "/galaxy/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	expectEnd(t, ended, eventlog.ErrGeneration)
	again := open(t, client, quick)
	events(t, again, 10)
	if _, err := log.Append(ctx, stream, head, batch(10, 1), eventlog.Fence{}); !errors.Is(err,
		eventlog.ErrGeneration) {
		t.Errorf("append to the log in its place: %v", err)
	}
}

// etcd itself is put back to nothing while a follower and a writer are connected: revisions go back, and watches wait
// for ones that are far away.
func TestReplacedEtcd(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	log := open(t, etcd.Client(t), quick)
	head := events(t, log, 10)
	ended := following(t, log, head)
	etcd.Replace(t)
	open(t, etcd.Client(t), quick)
	expectEnd(t, ended, eventlog.ErrGeneration)
	if _, err := log.Append(etcdtest.Context(t), stream, head, batch(10, 1), eventlog.Fence{}); !errors.Is(err,
		eventlog.ErrGeneration) {
		t.Errorf("append: %v", err)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	if _, err := etcdlog.Open(ctx, client, etcdlog.Options{ReadOnly: true}); !errors.Is(err, etcdlog.ErrNoLog) {
		t.Errorf("open nothing for reading: %v", err)
	}
	if kvs, err := client.Get(ctx, "/", clientv3.WithPrefix()); err != nil || len(kvs.Kvs) > 0 {
		t.Errorf("opening for reading wrote %v, %v", kvs, err)
	}
	first, second := open(t, client, etcdlog.Options{}), open(t, client, etcdlog.Options{ReadOnly: true})
	if first.Generation() != second.Generation() || len(first.Generation().ID) != 32 ||
		first.Generation().Created.IsZero() {
		t.Errorf("generations %+v and %+v", first.Generation(), second.Generation())
	}
	head := events(t, first, 1)
	if _, err := second.Append(ctx, stream, head, batch(1, 1), eventlog.Fence{}); !errors.Is(err, etcdlog.ErrReadOnly) {
		t.Errorf("append to a log that is open for reading: %v", err)
	}
	if streams, err := second.Streams(ctx); err != nil || len(streams) != 1 || streams[0] != stream {
		t.Errorf("streams %v, %v", streams, err)
	}
	if _, err := client.Delete(ctx, "/galaxy/v1/generation"); err != nil {
		t.Fatal(err)
	}
	if _, err := etcdlog.Open(ctx, client, etcdlog.Options{}); !errors.Is(err, eventlog.ErrCorrupt) {
		t.Errorf("open events without a generation: %v", err)
	}
	for _, prefix := range []string{"galaxy", "/", "/galaxy/", "//galaxy", "/gal axy"} {
		if _, err := etcdlog.Open(ctx, client, etcdlog.Options{Prefix: prefix}); err == nil {
			t.Errorf("prefix %q is accepted", prefix)
		}
	}
	for _, name := range []string{"", "A", "a/b", "-a", "a-", strings.Repeat("a", 261)} {
		if _, err := first.Head(ctx, name); err == nil {
			t.Errorf("stream %q is accepted", name)
		}
	}
}

// What is written is what etcdctl shows.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	log := open(t, client, etcdlog.Options{})
	head := events(t, log, 1)
	g := log.Generation()
	for key, want := range map[string]string{
		"/galaxy/v1/generation": `{"id":"` + g.ID + `","created":"` + g.Created.Format(time.RFC3339Nano) + `"}`,
		"/galaxy/v1/head/ipam":  `{"seq":1,"hash":"` + head.Hash.String() + `","generation":"` + g.ID + `"}`,
	} {
		response, err := client.Get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(response.Kvs[0].Value); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	if response, err := client.Get(ctx, "/galaxy/v1/log/ipam/00000000000000000001"); err != nil ||
		len(response.Kvs) != 1 {
		t.Errorf("the event: %v, %v", response, err)
	}
}

// A follower that nobody listens to any more ends, and so do all that it has begun.
func TestFollowerLeavesNothingBehind(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client(t)
	log := open(t, client, quick)
	events(t, log, 100)
	open := func(n int) {
		var failed error
		for range n {
			ctx, cancel := context.WithCancel(etcdtest.Context(t))
			for _, err := range log.Follow(ctx, stream, eventlog.Head{}) {
				failed = errors.Join(failed, err)
				break
			}
			for _, err := range log.Read(ctx, stream, 0, 0) {
				failed = errors.Join(failed, err)
				break
			}
			for _, err := range log.Follow(ctx, stream, eventlog.Head{}) {
				if !errors.Is(err, context.Canceled) {
					failed = errors.Join(failed, err)
				}
				cancel() // and goes on until the end of the context is noticed
			}
			cancel()
		}
		if failed != nil {
			t.Error(failed)
		}
	}
	open(10)
	before := settledGoroutines(0)
	open(100)
	if after := settledGoroutines(before); after > before+10 {
		t.Errorf("%d goroutines before 300 more followers and readers, %d after", before, after)
	}
}
