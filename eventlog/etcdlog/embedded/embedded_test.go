package embedded_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"galaxy/eventlog/etcdlog/embedded"
)

func config(t *testing.T) embedded.Config {
	return embedded.Config{Dir: filepath.Join(t.TempDir(), "made", "by", "start"), ClientURL: "http://127.0.0.1:0",
		Logger: zap.NewNop(), StartTimeout: 10 * time.Second}
}

func connect(t *testing.T, s *embedded.Server) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), DialTimeout: 5 * time.Second,
		Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() }) //nolint:errcheck // the test is over
	return client
}

// What is written before a stop is there after the next start, at the same address or another.
func TestRestart(t *testing.T) {
	c := config(t)
	s, err := embedded.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, s).Put(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	for _, again := range []string{s.Endpoints()[0], "http://127.0.0.1:0"} {
		c.ClientURL = again
		if s, err = embedded.Start(c); err != nil {
			t.Fatal(err)
		}
		response, err := connect(t, s).Get(t.Context(), "a")
		if err != nil || len(response.Kvs) != 1 || string(response.Kvs[0].Value) != "b" {
			t.Errorf("after a restart: %v, %v", response, err)
		}
		s.Close()
	}
}

func TestManyOperations(t *testing.T) {
	s, err := embedded.Start(config(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	puts := make([]clientv3.Op, embedded.DefaultMaxTxnOps)
	for i := range puts {
		puts[i] = clientv3.OpPut(strings.Repeat("k", i+1), "v")
	}
	if _, err := connect(t, s).Txn(t.Context()).Then(puts...).Commit(); err != nil {
		t.Error(err)
	}
}

// A server whose folder another is just about to leave waits for it.
func TestWaitsForTheOneBefore(t *testing.T) {
	c := config(t)
	before, err := embedded.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(300 * time.Millisecond)
		before.Close()
	}()
	next := config(t)
	next.Dir = c.Dir
	after, err := embedded.Start(next)
	if err != nil {
		t.Fatal(err)
	}
	after.Close()
}

func TestRefusals(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // the test is over
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	running := config(t)
	s, err := embedded.Start(running)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tests := map[string]struct {
		change func(*embedded.Config)
		want   string
	}{
		"port taken": {func(c *embedded.Config) { c.ClientURL = "http://" + taken.Addr().String() },
			"address already in use"},
		"peer port taken": {func(c *embedded.Config) { c.PeerURL = "http://" + taken.Addr().String() },
			"peer URL: listen tcp"},
		"no directory":      {func(c *embedded.Config) { c.Dir = "" }, "no directory is named"},
		"directory is file": {func(c *embedded.Config) { c.Dir = file }, "not a directory"},
		"directory in use":  {func(c *embedded.Config) { c.Dir = running.Dir }, "another etcd is running in it"},
		"URL without port": {func(c *embedded.Config) { c.ClientURL = "http://127.0.0.1" },
			"want http://<address>:<port>"},
		"URL of files": {func(c *embedded.Config) { c.ClientURL = "unix:///tmp/x" }, "want http://<address>:<port>"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			test.change(&c)
			s, err := embedded.Start(c)
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Three members form one etcd, which survives the loss of one of them, and of its return.
func TestMembers(t *testing.T) {
	members := map[string]string{}
	configs := make([]embedded.Config, 3)
	for i := range configs {
		name := fmt.Sprintf("galaxy-ipam-%d", i)
		line, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		members[name] = "http://" + line.Addr().String()
		if err := line.Close(); err != nil {
			t.Fatal(err)
		}
		configs[i] = embedded.Config{
			Dir: t.TempDir(), Name: name, ClientURL: "http://127.0.0.1:0", PeerURL: members[name], Members: members,
			Logger: zap.NewNop(), UnsafeNoFsync: true,
		}
	}
	servers := make([]*embedded.Server, 3)
	var starting sync.WaitGroup
	for i := range configs {
		starting.Go(func() {
			var err error
			if servers[i], err = embedded.Start(configs[i]); err != nil {
				t.Error(err)
			}
		})
	}
	if starting.Wait(); t.Failed() {
		t.FailNow()
	}
	put(t, servers[0], "one")
	servers[0].Close()
	put(t, servers[1], "two")
	var err error
	if servers[0], err = embedded.Start(configs[0]); err != nil {
		t.Fatal(err)
	}
	put(t, servers[0], "three")
	for _, s := range servers {
		s.Close()
	}
	stranger := configs[0]
	stranger.Name = "stranger"
	if _, err := embedded.Start(stranger); err == nil || !strings.Contains(err.Error(), `"stranger"`) {
		t.Errorf("a member that is not among the members: %v", err)
	}
}

// put writes a key through a member, which needs most of them.
func put(t *testing.T, s *embedded.Server, key string) {
	t.Helper()
	client := connect(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, err := client.Put(ctx, key, "x")
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("put %s: %v", key, err)
		}
		time.Sleep(50 * time.Millisecond) // a leader is being elected
	}
}
