package certs_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"galaxy/cmd/internal/certs"
	"galaxy/eventlog/etcdlog/embedded"
)

// member writes a pair and its authority into files.
func member(t *testing.T, authority, pair certs.Pair) embedded.TLSFiles {
	t.Helper()
	dir := t.TempDir()
	key, err := pair.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	files := embedded.TLSFiles{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"),
		CA: filepath.Join(dir, "ca.crt")}
	for name, text := range map[string][]byte{files.Cert: pair.CertPEM(), files.Key: key,
		files.CA: authority.CertPEM()} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// two members of an etcd, as they are to be started; they are reached at another address than they come from, as pods
// behind names are.
func twoMembers(t *testing.T, files []embedded.TLSFiles) []embedded.Config {
	t.Helper()
	members, configs := map[string]string{}, make([]embedded.Config, 2)
	for i, name := range []string{"a", "b"} {
		line, err := net.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			t.Fatal(err)
		}
		members[name] = "https://" + line.Addr().String()
		if err := line.Close(); err != nil {
			t.Fatal(err)
		}
		configs[i] = embedded.Config{
			Dir: t.TempDir(), Name: name, ClientURL: "http://127.0.0.1:0", PeerURL: members[name], Members: members,
			PeerTLS: files[i],
			Logger:  zap.NewNop(), UnsafeNoFsync: true, StartTimeout: 5 * time.Second,
		}
	}
	return configs
}

// run starts members, and reports how many of them came to serve.
func run(t *testing.T, configs []embedded.Config) (served []*embedded.Server) {
	t.Helper()
	type start struct {
		server *embedded.Server
		err    error
	}
	started := make(chan start, len(configs))
	for _, c := range configs {
		go func() {
			s, err := embedded.Start(c)
			started <- start{s, err}
		}()
	}
	for range configs {
		if s := <-started; s.err == nil {
			served = append(served, s.server)
			t.Cleanup(s.server.Close)
		} else if !strings.Contains(s.err.Error(), "not ready after") {
			t.Fatal(s.err)
		}
	}
	return served
}

// Members whom one authority has signed form an etcd, whatever address they come from; nobody else joins them.
func TestMembersOfEtcd(t *testing.T) {
	now := time.Now()
	authority, err := certs.NewAuthority("members", now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := certs.NewAuthority("others", now)
	if err != nil {
		t.Fatal(err)
	}
	spec := certs.Spec{Name: "member", Hosts: []string{"127.0.0.2"}, Life: time.Hour}
	issue := func(by certs.Pair) certs.Pair {
		p, err := by.Issue(spec, now)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := member(t, authority, issue(authority))
	if served := run(t, twoMembers(t, []embedded.TLSFiles{good, good})); len(served) == 2 {
		client, err := clientv3.New(clientv3.Config{Endpoints: served[0].Endpoints(), DialTimeout: 5 * time.Second,
			Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close() //nolint:errcheck // the test is over
		if _, err := client.Put(t.Context(), "a", "b"); err != nil {
			t.Error(err)
		}
	} else {
		t.Errorf("%d members serve", len(served))
	}
	if served := run(t, twoMembers(t, []embedded.TLSFiles{good,
		member(t, authority, issue(other))})); len(served) != 0 {
		t.Error("a member whom another authority has signed has joined")
	}
}
