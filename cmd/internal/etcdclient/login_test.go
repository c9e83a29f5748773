package etcdclient

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/lease"
)

// guarded is an etcd that wants passwords, and the flags of its user root.
func guarded(t *testing.T) (*etcdtest.Server, Flags) {
	t.Helper()
	etcd, ctx := etcdtest.Start(t), etcdtest.Context(t)
	open := etcd.Client(t)
	if _, err := open.UserAdd(ctx, "root", "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := open.RoleAdd(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := open.UserGrantRole(ctx, "root", "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := open.AuthEnable(ctx); err != nil {
		t.Fatal(err)
	}
	return etcd, flagsOf(t, etcd, "secret")
}

func flagsOf(t *testing.T, etcd *etcdtest.Server, password string) Flags {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Flags{Endpoints: []string{etcd.Endpoint()}, User: "root", Password: file, Timeout: 5 * time.Second,
		Reconnect: 100 * time.Millisecond}
}

func clientOf(t *testing.T, f Flags) *clientv3.Client {
	t.Helper()
	client, err := f.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() }) // the test is over
	return client
}

// soon repeats something until it succeeds.
func soon(t *testing.T, what string, do func(ctx context.Context) error) {
	t.Helper()
	var err error
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err = do(ctx)
		cancel()
		if err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
}

// A client can be made while etcd is away, and works once it is there.
func TestClientBeforeEtcd(t *testing.T) {
	etcd, flags := guarded(t)
	etcd.Stop()
	client := clientOf(t, flags)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.Put(ctx, "a", "1"); err == nil {
		t.Fatal("a value was written to an etcd that is away")
	}
	etcd.Restart(t)
	soon(t, "write", func(ctx context.Context) error {
		_, err := client.Put(ctx, "a", "2")
		return err
	})
}

// One token does for all requests, streams among them; when etcd has forgotten it, as after a restart, another is asked
// for, and leases and watches go on.
func TestOneToken(t *testing.T) {
	etcd, flags := guarded(t)
	l := newLogin("root", "secret")
	flags.extra = l.options()
	flags.User, flags.Password = "", ""
	client, ctx := clientOf(t, flags), etcdtest.Context(t)
	seen := make(chan string, 100)
	go func() {
		for response := range client.Watch(ctx, "watched") {
			for _, e := range response.Events {
				seen <- string(e.Kv.Value)
			}
		}
		close(seen)
	}()
	// far longer than a restart of etcd takes
	announced, err := lease.Announce(ctx, client, "alive", []byte("x"), 9*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer announced.Leave()
	write := func(value string) {
		t.Helper()
		soon(t, "write", func(ctx context.Context) error {
			_, err := client.Put(ctx, "watched", value)
			return err
		})
		for {
			select {
			case got, open := <-seen:
				if !open {
					t.Fatalf("the watch ended before it saw %s", value)
				}
				if got == value {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("the watch does not see %s", value)
			}
		}
	}
	time.Sleep(4 * time.Second) // a renewal
	write("before")
	if asked := l.asked.Load(); asked != 1 {
		t.Errorf("%d tokens were asked for, want one", asked)
	}
	before, err := client.Get(ctx, "alive")
	if err != nil || len(before.Kvs) != 1 {
		t.Fatalf("the announcement: %v, %v", before, err)
	}
	etcd.Restart(t)
	write("after")
	time.Sleep(4 * time.Second)
	again := client.Watch(ctx, "watched", clientv3.WithRev(1)) // beside the first, on its stream
	if response := <-again; response.Err() != nil || len(response.Events) == 0 {
		t.Errorf("another watch: %+v, %v", response, response.Err())
	}
	if after, err := client.Get(ctx, "alive"); err != nil || len(after.Kvs) != 1 ||
		after.Kvs[0].CreateRevision != before.Kvs[0].CreateRevision {
		t.Errorf("the announcement after a restart of etcd: %v, %v", after, err)
	}
	if asked := l.asked.Load(); asked > 4 {
		t.Errorf("%d tokens were asked for", asked)
	}
}

// A wrong password is said to be one, and an etcd that wants none is none the worse for it.
func TestPasswords(t *testing.T) {
	etcd, _ := guarded(t)
	flags := flagsOf(t, etcd, "wrong")
	_, err := clientOf(t, flags).Get(etcdtest.Context(t), "a")
	if text := flags.Explain(err).Error(); !errors.Is(err, rpctypes.ErrAuthFailed) ||
		!strings.Contains(text, "--etcd-password-file") {
		t.Errorf("a wrong password: %s", text)
	}
	open := etcdtest.Start(t)
	client := clientOf(t, flagsOf(t, open, "unwanted"))
	if _, err := client.Put(etcdtest.Context(t), "a", "1"); err != nil {
		t.Error(err)
	}
	if _, err := (&Flags{Endpoints: flags.Endpoints, User: "root", Timeout: time.Second}).Client(); err == nil {
		t.Error("a user without a password is accepted")
	}
}
