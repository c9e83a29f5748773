package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/allocator"
	"galaxy/cmd/internal/cli"
	"galaxy/eventlog"
	"galaxy/eventlog/archive"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/ipam"
	"galaxy/projections"
)

func key(seq uint64) string { return fmt.Sprintf("/galaxy/v1/log/ipam/%020d", seq) }

// edit changes the bytes of an event in etcd behind the log's back.
func (b *harness) edit(seq uint64, change func([]byte) []byte) {
	b.t.Helper()
	now, err := b.client.Get(b.t.Context(), key(seq))
	if err != nil || len(now.Kvs) != 1 {
		b.t.Fatal(err, now)
	}
	b.put(key(seq), string(change(now.Kvs[0].Value)))
}

func (b *harness) put(key, value string) {
	b.t.Helper()
	if _, err := b.client.Put(b.t.Context(), key, value); err != nil {
		b.t.Fatal(err)
	}
}

func replace(old, with string) func([]byte) []byte {
	return func(text []byte) []byte { return bytes.Replace(text, []byte(old), []byte(with), 1) }
}

// Every way to tamper with a log is found, and named with its event.
func TestVerifyFindsTampering(t *testing.T) {
	for name, story := range map[string]struct {
		tamper func(b *harness)
		says   []string
	}{
		"an event in the middle": {func(b *harness) { b.edit(3, replace("node3", "node4")) },
			[]string{"stream ipam", "event 4", "event 3"}},
		"the newest event": {func(b *harness) { b.edit(9, replace("node5", "node4")) },
			[]string{"stream ipam", "event 9", "the head says"}},
		"a number": {func(b *harness) { b.edit(2, replace(`"seq":2`, `"seq":7`)) },
			[]string{"event 2", "number 7"}},
		"not an event": {func(b *harness) { b.edit(5, replace(`{`, `<`)) },
			[]string{"stream ipam", "event 5"}},
		"a type from the future": {func(b *harness) { b.edit(5, replace("AddressAllocated", "AddressBorrowed")) },
			[]string{"event 5", "AddressBorrowed", "newer release"}},
		"an envelope from the future": {func(b *harness) { b.edit(5, replace(`"v":1`, `"v":2`)) },
			[]string{"event 5", "version 2"}},
		"an event that is gone": {func(b *harness) {
			if _, err := b.client.Delete(b.t.Context(), key(4)); err != nil {
				b.t.Fatal(err)
			}
		}, []string{"stream ipam", "event 4 is missing"}},
		"an event too many": {func(b *harness) { b.put(key(10), "{}") }, []string{"10 events", "accounts for 9"}},
		"a stream without a head": {func(b *harness) {
			b.put("/galaxy/v1/log/nodes/00000000000000000001", "{}")
		}, []string{"stream nodes", "there are 1 events", "accounts for 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newHarness(t)
			b.story()
			b.must("log", "verify")
			story.tamper(b)
			b.refuses(story.says, "log", "verify")
		})
	}
}

// A log whose hashes are right and whose story is not: somebody has written it anew.
func TestVerifyFindsContradictions(t *testing.T) {
	b := newHarness(t)
	b.story()
	ctx := etcdtest.Context(t)
	head, err := b.log.Head(ctx, eventlog.StreamIPAM)
	if err != nil {
		t.Fatal(err)
	}
	a := b.replica.View().Address(mustAddr("10.49.27.205"))
	cursor := eventlog.Cursor{Head: head, Time: time.Unix(b.now.Load(), 0)}
	_, r, err := cursor.Write(time.Unix(b.now.Load(), 0), "mallory", "", &eventlog.AddressAllocated{
		Address: a.Addr, Subnet: network, Owner: pod("deployment", "web", "web-1", "", 0).Owner, After: a.Seq,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.log.Append(ctx, eventlog.StreamIPAM, head, []eventlog.Record{r}, eventlog.Fence{}); err != nil {
		t.Fatal(err)
	}
	b.refuses([]string{"stream ipam", "event 10", "10.49.27.205", "held by"}, "log", "verify")
}

func TestBackupRestoreVerify(t *testing.T) {
	b := newHarness(t)
	b.story()
	file := filepath.Join(t.TempDir(), "galaxy.log.zst")
	b.must("log", "backup", file)
	b.refuses([]string{"is there already", "--force"}, "log", "backup", file)
	digest := digestOf(b.must("log", "verify", "-o", "json"))
	if got := digestOf(b.must("log", "verify", file, "-o", "json")); got != digest {
		t.Errorf("the backup leads to %s, the log to %s", got, digest)
	}
	_, streamed, _ := b.run("log", "backup", "-")
	b.do("later", allocator.DeletePool{Pool: "blue"})

	b.refuses([]string{"not empty", "--etcd-prefix"}, "log", "restore", file)
	t.Log(b.must("log", "restore", file, "--etcd-prefix", "/drill"))
	restored := b.must("log", "verify", "--etcd-prefix", "/drill", "-o", "json")
	if strings.Contains(restored, b.log.Generation().ID) {
		t.Errorf("the restored log has the generation of the old one:\n%s", restored)
	}
	if code, out, errs := b.runWith(t.Context(), []byte(streamed), "log", "restore", "-", "--etcd-prefix",
		"/stream"); code != cli.OK {
		t.Errorf("restore from standard input: exit %d\n%s%s", code, out, errs)
	}
	if ours, theirs := b.must("log", "state", "--at", "9"),
		b.must("log", "state", "--etcd-prefix", "/stream"); held(ours) != held(theirs) {
		t.Errorf("after the restore:\n%s\nbefore:\n%s", theirs, ours)
	}
	b.must("log", "backup", "--force", file)
	b.must("log", "verify", file)
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func digestOf(text string) string {
	_, rest, _ := strings.Cut(text, `"digest": "`)
	digest, _, _ := strings.Cut(rest, `"`)
	return digest
}

// held is the table of log state without its last line, which names a digest over the generation too.
func held(table string) string {
	rows, _, _ := strings.Cut(table, "\n\n")
	return rows
}

func TestDamagedBackups(t *testing.T) {
	b := newHarness(t)
	b.story()
	folder := t.TempDir()
	file := filepath.Join(folder, "whole")
	b.must("log", "backup", file)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(folder, "short")
	if err := os.WriteFile(short, whole[:len(whole)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	b.refuses([]string{short}, "log", "verify", short)
	b.refuses([]string{"nothing was restored", short}, "log", "restore", short, "--etcd-prefix", "/drill")
	b.refuses([]string{"nothing was restored"}, "log", "restore", os.DevNull, "--etcd-prefix", "/drill")
	b.refuses([]string{"no such file"}, "log", "verify", filepath.Join(folder, "none"))
	now, err := b.client.Get(t.Context(), "/drill/v1/restoring")
	if err != nil || len(now.Kvs) != 0 {
		t.Error("a restore has begun", now, err)
	}
}

// A restore that was broken off leaves no log, and is undone, or repeated.
func TestBrokenOffRestore(t *testing.T) {
	b := newHarness(t)
	b.story()
	file := filepath.Join(t.TempDir(), "backup")
	b.must("log", "backup", file)
	m := manifestOf(t, file)
	from := etcdlog.Origin{Generation: m.Generation, Revision: m.Revision, Time: m.Time}
	for _, prefix := range []string{"/undone", "/repeated"} {
		if _, err := etcdlog.BeginImport(t.Context(), b.client, etcdlog.Options{Prefix: prefix}, from); err != nil {
			t.Fatal(err)
		}
		b.refuses([]string{"has not ended"}, "log", "verify", "--etcd-prefix", prefix)
	}
	b.must("log", "restore", "--abort", "--etcd-prefix", "/undone")
	b.refuses([]string{"there is no log"}, "log", "verify", "--etcd-prefix", "/undone")
	b.must("log", "restore", file, "--etcd-prefix", "/repeated")
	b.must("log", "restore", "--abort", "--etcd-prefix", "/repeated") // a complete log is not touched
	b.must("log", "verify", "--etcd-prefix", "/repeated")
}

func manifestOf(t *testing.T, name string) archive.Manifest {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // it was only read from
	backup, err := archive.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer backup.Close() //nolint:errcheck // it has nothing to lose
	return backup.Manifest()
}

// lines is a buffer that one goroutine writes and another reads.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) await(t *testing.T, words string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, words) {
			return
		}
	}
	t.Fatalf("%q does not come; there is:\n%s", words, l.text.String())
}

func TestTail(t *testing.T) {
	for _, extra := range [][]string{{"--from-now"}, {"--lines", "2"}, {"--lines", "1000"}} {
		t.Run(strings.Join(extra, " "), func(t *testing.T) {
			b := newHarness(t)
			b.story()
			ctx, interrupt := context.WithCancel(t.Context())
			var out lines
			ended := make(chan int)
			go func() {
				args := append([]string{"--etcd-endpoints", b.etcd.Endpoint(), "log", "tail"}, extra...)
				ended <- run(ctx, args, nil, &out, &out)
			}()
			out.await(t, "SEQ") // it has read the head by then
			b.do("later", allocator.DeletePool{Pool: "blue"})
			out.await(t, "PoolDeleted")
			interrupt()
			if code := <-ended; code != cli.OK {
				t.Errorf("exit %d after Ctrl-C, want %d", code, cli.OK)
			}
			got := strings.Count(out.text.String(), "galaxy-ipam-0")
			deleted := 3 // two releases and the deletion
			if want := map[string]int{"--from-now": deleted,
				"--lines": deleted + 2}[extra[0]]; extra[len(extra)-1] != "1000" && got != want {
				t.Errorf("%d events, want %d:\n%s", got, want, out.text.String())
			}
		})
	}
}

// A backup is restored into the directory of an etcd that galaxy-ipam will run inside itself.
func TestEmbeddedEtcd(t *testing.T) {
	b := newHarness(t)
	b.story()
	folder := t.TempDir()
	file, dir := filepath.Join(folder, "backup"), filepath.Join(folder, "etcd")
	b.must("log", "backup", file)
	b.must("log", "restore", file, "--embedded-etcd", dir)
	if ours, theirs := b.must("log", "state"),
		b.must("log", "state", "--embedded-etcd", dir); held(ours) != held(theirs) {
		t.Errorf("after the restore:\n%s\nbefore:\n%s", theirs, ours)
	}
	b.must("log", "verify", "--embedded-etcd", dir)
	b.refuses([]string{"there is no etcd in it"}, "log", "verify", "--embedded-etcd",
		filepath.Join(folder, "elsewhere"))
	b.refuses([]string{"not empty"}, "log", "restore", file, "--embedded-etcd", dir)
}

// What a node's user writes under the node's own keys keeps nobody from verifying and backing up the rest, and hides no
// other damage.
func TestDamagedNodeStreams(t *testing.T) {
	b := newHarness(t)
	b.story()
	head, err := b.log.Head(t.Context(), eventlog.StreamIPAM)
	if err != nil {
		t.Fatal(err)
	}
	alone := fmt.Sprintf(`{"seq":1,"hash":%q,"generation":%q}`, strings.Repeat("a", 64), head.Generation)
	b.put("/galaxy/v1/head/node-a", "\x1b[31mno JSON")
	b.put("/galaxy/v1/head/node-b", alone)
	b.put("/galaxy/v1/log/node-c/00000000000000000001", "{}")
	b.put("/galaxy/v1/head/node-\x1b[2J", alone)
	code, out, errs := b.run("log", "verify")
	if code != 1 || !strings.Contains(out, "ipam") || strings.ContainsRune(out+errs, '\x1b') {
		t.Errorf("verify: %d\n%s%s", code, out, errs)
	}
	for _, says := range []string{"stream node-a: ", "stream node-b: ", "stream node-c: ", `stream "node-\x1b[2J": `} {
		if !strings.Contains(errs, says) {
			t.Errorf("verify does not say %q: %s", says, errs)
		}
	}
	file := filepath.Join(t.TempDir(), "backup")
	code, _, errs = b.run("log", "backup", file)
	if code != 1 || strings.Count(errs, "the backup is without the damaged stream") != 4 {
		t.Errorf("backup: %d %s", code, errs)
	}
	if code, out, errs = b.run("log", "verify", file); code != 1 || !strings.Contains(out, "ipam") ||
		!strings.Contains(errs, "left out") {
		t.Errorf("verify of the backup: %d\n%s%s", code, out, errs)
	}
	b.put("/galaxy/v1/head/nodes", alone)
	if code, _, errs = b.run("log", "verify"); code != 1 || !strings.Contains(errs, "stream nodes: ") {
		t.Errorf("damage of the stream nodes is hidden: %d %s", code, errs)
	}
	if code, _, errs = b.run("log", "backup", "--force", file); code != 1 || !strings.Contains(errs, "nodes") ||
		strings.Contains(errs, "is without") {
		t.Errorf("a backup without the stream nodes: %d %s", code, errs)
	}
}

// A snapshot that does not say what the events lead to is found, though its parts have the right sums; so is one of
// events that are gone.
func TestVerifyComparesSnapshots(t *testing.T) {
	b := newHarness(t)
	b.story()
	head, err := b.log.Head(t.Context(), eventlog.StreamIPAM)
	if err != nil {
		t.Fatal(err)
	}
	db, err := projections.Load(t.Context(), b.log, eventlog.StreamIPAM, projections.Until{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var state bytes.Buffer
	if err := db.View().Save(&state); err != nil {
		t.Fatal(err)
	}
	save := func(text string) {
		t.Helper()
		err := b.log.SaveSnapshot(t.Context(), eventlog.StreamIPAM, head, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	save(state.String())
	b.must("log", "verify")
	forged := strings.ReplaceAll(state.String(), `"db-0"`, `"eve-0"`)
	if forged == state.String() {
		t.Fatal("nothing is forged")
	}
	save(forged)
	b.refuses([]string{"stream ipam", fmt.Sprintf("the snapshot at event %d is not the state", head.Seq)}, "log",
		"verify")
	save(state.String())
	if _, err := b.client.Delete(t.Context(), "/galaxy/v1/log/ipam/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.Delete(t.Context(), "/galaxy/v1/head/ipam"); err != nil {
		t.Fatal(err)
	}
	b.refuses([]string{"stream ipam", "events were removed"}, "log", "verify")
}

// A stream that contradicts itself in its middle says nothing of the streams after it, in etcd or in a backup.
func TestContradictionStaysInItsStream(t *testing.T) {
	b := newHarness(t)
	b.story()
	write := func(stream string, events ...eventlog.Data) {
		t.Helper()
		head, err := b.log.Head(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		cursor := eventlog.Cursor{Head: head}
		for _, data := range events {
			before := cursor.Head
			_, r, err := cursor.Write(time.Unix(1, 0), "test", "", data)
			if err == nil {
				_, err = b.log.Append(t.Context(), stream, before, []eventlog.Record{r}, eventlog.Fence{})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	overlay := &eventlog.OverlayConfigured{Source: "test",
		Networks: []ipam.OverlayNetwork{{CIDR: netip.MustParsePrefix("10.244.0.0/22"), NodePrefix: 24}}}
	joined := &eventlog.NodeJoined{Node: "a", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Machine: "m"}
	write(eventlog.StreamOfNode("a"), overlay, joined,
		&eventlog.AddressReleased{Address: netip.MustParseAddr("10.244.0.2")})
	write(eventlog.StreamNodes, overlay, joined)
	file := filepath.Join(t.TempDir(), "backup")
	b.must("log", "backup", file)
	for _, from := range [][]string{{"log", "verify"}, {"log", "verify", file}} {
		code, out, errs := b.run(from...)
		if code != 1 || strings.Count(errs, "stream ") != 1 || !strings.Contains(errs, "stream node-a: ") ||
			!strings.Contains(out, "\nnodes ") {
			t.Errorf("%q: %d\n%s%s", from, code, out, errs)
		}
	}
}
