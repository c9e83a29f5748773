package embedded_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"galaxy/eventlog/etcdlog/embedded"
)

func config(t *testing.T) embedded.Config {
	return embedded.Config{Dir: filepath.Join(t.TempDir(), "made", "by", "start"), ClientURL: "http://127.0.0.1:0", Logger: zap.NewNop(), StartTimeout: 10 * time.Second}
}

func connect(t *testing.T, s *embedded.Server) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
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
		answer, err := connect(t, s).Get(t.Context(), "a")
		if err != nil || len(answer.Kvs) != 1 || string(answer.Kvs[0].Value) != "b" {
			t.Errorf("after a restart: %v, %v", answer, err)
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
		"port taken":        {func(c *embedded.Config) { c.ClientURL = "http://" + taken.Addr().String() }, "address already in use"},
		"peer port taken":   {func(c *embedded.Config) { c.PeerURL = "http://" + taken.Addr().String() }, "peer URL: listen tcp"},
		"no directory":      {func(c *embedded.Config) { c.Dir = "" }, "no directory is named"},
		"directory is file": {func(c *embedded.Config) { c.Dir = file }, "not a directory"},
		"directory in use":  {func(c *embedded.Config) { c.Dir = running.Dir }, "another etcd is running in it"},
		"URL without port":  {func(c *embedded.Config) { c.ClientURL = "http://127.0.0.1" }, "want http://<address>:<port>"},
		"URL of files":      {func(c *embedded.Config) { c.ClientURL = "unix:///tmp/x" }, "want http://<address>:<port>"},
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
