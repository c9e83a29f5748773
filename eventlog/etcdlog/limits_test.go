package etcdlog_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/embedded"
	"galaxy/eventlog/etcdlog/etcdtest"
)

// settledGoroutines waits until at most so many goroutines are left, or it is clear that more are.
func settledGoroutines(target int) int {
	n := runtime.NumGoroutine()
	for range 40 {
		time.Sleep(50 * time.Millisecond)
		if n = runtime.NumGoroutine(); target > 0 && n <= target {
			break
		}
	}
	return n
}

// The limits of the server are lower than those of the log.
func TestServerRefusesSize(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, func(c *embedded.Config) { c.MaxTxnOps = 128 })
	log := open(t, etcd.Client(t), etcdlog.Options{MaxEvents: 1000, MaxBytes: 8 << 20})
	ctx := etcdtest.Context(t)
	head, err := log.Head(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	for name, records := range map[string][]eventlog.Record{
		"operations":              batch(0, 128),
		"bytes":                   {{Seq: 1, Bytes: make([]byte, 1<<20+1<<19)}},
		"bytes beyond the client": {{Seq: 1, Bytes: make([]byte, 3<<20)}},
	} {
		if _, err := log.Append(ctx, stream, head, records, eventlog.Fence{}); !errors.Is(err, eventlog.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := log.Append(ctx, stream, head, batch(0, 127), eventlog.Fence{}); err != nil {
		t.Errorf("127 events and a head: %v", err)
	}
}

// At its quota etcd says "no space" also of a transaction that it has carried out. What the log says must be true.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, func(c *embedded.Config) { c.QuotaBytes = 16 << 20 })
	log := open(t, etcd.Client(t), quick)
	ctx := etcdtest.Context(t)
	head, err := log.Head(ctx, stream)
	for err == nil {
		var next eventlog.Head
		made := []eventlog.Record{{Seq: head.Seq + 1, Bytes: make([]byte, 1<<20)}}
		for i := range made[0].Bytes {
			made[0].Bytes[i] = byte(rand.Uint32())
		}
		if next, err = log.Append(ctx, stream, head, made, eventlog.Fence{}); err == nil {
			head = next
		}
	}
	if !errors.Is(err, etcdlog.ErrNoSpace) {
		t.Fatal(err)
	}
	if now, err := log.Head(ctx, stream); err != nil || now != head {
		t.Fatalf("the head is at event %d (%v), the last append that was acknowledged at %d", now.Seq, err, head.Seq)
	}
	if _, err := log.Append(ctx, stream, head, batch(head.Seq, 1), eventlog.Fence{}); !errors.Is(err,
		etcdlog.ErrNoSpace) {
		t.Errorf("append without space: %v", err)
	}
}

// A snapshot that has lost a part, or whose part was changed, is an error at the latest at its end, and leaves the one
// before it.
func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	log := open(t, client, quick)
	head := events(t, log, 10)
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	save := func(at eventlog.Head) {
		t.Helper()
		err := log.SaveSnapshot(ctx, stream, at, func(w io.Writer) error {
			_, err := w.Write(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	older := head
	older.Seq = 5
	save(older)
	save(head)
	for part, damage := range []func(key string) clientv3.Op{
		func(key string) clientv3.Op { return clientv3.OpDelete(key) },
		func(key string) clientv3.Op { return clientv3.OpPut(key, "damaged") },
		func(key string) clientv3.Op { return clientv3.OpPut(key, "") },
	} {
		keys, err := client.Get(ctx, "/galaxy/v1/snapshot/ipam/00000000000000000010/", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range keys.Kvs {
			if len(kv.Value) >= 1<<20 {
				t.Errorf("%s has %d bytes", kv.Key, len(kv.Value))
			}
		}
		key := string(keys.Kvs[part].Key)
		if _, err := client.Do(ctx, damage(key)); err != nil {
			t.Fatal(err)
		}
		at, r, err := log.LoadSnapshot(ctx, stream, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(r)
		if err == nil || at != head {
			t.Errorf("damage to %s: %+v, %v", key, at, err)
		}
		t.Log(err)
		if at, r, err = log.LoadSnapshot(ctx, stream, at.Seq-1); err != nil || at != older {
			t.Fatalf("the snapshot before: %+v, %v", at, err)
		}
		if got, err := io.ReadAll(r); err != nil || len(got) != len(content) {
			t.Errorf("the snapshot before: %d bytes, %v", len(got), err)
		}
		save(head)
	}
	keys, err := client.Get(ctx, "/galaxy/v1/snapshot/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil || len(keys.Kvs) != 2*5 { // four parts and a manifest each
		t.Errorf("%d keys of snapshots are left, %v", len(keys.Kvs), err)
	}
}

// A snapshot that would fill the reader's memory is damaged: a node's user writes those of the node's own stream.
func TestSnapshotOfZeros(t *testing.T) {
	t.Parallel()
	log := open(t, etcdtest.Start(t).Client(t), quick)
	head, err := log.Head(t.Context(), "node-a")
	if err != nil {
		t.Fatal(err)
	}
	head.Seq = 1
	for size, want := range map[int64]bool{1 << 20: true, 1 << 26: false} {
		err := log.SaveSnapshot(t.Context(), "node-a", head, func(w io.Writer) error {
			_, err := io.CopyN(w, zeros{}, size)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		_, r, err := log.LoadSnapshot(t.Context(), "node-a", 0)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if whole := err == nil; whole != want || whole && n != size {
			t.Errorf("of %d bytes: %d, %v", size, n, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
