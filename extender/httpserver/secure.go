package httpserver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// TLSFiles are PEM files. They may be replaced while they are in use, as those of mounted secrets are.
type TLSFiles struct {
	Cert string // of this replica, and of its issuers
	Key  string
	// ClientCA has who signs the certificates of clients. With it, everything but health checks needs such a
	// certificate, also when one replica asks another: then Cert has to be good for clients, too.
	ClientCA string
	// PeerCA has who signs the certificates of the other replicas; without it ClientCA, else whom the system trusts.
	PeerCA string
}

// TLSFileError is a file that cannot be used.
type TLSFileError struct {
	What   string // what the file is
	File   string
	Err    error
	Remedy string
}

func (e *TLSFileError) Error() string {
	return fmt.Sprintf("%s %q: %v; %s", e.What, e.File, e.Err, e.Remedy)
}

func (e *TLSFileError) Unwrap() error { return e.Err }

var (
	errNoFile        = errors.New("no file is named")
	errNoCertificate = errors.New("it has no certificate")
)

// What the files are called in errors.
const (
	whatCert     = "TLS certificate"
	whatKey      = "TLS private key"
	whatClientCA = "certificates of the signers of clients"
	whatPeerCA   = "certificates of the signers of replicas"
)

// checkEvery is how often, at most, the files are read.
const checkEvery = time.Second

// Certificates are TLSFiles in use. Files that were replaced by bad ones change nothing, but for a line in the log.
type Certificates struct {
	files    TLSFiles
	log      *zap.Logger
	current  atomic.Pointer[material]
	checked  atomic.Int64 // nanoseconds
	checking sync.Mutex
	warned   string // the last warning in the log; under checking
}

// material is what one state of the files says.
type material struct {
	stamps []os.FileInfo
	cert   tls.Certificate
	peers  *x509.CertPool // nil: those of the system
	server *tls.Config
}

// Load reads the files.
func (f TLSFiles) Load(log *zap.Logger) (*Certificates, error) {
	m, err := f.read()
	if err != nil {
		return nil, err
	}
	c := &Certificates{files: f, log: log}
	c.current.Store(m)
	c.checked.Store(time.Now().UnixNano())
	return c, nil
}

// Server is the configuration of a port. See Server.ListenTLS.
func (c *Certificates) Server() *tls.Config {
	config := c.current.Load().server.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.newest().server, nil }
	return config
}

// Peer is the configuration for asking other replicas. Their certificates have to bear the name; with "", the first
// name that the certificate of this replica bears, as replicas usually share one.
func (c *Certificates) Peer(name string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: name,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &c.newest().cert, nil
		},
		// The signers may be replaced, too, so that they are not looked up by crypto/tls but below, in the same way.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return c.newest().verify(s, name) },
	}
}

// verify checks the certificate of a replica.
func (m *material) verify(s tls.ConnectionState, name string) error {
	if name == "" {
		name = firstName(m.cert.Leaf)
	}
	if name == "" {
		return errors.New("the certificate of this replica bears no name to expect of others; name one")
	}
	options := x509.VerifyOptions{DNSName: name, Roots: m.peers, Intermediates: x509.NewCertPool()}
	for _, issuer := range s.PeerCertificates[1:] {
		options.Intermediates.AddCert(issuer)
	}
	_, err := s.PeerCertificates[0].Verify(options)
	return err
}

func firstName(cert *x509.Certificate) string {
	switch {
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	case len(cert.IPAddresses) > 0:
		return cert.IPAddresses[0].String()
	default:
		return ""
	}
}

// newest is what the files say, as of a second ago. Only one handshake at a time reads; the others go on with what is
// known.
func (c *Certificates) newest() *material {
	now := time.Now().UnixNano()
	if now-c.checked.Load() < int64(checkEvery) || !c.checking.TryLock() {
		return c.current.Load()
	}
	defer c.checking.Unlock()
	c.checked.Store(now)
	m := c.current.Load()
	if c.files.unchanged(m.stamps) {
		return m
	}
	fresh, err := c.files.read()
	if err != nil { // perhaps they are being replaced just now
		if text := err.Error(); text != c.warned {
			c.warned = text
			c.log.Error("TLS reload failed: the files cannot be used; keeping the previous ones",
				zap.Error(err))
		}
		return m
	}
	c.warned = ""
	c.current.Store(fresh)
	c.log.Info("TLS files reloaded", zap.String("certificate", c.files.Cert),
		zap.Time("expires", fresh.cert.Leaf.NotAfter))
	return fresh
}

func (f TLSFiles) names() []string {
	names := []string{f.Cert, f.Key}
	for _, name := range []string{f.ClientCA, f.PeerCA} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// unchanged compares the files with what they were like when they were read.
func (f TLSFiles) unchanged(stamps []os.FileInfo) bool {
	for i, name := range f.names() {
		now, err := os.Stat(name)
		if err != nil || !os.SameFile(now, stamps[i]) || !now.ModTime().Equal(stamps[i].ModTime()) ||
			now.Size() != stamps[i].Size() {
			return false
		}
	}
	return true
}

func (f TLSFiles) read() (*material, error) {
	m := &material{}
	for _, file := range []struct{ what, name string }{{whatCert, f.Cert}, {whatKey, f.Key}} {
		if file.name == "" {
			return nil, &TLSFileError{file.what, file.name, errNoFile,
				"a port with TLS needs a certificate and its private key"}
		}
	}
	for _, name := range f.names() { // before they are read: a change meanwhile is seen the next time
		if stamp, err := os.Stat(name); err == nil {
			m.stamps = append(m.stamps, stamp)
		}
	}
	cert, err := readPEM(whatCert, f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readPEM(whatKey, f.Key)
	if err != nil {
		return nil, err
	}
	if m.cert, err = tls.X509KeyPair(cert, key); err != nil {
		return nil, &TLSFileError{whatCert, f.Cert, err,
			fmt.Sprintf("give a certificate in PEM form, and in %q the private key that belongs to it", f.Key)}
	}
	m.server = &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{m.cert},
		NextProtos: []string{"http/1.1"}, // the limits of connections in server.go are for it
	}
	if f.ClientCA != "" {
		if m.server.ClientCAs, err = readPool(whatClientCA, f.ClientCA); err != nil {
			return nil, err
		}
		m.server.ClientAuth = tls.VerifyClientCertIfGiven // the rest is done by needCertificate, as probes have none
		m.peers = m.server.ClientCAs
	}
	if f.PeerCA != "" {
		if m.peers, err = readPool(whatPeerCA, f.PeerCA); err != nil {
			return nil, err
		}
	}
	if len(m.stamps) != len(f.names()) {
		return nil, &TLSFileError{whatCert, f.Cert, errors.New("its files came and went while they were read"),
			"try again"}
	}
	return m, nil
}

func readPEM(what, name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return nil, &TLSFileError{what, name, err, "put it there, readable for this process, or name another file"}
	}
	return text, nil
}

func readPool(what, name string) (*x509.CertPool, error) {
	text, err := readPEM(what, name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, &TLSFileError{what, name, errNoCertificate, "give certificates in PEM form"}
	}
	return pool, nil
}

// Clients are whom a port with TLS lets in, when its configuration verifies the certificates of clients: see
// TLSFiles.ClientCA. Health checks are for anybody, as the probes of a kubelet have no certificate.
type Clients struct {
	Names []string // a certificate must bear one of them as its common name or as a DNS name; none: whoever is signed
	// Without lets in who shows no certificate: the handler asks for tokens.
	Without bool
}

// ListenTLS is Listen with TLS.
func (s *Server) ListenTLS(address string, handler http.Handler, config *tls.Config,
	clients Clients) (net.Addr, error) {
	if config.ClientAuth == tls.VerifyClientCertIfGiven && !clients.Without {
		handler = needCertificate(handler, clients.Names)
	}
	at, err := s.Listen(address, handler)
	if err != nil {
		return nil, err
	}
	last := len(s.lines) - 1
	s.lines[last] = tls.NewListener(s.lines[last], config)
	return at, nil
}

// healthPaths are what anybody may ask.
var healthPaths = map[string]bool{"/healthz": true, "/readyz": true, "/healthy": true}

func needCertificate(next http.Handler, names []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case healthPaths[r.URL.Path] && !Writes(r):
		case r.TLS == nil || len(r.TLS.VerifiedChains) == 0:
			WriteFailure(w, Failure(http.StatusUnauthorized,
				"this port needs a client certificate, signed by one whom this replica trusts"))
			return
		case len(names) > 0 && !bears(r.TLS.VerifiedChains[0][0], names):
			WriteFailure(w, Failure(http.StatusForbidden,
				"the client certificate of %q bears none of the names that --tls-client-names lets in",
				r.TLS.VerifiedChains[0][0].Subject.CommonName))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bears is true for a certificate with one of some names.
func bears(cert *x509.Certificate, names []string) bool {
	return slices.Contains(names, cert.Subject.CommonName) ||
		slices.ContainsFunc(cert.DNSNames, func(n string) bool { return slices.Contains(names, n) })
}

// Name is what the certificate of this replica is called, as other replicas usually share it.
func (c *Certificates) Name() string { return firstName(c.current.Load().cert.Leaf) }
