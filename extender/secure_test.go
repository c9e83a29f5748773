package extender_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"galaxy/extender"
	"galaxy/extender/httpserver"
)

// signer is a certificate authority.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	text []byte
}

var serials atomic.Int64

// sign makes a certificate of a name; by nil, one that signs others.
func sign(t *testing.T, by *signer, name string) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serials.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signing := template, key
	if by == nil {
		template.IsCA, template.BasicConstraintsValid, template.DNSNames, template.KeyUsage = true, true, nil, x509.KeyUsageCertSign
	} else {
		parent, signing = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signing)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (s *signer) keyText(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func (s *signer) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.cert)
	return pool
}

func (s *signer) pair() []tls.Certificate {
	return []tls.Certificate{{Certificate: [][]byte{s.cert.Raw}, PrivateKey: s.key}}
}

// secret is a mounted secret.
type secret struct {
	t   *testing.T
	dir string
}

func (s secret) files() httpserver.TLSFiles {
	at := func(name string) string { return filepath.Join(s.dir, name) }
	return httpserver.TLSFiles{Cert: at("tls.crt"), Key: at("tls.key"), ClientCA: at("ca.crt")}
}

// put replaces the content as kubelet does: a new directory, and a link that is renamed.
func (s secret) put(cert *signer, ca *signer) {
	s.t.Helper()
	fresh, err := os.MkdirTemp(s.dir, "..")
	if err != nil {
		s.t.Fatal(err)
	}
	for name, text := range map[string][]byte{"tls.crt": cert.text, "tls.key": cert.keyText(s.t), "ca.crt": ca.text} {
		if err := os.WriteFile(filepath.Join(fresh, name), text, 0o600); err != nil {
			s.t.Fatal(err)
		}
		_ = os.Symlink(filepath.Join("..data", name), filepath.Join(s.dir, name))
	}
	link := filepath.Join(s.dir, "..data_tmp")
	if err := errors.Join(os.Symlink(filepath.Base(fresh), link), os.Rename(link, filepath.Join(s.dir, "..data"))); err != nil {
		s.t.Fatal(err)
	}
}

const service = "galaxy-ipam.kube-system.svc"

// newSecret has a certificate of the service, signed by ca.
func newSecret(t *testing.T, ca *signer) secret {
	s := secret{t, t.TempDir()}
	s.put(sign(t, ca, service), ca)
	return s
}

func load(t *testing.T, files httpserver.TLSFiles, log *zap.Logger) *httpserver.Certificates {
	t.Helper()
	certificates, err := files.Load(log)
	if err != nil {
		t.Fatal(err)
	}
	return certificates
}

// serveTLS serves a handler until the test ends.
func serveTLS(t *testing.T, config *tls.Config, handler http.Handler, names ...string) string {
	t.Helper()
	return serveClients(t, config, handler, httpserver.Clients{Names: names})
}

func serveClients(t *testing.T, config *tls.Config, handler http.Handler, clients httpserver.Clients) string {
	t.Helper()
	s := httpserver.New(zap.NewNop())
	at, err := s.ListenTLS("127.0.0.1:0", handler, config, clients)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return at.String()
}

// fetch asks over a connection of its own.
func fetch(config *tls.Config, method, url string) (int, string, error) {
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })

// TestTLSClients: who may ask what. Probes have no certificate.
func TestTLSClients(t *testing.T) {
	ca, foreign := sign(t, nil, "ca"), sign(t, nil, "foreign")
	at := serveTLS(t, load(t, newSecret(t, ca).files(), zap.NewNop()).Server(), hello)
	open := newSecret(t, ca).files()
	open.ClientCA = ""
	anybody := serveTLS(t, load(t, open, zap.NewNop()).Server(), hello)
	none := &tls.Config{RootCAs: ca.pool(), ServerName: service}
	good := &tls.Config{RootCAs: ca.pool(), ServerName: service, Certificates: sign(t, ca, "client").pair()}
	// Without GetClientCertificate a client would not offer a certificate that the server does not ask for.
	strange := sign(t, foreign, "client").pair()
	bad := &tls.Config{RootCAs: ca.pool(), ServerName: service, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &strange[0], nil }}
	named := serveTLS(t, load(t, newSecret(t, ca).files(), zap.NewNop()).Server(), hello, "scheduler")
	scheduler := &tls.Config{RootCAs: ca.pool(), ServerName: service, Certificates: sign(t, ca, "scheduler").pair()}
	tokens := serveClients(t, load(t, newSecret(t, ca).files(), zap.NewNop()).Server(), hello, httpserver.Clients{Without: true})
	for _, c := range []struct {
		what         string
		config       *tls.Config
		at           string
		method, path string
		code         int // 0: no connection
	}{
		{"a good client", good, at, "GET", "/v1/ip", 200},
		{"a good client", good, at, "POST", "/v1/filter", 200},
		{"no certificate", none, at, "GET", "/v1/ip", 401},
		{"no certificate", none, at, "POST", "/v1/filter", 401},
		{"no certificate", none, at, "GET", "/metrics", 401},
		{"no certificate", none, at, "GET", "/healthz/x", 401},
		{"no certificate", none, at, "GET", "/v1/../healthz", 401},
		{"no certificate", none, at, "POST", "/healthz", 401},
		{"a probe", none, at, "GET", "/healthz", 200},
		{"a probe", none, at, "GET", "/readyz", 200},
		{"a probe", none, at, "GET", "/healthy", 200},
		{"a probe", none, at, "HEAD", "/readyz", 200},
		{"who is named", scheduler, named, "POST", "/v1/bind", 200},
		{"signed, and not named", good, named, "POST", "/v1/bind", 403},
		{"a probe where names are wanted", none, named, "GET", "/readyz", 200},
		{"no certificate, where the handler asks for tokens", none, tokens, "GET", "/v1/ip", 200},
		{"a foreign certificate where the handler asks for tokens", bad, tokens, "GET", "/v1/ip", 0},
		{"a foreign certificate", bad, at, "GET", "/v1/ip", 0},
		{"a foreign certificate", bad, at, "GET", "/healthz", 0},
		{"no certificate, none needed", none, anybody, "GET", "/v1/ip", 200},
		{"TLS 1.1", &tls.Config{RootCAs: ca.pool(), ServerName: service, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, anybody, "GET", "/v1/ip", 0},
		{"TLS 1.2", &tls.Config{RootCAs: ca.pool(), ServerName: service, MaxVersion: tls.VersionTLS12}, anybody, "GET", "/v1/ip", 200},
		{"another's name", &tls.Config{RootCAs: ca.pool(), ServerName: "else"}, anybody, "GET", "/v1/ip", 0},
	} {
		code, text, err := fetch(c.config, c.method, "https://"+c.at+c.path)
		if code != c.code || (err != nil) != (c.code == 0) || code == 401 && !strings.Contains(text, "client certificate") {
			t.Errorf("%s, %s %s: %d %s %v, want %d", c.what, c.method, c.path, code, text, err, c.code)
		}
	}
	if code, text, err := fetch(nil, http.MethodGet, "http://"+at+"/healthz"); code != http.StatusBadRequest {
		t.Errorf("without TLS: %d %s %v", code, text, err)
	}
}

// TestTLSRotation: new files are used a second later, for certificates, keys and signers; bad ones are not, and are complained
// of once.
func TestTLSRotation(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	old, fresh := sign(t, nil, "old"), sign(t, nil, "fresh")
	s := newSecret(t, old)
	at := serveTLS(t, load(t, s.files(), zap.New(core)).Server(), hello)
	get := func(ca *signer) (int, error) {
		code, _, err := fetch(&tls.Config{RootCAs: ca.pool(), ServerName: service, Certificates: sign(t, ca, "client").pair()}, http.MethodGet, "https://"+at+"/v1/ip")
		return code, err
	}
	until := func(what string, good func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !good(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within 10 s; the log says %v", what, lines.All())
			}
		}
	}
	if code, err := get(old); code != http.StatusOK {
		t.Fatal(code, err)
	}
	s.put(sign(t, fresh, service), fresh)
	until("new files", func() bool { code, _ := get(fresh); return code == http.StatusOK })
	if code, err := get(old); err == nil {
		t.Errorf("the old signer is still believed: %d", code)
	}
	mismatched := sign(t, fresh, service)
	mismatched.key = old.key
	s.put(mismatched, fresh)
	complaints := func() int { return lines.FilterMessageSnippet("cannot be used").Len() }
	until("a complaint", func() bool { _, _ = get(fresh); return complaints() > 0 })
	for started := time.Now(); time.Since(started) < 2300*time.Millisecond; time.Sleep(100 * time.Millisecond) {
		if code, err := get(fresh); code != http.StatusOK {
			t.Fatalf("bad files took the port down: %d %v", code, err)
		}
	}
	if complaints() != 1 {
		t.Errorf("%d complaints of the same", complaints())
	}
	again := sign(t, nil, "again")
	s.put(sign(t, again, service), again)
	until("good files after bad ones", func() bool { code, _ := get(again); return code == http.StatusOK })
	// Written over, as by hand: the same files with another content.
	files, last := s.files(), sign(t, again, service)
	for name, text := range map[string][]byte{files.Cert: last.text, files.Key: last.keyText(t)} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	until("files written over", func() bool {
		conn, err := tls.Dial("tcp", at, &tls.Config{RootCAs: again.pool(), ServerName: service})
		if err != nil {
			return false
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(last.cert.SerialNumber) == 0
	})
}

// TestTLSFileErrors: what is wrong, where, and how to mend it.
func TestTLSFileErrors(t *testing.T) {
	ca := sign(t, nil, "ca")
	s := newSecret(t, ca)
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("no PEM\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := newSecret(t, ca).files()
	for what, c := range map[string]struct {
		change func(*httpserver.TLSFiles)
		says   []string
		is     error
	}{
		"no certificate":      {func(f *httpserver.TLSFiles) { f.Cert = "" }, []string{"TLS certificate", "no file is named"}, nil},
		"no key":              {func(f *httpserver.TLSFiles) { f.Key = "" }, []string{"TLS private key", "no file is named"}, nil},
		"missing certificate": {func(f *httpserver.TLSFiles) { f.Cert = "/no/such" }, []string{`TLS certificate "/no/such"`, "no such file", "put it there"}, fs.ErrNotExist},
		"missing key":         {func(f *httpserver.TLSFiles) { f.Key = "/no/such" }, []string{`TLS private key "/no/such"`, "no such file"}, fs.ErrNotExist},
		"missing signers":     {func(f *httpserver.TLSFiles) { f.ClientCA = "/no/such" }, []string{"signers of clients", "/no/such"}, fs.ErrNotExist},
		"missing peers":       {func(f *httpserver.TLSFiles) { f.PeerCA = "/no/such" }, []string{"signers of replicas", "/no/such"}, fs.ErrNotExist},
		"mismatched":          {func(f *httpserver.TLSFiles) { f.Key = other.Key }, []string{s.files().Cert, other.Key, "does not match", "belongs to it"}, nil},
		"garbage certificate": {func(f *httpserver.TLSFiles) { f.Cert = garbage }, []string{garbage, "PEM"}, nil},
		"garbage key":         {func(f *httpserver.TLSFiles) { f.Key = garbage }, []string{garbage, "PEM"}, nil},
		"garbage signers":     {func(f *httpserver.TLSFiles) { f.ClientCA = garbage }, []string{garbage, "has no certificate", "PEM"}, nil},
	} {
		files := s.files()
		c.change(&files)
		certificates, err := files.Load(zap.NewNop())
		var typed *httpserver.TLSFileError
		if certificates != nil || !errors.As(err, &typed) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v does not say %s", what, err, part)
			}
		}
	}
	if _, err := httpserver.New(zap.NewNop()).ListenTLS("nonsense", hello, load(t, s.files(), zap.NewNop()).Server(), httpserver.Clients{}); err == nil {
		t.Error("no port: no error")
	}
}

// TestTLSPeers: replicas know each other by their certificates, whatever the address, and go on after these were replaced.
func TestTLSPeers(t *testing.T) {
	ca, foreign := sign(t, nil, "ca"), sign(t, nil, "foreign")
	s := newSecret(t, ca)
	mine := load(t, s.files(), zap.NewNop())
	at := serveTLS(t, mine.Server(), hello)
	imposter := serveTLS(t, &tls.Config{Certificates: sign(t, foreign, service).pair()}, hello)
	trusted := s.files()
	trusted.PeerCA = filepath.Join(t.TempDir(), "peers")
	if err := os.WriteFile(trusted.PeerCA, foreign.text, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		config *tls.Config
		at     string
		good   bool
	}{
		"its own name":      {mine.Peer(""), at, true},
		"that name":         {mine.Peer(service), at, true},
		"another name":      {mine.Peer("else"), at, false},
		"another signer":    {mine.Peer(service), imposter, false},
		"signers of peers":  {load(t, trusted, zap.NewNop()).Peer(service), imposter, true},
		"not other signers": {load(t, trusted, zap.NewNop()).Peer(service), at, false},
	} {
		code, _, err := fetch(c.config, http.MethodGet, "https://"+c.at+"/v1/ip")
		if (code == http.StatusOK) != c.good || (err == nil) != c.good {
			t.Errorf("%s: %d %v", what, code, err)
		}
	}
	peer, fresh := mine.Peer(""), sign(t, nil, "fresh")
	s.put(sign(t, fresh, service), fresh)
	time.Sleep(1100 * time.Millisecond)
	if code, _, err := fetch(peer, http.MethodGet, "https://"+at+"/v1/ip"); code != http.StatusOK {
		t.Errorf("after new files: %d %v", code, err)
	}
}

// TestForwardTLS: a follower reaches a leader that wants certificates.
func TestForwardTLS(t *testing.T) {
	certificates := load(t, newSecret(t, sign(t, nil, "ca")).files(), zap.NewNop())
	c := newCrew(t, 2, func(_ *extender.SchedulerConfig, f *extender.ForwarderConfig) { f.TLS = certificates.Peer("") })
	at := serveTLS(t, certificates.Server(), c.members[0].scheduler.Config.Handler)
	if _, _, err := net.SplitHostPort(at); err != nil {
		t.Fatal(err)
	}
	c.holder.Store(&extender.Peer{Scheduler: at})
	c.members[1].forwarder.Forget()
	if code, fault := c.members[1].bind(1); code != http.StatusOK || fault != "" || !c.bound(1) {
		t.Errorf("%d %q", code, fault)
	}
}
