// Package etcdtest gives tests a real etcd in their own process, a cluster of three, and a network between client and
// server that fails on demand.
package etcdtest

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"galaxy/eventlog/etcdlog/embedded"
)

// Server is a single-member etcd that lives as long as its test.
type Server struct {
	server *embedded.Server
	config embedded.Config
}

// Start runs an etcd in a directory of the test, on free ports, without fsync. Adjust may change its configuration.
func Start(t testing.TB, adjust ...func(*embedded.Config)) *Server {
	t.Helper()
	s := &Server{config: embedded.Config{
		Dir: t.TempDir(), ClientURL: "http://127.0.0.1:0", Logger: zap.NewNop(), Compaction: -1, UnsafeNoFsync: true,
	}}
	for _, change := range adjust {
		change(&s.config)
	}
	s.start(t)
	t.Cleanup(func() { s.server.Close() })
	return s
}

func (s *Server) start(t testing.TB) {
	t.Helper()
	server, err := embedded.Start(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.server, s.config.ClientURL, s.config.PeerURL = server, server.Endpoints()[0], server.PeerURL()
}

// Endpoint is where clients connect. It stays the same over restarts.
func (s *Server) Endpoint() string { return s.config.ClientURL }

// Stop ends the server, as a crash of its process would.
func (s *Server) Stop() { s.server.Close() }

// Restart ends the server and starts it again with the same data and ports.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.server.Close()
	s.start(t)
}

// Replace ends the server and starts an empty one in its place.
func (s *Server) Replace(t testing.TB) {
	t.Helper()
	s.server.Close()
	s.config.Dir = t.TempDir()
	s.start(t)
}

// Client connects a new client that is closed at the end of the test.
func (s *Server) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	return Client(t, s.Endpoint())
}

// Client connects a new client that is closed at the end of the test.
func Client(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: time.Second,
		BackoffWaitBetween: 25 * time.Millisecond, MaxUnaryRetries: 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() }) //nolint:errcheck // the test is over
	return client
}

// Context ends with the test, or a minute after its beginning.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
