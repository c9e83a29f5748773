package extendertest

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
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/extender/httpserver"
)

// Signer is a certificate authority.
type Signer struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
	Text []byte
}

var serials atomic.Int64

// Sign makes a certificate of a name; by nil, one that signs others.
func Sign(t testing.TB, by *Signer, name string) *Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serials.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth,
			x509.ExtKeyUsageClientAuth},
	}
	parent, signing := template, key
	if by == nil {
		template.IsCA, template.BasicConstraintsValid, template.DNSNames, template.KeyUsage = true, true, nil,
			x509.KeyUsageCertSign
	} else {
		parent, signing = by.Cert, by.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signing)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Signer{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// KeyText is the private key as PEM.
func (s *Signer) KeyText(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// Pool trusts it.
func (s *Signer) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Cert)
	return pool
}

// Pair is the certificate with its key.
func (s *Signer) Pair() []tls.Certificate {
	return []tls.Certificate{{Certificate: [][]byte{s.Cert.Raw}, PrivateKey: s.Key}}
}

// Secret is a mounted secret.
type Secret struct {
	t   testing.TB
	dir string
}

// Files are those of the secret.
func (s Secret) Files() httpserver.TLSFiles {
	at := func(name string) string { return filepath.Join(s.dir, name) }
	return httpserver.TLSFiles{Cert: at("tls.crt"), Key: at("tls.key"), ClientCA: at("ca.crt")}
}

// Put replaces the content as kubelet does: a new directory, and a link that is renamed.
func (s Secret) Put(cert *Signer, ca *Signer) {
	s.t.Helper()
	fresh, err := os.MkdirTemp(s.dir, "..")
	if err != nil {
		s.t.Fatal(err)
	}
	for name, text := range map[string][]byte{"tls.crt": cert.Text, "tls.key": cert.KeyText(s.t), "ca.crt": ca.Text} {
		if err := os.WriteFile(filepath.Join(fresh, name), text, 0o600); err != nil {
			s.t.Fatal(err)
		}
		_ = os.Symlink(filepath.Join("..data", name), filepath.Join(s.dir, name))
	}
	link := filepath.Join(s.dir, "..data_tmp")
	if err := errors.Join(os.Symlink(filepath.Base(fresh), link),
		os.Rename(link, filepath.Join(s.dir, "..data"))); err != nil {
		s.t.Fatal(err)
	}
}

// Service is what the certificates of a Secret are for.
const Service = "galaxy-ipam.kube-system.svc"

// NewSecret has a certificate of the service, signed by ca.
func NewSecret(t testing.TB, ca *Signer) Secret {
	s := Secret{t, t.TempDir()}
	s.Put(Sign(t, ca, Service), ca)
	return s
}

// Load reads the files.
func Load(t testing.TB, files httpserver.TLSFiles, log *zap.Logger) *httpserver.Certificates {
	t.Helper()
	certificates, err := files.Load(log)
	if err != nil {
		t.Fatal(err)
	}
	return certificates
}

// ServeTLS serves a handler until the test ends.
func ServeTLS(t testing.TB, config *tls.Config, handler http.Handler, clients httpserver.Clients) string {
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
