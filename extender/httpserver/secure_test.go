package httpserver_test

import (
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"galaxy/extender/extendertest"
	"galaxy/extender/httpserver"
)

// serveTLS serves a handler until the test ends.
func serveTLS(t *testing.T, config *tls.Config, handler http.Handler, names ...string) string {
	t.Helper()
	return extendertest.ServeTLS(t, config, handler, httpserver.Clients{Names: names})
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
	defer resp.Body.Close() //nolint:errcheck // it was only read from
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })

// TestTLSClients: who may ask what. Probes have no certificate.
func TestTLSClients(t *testing.T) {
	ca, foreign := extendertest.Sign(t, nil, "ca"), extendertest.Sign(t, nil, "foreign")
	at := serveTLS(t, extendertest.Load(t, extendertest.NewSecret(t, ca).Files(), zap.NewNop()).Server(), hello)
	open := extendertest.NewSecret(t, ca).Files()
	open.ClientCA = ""
	anybody := serveTLS(t, extendertest.Load(t, open, zap.NewNop()).Server(), hello)
	none := &tls.Config{RootCAs: ca.Pool(), ServerName: extendertest.Service}
	good := &tls.Config{RootCAs: ca.Pool(), ServerName: extendertest.Service,
		Certificates: extendertest.Sign(t, ca, "client").Pair()}
	// Without GetClientCertificate a client would not offer a certificate that the server does not ask for.
	strange := extendertest.Sign(t, foreign, "client").Pair()
	bad := &tls.Config{RootCAs: ca.Pool(), ServerName: extendertest.Service,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &strange[0], nil }}
	named := serveTLS(t, extendertest.Load(t, extendertest.NewSecret(t, ca).Files(), zap.NewNop()).Server(), hello,
		"scheduler")
	scheduler := &tls.Config{RootCAs: ca.Pool(), ServerName: extendertest.Service,
		Certificates: extendertest.Sign(t, ca, "scheduler").Pair()}
	tokens := extendertest.ServeTLS(t, extendertest.Load(t, extendertest.NewSecret(t, ca).Files(),
		zap.NewNop()).Server(), hello, httpserver.Clients{Without: true})
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
		{"TLS 1.1", &tls.Config{RootCAs: ca.Pool(), ServerName: extendertest.Service, MinVersion: tls.VersionTLS10,
			MaxVersion: tls.VersionTLS11}, anybody, "GET", "/v1/ip", 0},
		{"TLS 1.2", &tls.Config{RootCAs: ca.Pool(), ServerName: extendertest.Service, MaxVersion: tls.VersionTLS12},
			anybody, "GET", "/v1/ip", 200},
		{"another's name", &tls.Config{RootCAs: ca.Pool(), ServerName: "else"}, anybody, "GET", "/v1/ip", 0},
	} {
		code, text, err := fetch(c.config, c.method, "https://"+c.at+c.path)
		if code != c.code || (err != nil) != (c.code == 0) || code == 401 &&
			!strings.Contains(text, "client certificate") {
			t.Errorf("%s, %s %s: %d %s %v, want %d", c.what, c.method, c.path, code, text, err, c.code)
		}
	}
	if code, text, err := fetch(nil, http.MethodGet, "http://"+at+"/healthz"); code != http.StatusBadRequest {
		t.Errorf("without TLS: %d %s %v", code, text, err)
	}
}

// TestTLSRotation: new files are used a second later, for certificates, keys and signers; bad ones are not, and are
// logged of once.
func TestTLSRotation(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	old, fresh := extendertest.Sign(t, nil, "old"), extendertest.Sign(t, nil, "fresh")
	s := extendertest.NewSecret(t, old)
	at := serveTLS(t, extendertest.Load(t, s.Files(), zap.New(core)).Server(), hello)
	get := func(ca *extendertest.Signer) (int, error) {
		code, _, err := fetch(&tls.Config{RootCAs: ca.Pool(), ServerName: extendertest.Service,
			Certificates: extendertest.Sign(t, ca, "client").Pair()}, http.MethodGet, "https://"+at+"/v1/ip")
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
	s.Put(extendertest.Sign(t, fresh, extendertest.Service), fresh)
	until("new files", func() bool { code, _ := get(fresh); return code == http.StatusOK })
	if code, err := get(old); err == nil {
		t.Errorf("the old signer is still believed: %d", code)
	}
	mismatched := extendertest.Sign(t, fresh, extendertest.Service)
	mismatched.Key = old.Key
	s.Put(mismatched, fresh)
	warnings := func() int { return lines.FilterMessageSnippet("cannot be used").Len() }
	until("a warning", func() bool { _, _ = get(fresh); return warnings() > 0 })
	for started := time.Now(); time.Since(started) < 2300*time.Millisecond; time.Sleep(100 * time.Millisecond) {
		if code, err := get(fresh); code != http.StatusOK {
			t.Fatalf("bad files took the port down: %d %v", code, err)
		}
	}
	if warnings() != 1 {
		t.Errorf("%d warnings of the same", warnings())
	}
	again := extendertest.Sign(t, nil, "again")
	s.Put(extendertest.Sign(t, again, extendertest.Service), again)
	until("good files after bad ones", func() bool { code, _ := get(again); return code == http.StatusOK })
	// Written over, as by hand: the same files with another content.
	files, last := s.Files(), extendertest.Sign(t, again, extendertest.Service)
	for name, text := range map[string][]byte{files.Cert: last.Text, files.Key: last.KeyText(t)} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	until("files written over", func() bool {
		conn, err := tls.Dial("tcp", at, &tls.Config{RootCAs: again.Pool(), ServerName: extendertest.Service})
		if err != nil {
			return false
		}
		defer conn.Close() //nolint:errcheck // nothing is left to say
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(last.Cert.SerialNumber) == 0
	})
}

// TestTLSFileErrors: what is wrong, where, and how to repair it.
func TestTLSFileErrors(t *testing.T) {
	ca := extendertest.Sign(t, nil, "ca")
	s := extendertest.NewSecret(t, ca)
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("no PEM\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := extendertest.NewSecret(t, ca).Files()
	for what, c := range map[string]struct {
		change func(*httpserver.TLSFiles)
		says   []string
		is     error
	}{
		"no certificate": {func(f *httpserver.TLSFiles) { f.Cert = "" },
			[]string{"TLS certificate", "no file is named"}, nil},
		"no key": {func(f *httpserver.TLSFiles) { f.Key = "" },
			[]string{"TLS private key", "no file is named"}, nil},
		"missing certificate": {func(f *httpserver.TLSFiles) { f.Cert = "/no/such" },
			[]string{`TLS certificate "/no/such"`, "no such file", "put it there"}, fs.ErrNotExist},
		"missing key": {func(f *httpserver.TLSFiles) { f.Key = "/no/such" },
			[]string{`TLS private key "/no/such"`, "no such file"}, fs.ErrNotExist},
		"missing signers": {func(f *httpserver.TLSFiles) { f.ClientCA = "/no/such" },
			[]string{"signers of clients", "/no/such"}, fs.ErrNotExist},
		"missing peers": {func(f *httpserver.TLSFiles) { f.PeerCA = "/no/such" },
			[]string{"signers of replicas", "/no/such"}, fs.ErrNotExist},
		"mismatched": {func(f *httpserver.TLSFiles) { f.Key = other.Key },
			[]string{s.Files().Cert, other.Key, "does not match", "belongs to it"}, nil},
		"garbage certificate": {func(f *httpserver.TLSFiles) { f.Cert = garbage }, []string{garbage, "PEM"}, nil},
		"garbage key":         {func(f *httpserver.TLSFiles) { f.Key = garbage }, []string{garbage, "PEM"}, nil},
		"garbage signers": {func(f *httpserver.TLSFiles) { f.ClientCA = garbage },
			[]string{garbage, "has no certificate", "PEM"}, nil},
	} {
		files := s.Files()
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
	if _, err := httpserver.New(zap.NewNop()).ListenTLS("nonsense", hello,
		extendertest.Load(t, s.Files(), zap.NewNop()).Server(), httpserver.Clients{}); err == nil {
		t.Error("no port: no error")
	}
}

// TestTLSPeers: replicas know each other by their certificates, whatever the address, and go on after these were
// replaced.
func TestTLSPeers(t *testing.T) {
	ca, foreign := extendertest.Sign(t, nil, "ca"), extendertest.Sign(t, nil, "foreign")
	s := extendertest.NewSecret(t, ca)
	mine := extendertest.Load(t, s.Files(), zap.NewNop())
	at := serveTLS(t, mine.Server(), hello)
	imposter := serveTLS(t, &tls.Config{Certificates: extendertest.Sign(t, foreign, extendertest.Service).Pair()},
		hello)
	trusted := s.Files()
	trusted.PeerCA = filepath.Join(t.TempDir(), "peers")
	if err := os.WriteFile(trusted.PeerCA, foreign.Text, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		config *tls.Config
		at     string
		good   bool
	}{
		"its own name":      {mine.Peer(""), at, true},
		"that name":         {mine.Peer(extendertest.Service), at, true},
		"another name":      {mine.Peer("else"), at, false},
		"another signer":    {mine.Peer(extendertest.Service), imposter, false},
		"signers of peers":  {extendertest.Load(t, trusted, zap.NewNop()).Peer(extendertest.Service), imposter, true},
		"not other signers": {extendertest.Load(t, trusted, zap.NewNop()).Peer(extendertest.Service), at, false},
	} {
		code, _, err := fetch(c.config, http.MethodGet, "https://"+c.at+"/v1/ip")
		if (code == http.StatusOK) != c.good || (err == nil) != c.good {
			t.Errorf("%s: %d %v", what, code, err)
		}
	}
	peer, fresh := mine.Peer(""), extendertest.Sign(t, nil, "fresh")
	s.Put(extendertest.Sign(t, fresh, extendertest.Service), fresh)
	time.Sleep(1100 * time.Millisecond)
	if code, _, err := fetch(peer, http.MethodGet, "https://"+at+"/v1/ip"); code != http.StatusOK {
		t.Errorf("after new files: %d %v", code, err)
	}
}
