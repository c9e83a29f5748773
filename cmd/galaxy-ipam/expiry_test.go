package main

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"galaxy/cmd/internal/certs"
)

// A certificate is asked to be renewed in the last sixth of its life, and one that is gone or expired is said to be.
func TestOverdue(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	if _, err := certs.Make(dir, certs.Wanted{Namespace: "kube-system", Life: 600 * time.Hour}, now); err != nil {
		t.Fatal(err)
	}
	o := &options{}
	o.tls.Cert, o.embeddedTLS.Cert = filepath.Join(dir, "ipam.crt"), filepath.Join(dir, "members.crt")
	for after, want := range map[time.Duration]string{0: "", 490 * time.Hour: "", 505 * time.Hour: "expires on",
		601 * time.Hour: "has expired on"} {
		said := overdue(o.certificates(), now.Add(after))
		if want == "" && len(said) != 0 || want != "" &&
			(len(said) != 2 || !strings.Contains(said[0], want) || !strings.Contains(said[1], "members.crt")) {
			t.Errorf("after %s: %q", after, said)
		}
	}
	if err := os.Remove(o.tls.Cert); err != nil {
		t.Fatal(err)
	}
	if said := overdue(o.certificates(), now); len(said) != 1 ||
		!strings.Contains(said[0], "for ports cannot be read any more") {
		t.Errorf("%q", said)
	}
}

// One file may hold the key and the certificate, in either order: what TLS serves with is not said to be unreadable.
func TestKeyBeforeCertificate(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	if _, err := certs.Make(dir, certs.Wanted{Namespace: "kube-system", Life: time.Hour}, now); err != nil {
		t.Fatal(err)
	}
	var both []byte
	for _, name := range []string{"ipam.key", "ipam.crt"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, text...)
	}
	file := filepath.Join(dir, "both.pem")
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(file, file); err != nil {
		t.Fatal(err)
	}
	if said := overdue([]certificate{{"ports", file}}, now); len(said) != 0 {
		t.Errorf("%q", said)
	}
}

// Whoever reaches the ports can bind pods, so that they open to this host alone unless clients have to show
// certificates; the same is true of the members of an etcd.
func TestPortsAreSecure(t *testing.T) {
	secure := []string{"--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "ca"}
	for _, c := range []struct {
		args []string
		says string // "": goes on
	}{
		{[]string{}, ""}, // this host alone
		{[]string{"--bind", "0.0.0.0"}, "--insecure-ports"},
		{[]string{"--bind", "10.0.0.1"}, "galaxyctl certs"},
		{[]string{"--bind", "10.0.0.1", "--tls-cert", "c", "--tls-key", "k"}, "--tls-client-ca"},
		{[]string{"--bind", "host.example"}, "--insecure-ports"},
		{secure, ""},
		{[]string{"--insecure-ports"}, ""},
		{[]string{"--bind", "127.0.0.1"}, ""},
		{[]string{"--bind", "::1"}, ""},
		{[]string{"--bind", "localhost"}, ""},
		{[]string{"--standalone"}, ""},
		{[]string{"--standalone", "--bind", "0.0.0.0"}, ""}, // named, and without a cluster
		{[]string{"--bind", "127.0.0.1", "--authorize-reads"}, ""},
		{[]string{"--standalone", "--authorize-reads"}, "--authorize-reads asks the API server"},
		{[]string{"--bind", "127.0.0.1", "--authorize-reads", "--authorize-writes=false"},
			"--authorize-reads asks the API server"},
		{append([]string{"--embedded-etcd", "d", "--embedded-etcd-members",
			"a=http://a.example:2380,b=http://127.0.0.1:2380"}, secure...), "a=http://a.example:2380"},
		{append([]string{"--embedded-etcd", "d", "--embedded-etcd-members", "a=https://a.example:2380"}, secure...),
			"--embedded-etcd-peer-cert"},
		{append([]string{"--embedded-etcd", "d", "--embedded-etcd-members", "a=https://a.example:2380",
			"--embedded-etcd-peer-cert", "c", "--embedded-etcd-peer-key", "k", "--embedded-etcd-peer-ca", "ca"},
			secure...), ""},
		{[]string{"--standalone", "--embedded-etcd", "d", "--embedded-etcd-client-url", "http://0.0.0.0:2379"},
			"--embedded-etcd-client-url http://0.0.0.0:2379"},
		{[]string{"--standalone", "--insecure-ports", "--embedded-etcd", "d", "--embedded-etcd-client-url",
			"http://0.0.0.0:2379"}, ""},
		{[]string{"--standalone", "--embedded-etcd", "d", "--embedded-etcd-client-url", "http://[::1]:2379"}, ""},
		{[]string{"--standalone", "--embedded-etcd", "d", "--embedded-etcd-members", "a=http://127.0.0.1:2380"},
			"--embedded-etcd-peer-url http://0.0.0.0:2380"},
		{[]string{"--standalone", "--embedded-etcd", "d", "--embedded-etcd-members", "a=http://127.0.0.1:2380",
			"--embedded-etcd-peer-url", "http://127.0.0.1:2380"}, ""},
		{[]string{"--insecure-ports", "--embedded-etcd", "d", "--embedded-etcd-members", "a=http://a.example:2380"},
			""},
	} {
		o := &options{}
		cmd := newCommand()
		cmd.ResetFlags()
		o.Add(cmd.Flags())
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		if err := o.Check(); c.says == "" && err != nil || c.says != "" &&
			(err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%q: %v, want %q", c.args, err, c.says)
		}
		if c.says == "" && !o.api.Standalone && !o.insecurePorts && o.tls.ClientCA == "" && !o.loopback() {
			t.Errorf("%q: it listens at %s", c.args, o.bind)
		}
	}
}
