package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"galaxy/cmd/internal/certs"
)

var wanted = certs.Wanted{Namespace: "kube-system", Life: certs.DefaultLife}

func made(t *testing.T, dir string, w certs.Wanted, now time.Time) map[string]string {
	t.Helper()
	files, err := certs.Make(dir, w, now)
	if err != nil {
		t.Fatal(err)
	}
	done := map[string]string{}
	for _, f := range files {
		done[f.Name] = f.Done
	}
	return done
}

func text(t *testing.T, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func pool(t *testing.T, path ...string) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text(t, path...)) {
		t.Fatal("no certificate")
	}
	return p
}

// handshake has a client and a server of a folder meet.
func handshake(t *testing.T, dir, ca, server, client, host string) error {
	t.Helper()
	load := func(name string) tls.Certificate {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	line, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{load(server)}, ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs: pool(t, dir, ca+".crt"), MinVersion: tls.VersionTLS12,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close() //nolint:errcheck // the test is over
	served := make(chan error, 1)
	go func() {
		c, err := line.Accept()
		if err == nil {
			err = c.(*tls.Conn).HandshakeContext(t.Context())
			c.Close() //nolint:errcheck // the test is over
		}
		served <- err
	}()
	c, err := tls.Dial("tcp", line.Addr().String(),
		&tls.Config{Certificates: []tls.Certificate{load(client)}, RootCAs: pool(t, dir, ca+".crt"), ServerName: host})
	if err == nil {
		c.Close() //nolint:errcheck // the test is over
	}
	if failed := <-served; err == nil {
		err = failed
	}
	return err
}

// Who ought to know each other does, and nobody else: a certificate of kube-scheduler does not make a member of etcd.
func TestHandshakes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	w := wanted
	w.Hosts = []string{"192.0.2.10", "ipam.example"}
	made(t, dir, w, time.Now())
	for _, c := range []struct {
		ca, server, client, host string
		good                     bool
	}{
		{certs.CA, certs.IPAM, certs.Scheduler, "galaxy-ipam", true},
		{certs.CA, certs.IPAM, certs.IPAM, "galaxy-ipam.kube-system.svc", true},
		{certs.CA, certs.IPAM, certs.Scheduler, "127.0.0.1", true},
		{certs.CA, certs.IPAM, certs.Scheduler, "192.0.2.10", true},
		{certs.CA, certs.IPAM, certs.Scheduler, "ipam.example", true},
		{certs.CA, certs.IPAM, certs.Scheduler, "192.0.2.11", false},
		{certs.CA, certs.Scheduler, certs.Scheduler, "system:kube-scheduler", false},
		{certs.CA, certs.IPAM, certs.Members, "galaxy-ipam", false},
		{certs.MembersCA, certs.Members, certs.Members, "galaxy-ipam-2.galaxy-ipam-members.kube-system.svc", true},
		{certs.MembersCA, certs.Members, certs.Scheduler, "127.0.0.1", false},
		{certs.MembersCA, certs.Members, certs.IPAM, "127.0.0.1", false},
	} {
		if err := handshake(t, dir, c.ca, c.server, c.client, c.host); (err == nil) != c.good {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A second run keeps what is good. What is in the last third of its life is made anew, what lacks a name, too, and
// authorities stay.
func TestRenewal(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	for name, done := range made(t, dir, wanted, now) {
		if done != certs.Made {
			t.Errorf("%s: %s", name, done)
		}
	}
	for name, done := range made(t, dir, wanted, now.Add(certs.DefaultLife/2)) {
		if done != certs.Kept {
			t.Errorf("%s: %s", name, done)
		}
	}
	authority := text(t, dir, certs.CA+".crt")
	done := made(t, dir, wanted, now.Add(certs.DefaultLife*3/4))
	if done[certs.CA] != certs.Kept || done[certs.MembersCA] != certs.Kept ||
		!strings.Contains(done[certs.IPAM], "expires on") || !strings.Contains(done[certs.Members], "expires on") {
		t.Error(done)
	}
	if string(authority) != string(text(t, dir, certs.CA+".crt")) {
		t.Error("the authority has changed")
	}
	more := wanted
	more.Hosts = []string{"192.0.2.1"}
	if done := made(t, dir, more, now); !strings.Contains(done[certs.IPAM], "192.0.2.1") ||
		done[certs.Scheduler] != certs.Kept {
		t.Error(done)
	}
	// the authority is another one: what the old one has signed is of no use
	for _, end := range []string{".crt", ".key"} {
		if err := os.Rename(filepath.Join(dir, certs.MembersCA+end), filepath.Join(dir, certs.CA+end)); err != nil {
			t.Fatal(err)
		}
	}
	if done := made(t, dir, wanted, now); !strings.Contains(done[certs.IPAM], "another authority") ||
		!strings.Contains(done[certs.Scheduler], "another authority") {
		t.Error(done)
	}
	again := wanted
	again.Renew = true
	if done := made(t, dir, again, now); done[certs.Scheduler] != "made anew" || done[certs.CA] != certs.Kept {
		t.Error(done)
	}
}

// What is there and cannot be understood is an error with the files' names, and stays as it is; keys are for their
// owner alone.
func TestNothingIsOverwritten(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"a note of somebody": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "ca.crt"),
				[]byte("hello"), 0o600)
		},
		"the key is lost": func(dir string) error { return os.Remove(filepath.Join(dir, "ca.key")) },
		"keys mixed up": func(dir string) error {
			return os.Rename(filepath.Join(dir, "scheduler.key"), filepath.Join(dir, "ipam.key"))
		},
		"no authority": func(dir string) error {
			for _, end := range []string{".crt", ".key"} {
				if err := os.Rename(filepath.Join(dir, "ipam"+end), filepath.Join(dir, "ca"+end)); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			made(t, dir, wanted, time.Now())
			for _, key := range []string{certs.CA, certs.IPAM} {
				if info, err := os.Stat(filepath.Join(dir, key+".key")); err != nil || info.Mode().Perm() != 0o600 {
					t.Fatal(info, err)
				}
			}
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			before := text(t, dir, "ca.crt")
			if _, err := certs.Make(dir, wanted, time.Now()); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v", err)
			}
			if string(before) != string(text(t, dir, "ca.crt")) {
				t.Error("it was overwritten")
			}
		})
	}
}

// The Secrets hold what the manifests mount, and no authority's key.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	made(t, dir, wanted, time.Now())
	manifest, err := certs.Secrets(dir, "galaxy")
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(manifest), "---\n") {
		var s corev1.Secret
		if err := yaml.UnmarshalStrict([]byte(part), &s); err != nil {
			t.Fatal(err)
		}
		ca, cert := certs.CA, certs.IPAM
		if i == 1 {
			ca, cert = certs.MembersCA, certs.Members
		}
		if s.Namespace != "galaxy" || s.Type != corev1.SecretTypeTLS || len(s.Data) != 3 ||
			string(s.Data["ca.crt"]) != string(text(t, dir, ca+".crt")) ||
			string(s.Data["tls.crt"]) != string(text(t, dir, cert+".crt")) ||
			string(s.Data["tls.key"]) != string(text(t, dir, cert+".key")) {
			t.Errorf("%+v", s)
		}
	}
}

// One file may hold a key and a certificate, in either order, as TLS takes them.
func TestParseCert(t *testing.T) {
	dir := t.TempDir()
	made(t, dir, wanted, time.Now())
	cert, key := string(text(t, dir, certs.IPAM+".crt")), string(text(t, dir, certs.IPAM+".key"))
	for name, file := range map[string]string{"alone": cert, "before its key": cert + key, "after its key": key + cert,
		"after words": "hello\n" + cert} {
		if c, err := certs.ParseCert([]byte(file)); err != nil || c.Subject.CommonName != "galaxy-ipam" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, file := range map[string]string{"empty": "", "a key": key, "words": "hello",
		"a half": cert[:len(cert)/2]} {
		if _, err := certs.ParseCert([]byte(file)); err == nil {
			t.Errorf("%s is no certificate, and was read", name)
		}
	}
}
