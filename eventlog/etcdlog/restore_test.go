package etcdlog_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
	"galaxy/eventlog/archive"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/etcdtest"
)

var (
	_ archive.Source = (*etcdlog.Export)(nil)
	_ archive.Target = (*etcdlog.Import)(nil)
)

// growing appends events to a stream until stop is closed.
func growing(t *testing.T, log *etcdlog.Log, name string, stop <-chan struct{}) <-chan struct{} {
	done := make(chan struct{})
	ctx := etcdtest.Context(t)
	go func() {
		defer close(done)
		head, err := log.Head(ctx, name)
		cursor := eventlog.Cursor{Head: head}
		for err == nil {
			select {
			case <-stop:
				return
			default:
			}
			var records []eventlog.Record
			for range 50 {
				_, r, err := cursor.Write(time.Now(), "test", "", &eventlog.PoolDeleted{Pool: name})
				if err != nil {
					t.Error(err)
					return
				}
				records = append(records, r)
			}
			head, err = log.Append(ctx, name, head, records, eventlog.Fence{})
		}
		t.Error(err)
	}()
	return done
}

// A backup that is taken while the log grows is restored elsewhere: the same events, another generation, and life goes
// on.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	client, ctx := etcd.Client(t), etcdtest.Context(t)
	log := open(t, client, quick)
	stop := make(chan struct{})
	ipam, nodes := growing(t, log, "ipam", stop), growing(t, log, "nodes", stop)
	time.Sleep(500 * time.Millisecond)
	export, err := log.Export(ctx)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	var file bytes.Buffer
	m, err := archive.Backup(ctx, export, &file, nil)
	if err != nil {
		t.Fatal(err)
	}
	close(stop)
	<-ipam
	<-nodes
	if now, err := log.Head(ctx, "ipam"); err != nil || m.Heads()["ipam"].Seq >= now.Seq || m.Heads()["ipam"].Seq == 0 {
		t.Fatalf("the backup has the head %+v, the log %+v, %v", m.Heads()["ipam"], now, err)
	}

	target := quick
	target.Prefix = "/restored"
	r, err := archive.Open(&file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // it never fails
	to, err := etcdlog.BeginImport(ctx, client, target,
		etcdlog.Origin{Generation: m.Generation, Revision: m.Revision, Time: m.Time})
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.Restore(ctx, r, to, nil); err != nil {
		t.Fatal(err)
	}
	restored := open(t, client, target)
	if g := restored.Generation(); g.ID == log.Generation().ID || g.ID != to.Generation().ID || g.RestoredFrom == nil ||
		g.RestoredFrom.Generation != m.Generation || !g.RestoredFrom.Time.Equal(m.Time) {
		t.Errorf("generation %+v", g)
	}
	for name, want := range m.Heads() {
		head, err := restored.Head(ctx, name)
		if err != nil || head.Seq != want.Seq || head.Hash != want.Hash || head.Generation != restored.Generation().ID {
			t.Errorf("head of %s: %+v, %v, want %+v", name, head, err, want)
		}
	}
	if err := walk(t, restored); err != nil {
		t.Error(err)
	}
	head, err := restored.Head(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restored.Append(ctx, stream, head, batch(head.Seq, 1), eventlog.Fence{}); err != nil {
		t.Errorf("append to the restored log: %v", err)
	}
}

// A restore that was broken off is recognised, not served, and can be completed or undone.
func TestBrokenOffImport(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	from := etcdlog.Origin{Generation: "a", Revision: 7, Time: time.Unix(1, 0).UTC()}
	begin := func() *etcdlog.Import {
		t.Helper()
		i, err := etcdlog.BeginImport(ctx, client, quick, from)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	records := batch(0, 500)
	head := eventlog.Head{Seq: 500, Hash: records[499].Hash()}
	first := begin()
	if err := first.Append(ctx, stream, records[:300]); err != nil {
		t.Fatal(err)
	}
	readOnly := quick
	readOnly.ReadOnly = true
	for _, options := range []etcdlog.Options{quick, readOnly} {
		if _, err := etcdlog.Open(ctx, client, options); !errors.Is(err, etcdlog.ErrRestoring) {
			t.Errorf("open half a log: %v", err)
		}
	}
	other := etcdlog.Origin{Generation: "b", Revision: 7}
	if _, err := etcdlog.BeginImport(ctx, client, quick, other); !errors.Is(err, etcdlog.ErrNotEmpty) ||
		!strings.Contains(err.Error(), "generation a at revision 7") {
		t.Errorf("import of another log over it: %v", err)
	}

	again := begin()
	for _, part := range [][]eventlog.Record{records[:250], records[250:]} {
		if err := again.Append(ctx, stream, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := again.Commit(ctx, map[string]eventlog.Head{stream: head}); err != nil {
		t.Fatal(err)
	}
	if err := first.Append(ctx, stream, records[300:]); err == nil {
		t.Error("the import that was given up can still write")
	}
	if err := readError(t, open(t, client, quick)); err != nil {
		t.Error(err)
	}
	if _, err := etcdlog.BeginImport(ctx, client, quick, from); !errors.Is(err, etcdlog.ErrNotEmpty) ||
		!strings.Contains(err.Error(), "/galaxy/v1/generation") {
		t.Errorf("import over a log: %v", err)
	}
	if err := etcdlog.AbortImport(ctx, client, quick); err != nil {
		t.Error(err)
	}
	if err := readError(t, open(t, client, quick)); err != nil {
		t.Errorf("after undoing an import that was complete: %v", err)
	}
}

func TestAbortImport(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	if err := etcdlog.AbortImport(ctx, client, quick); err != nil {
		t.Error(err)
	}
	// A live node is no obstacle to a restore, and must survive its end.
	if _, err := client.Put(ctx, "/galaxy/v1/lease/node/a", "alive"); err != nil {
		t.Fatal(err)
	}
	i, err := etcdlog.BeginImport(ctx, client, quick, etcdlog.Origin{Generation: "a", Revision: 7})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Append(ctx, stream, batch(0, 200)); err != nil {
		t.Fatal(err)
	}
	if err := etcdlog.AbortImport(ctx, client, quick); err != nil {
		t.Fatal(err)
	}
	if err := i.Append(ctx, stream, batch(200, 10)); err == nil {
		t.Error("an import that was undone can still write")
	}
	left, err := client.Get(ctx, "/galaxy/", clientv3.WithPrefix())
	if err != nil || len(left.Kvs) != 1 {
		t.Errorf("%v is left, %v", left.Kvs, err)
	}
	if head, err := open(t, client, quick).Head(ctx, stream); err != nil || head.Seq != 0 {
		t.Errorf("the log that is begun afterwards: %+v, %v", head, err)
	}
}
