package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pki are the certificate authority of the cluster, one serving certificate for all its servers, and the key that signs
// the tokens of service accounts; all of elliptic curves, since an RSA key takes a second to find.
type pki struct {
	ca                     []byte // PEM
	caFile                 string
	certFile, keyFile      string
	accountKey, accountPub string // files
}

func newPKI(dir string, more []net.IP) (*pki, error) {
	p := &pki{
		caFile: filepath.Join(dir, "ca.pem"), certFile: filepath.Join(dir, "server.pem"),
		keyFile:    filepath.Join(dir, "server.key"),
		accountKey: filepath.Join(dir, "accounts.key"), accountPub: filepath.Join(dir, "accounts.pub"),
	}
	keys := make([]*ecdsa.PrivateKey, 3)
	for i := range keys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		keys[i] = key
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "galaxy-test-ca"}, IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour),
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "galaxy-test"}, NotBefore: ca.NotBefore,
		NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: append([]net.IP{net.IPv4(127, 0, 0, 1)}, more...),
		DNSNames:    []string{"localhost", "kubernetes.default.svc"},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &keys[0].PublicKey, keys[0])
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, ca, &keys[1].PublicKey, keys[0])
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	accountPub, err := x509.MarshalPKIXPublicKey(&keys[2].PublicKey)
	if err != nil {
		return nil, fmt.Errorf("key of service accounts: %w", err)
	}
	p.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	return p, p.write(serverDER, accountPub, keys)
}

func (p *pki) write(serverDER, accountPub []byte, keys []*ecdsa.PrivateKey) error {
	blocks := map[string]*pem.Block{
		p.certFile:   {Type: "CERTIFICATE", Bytes: serverDER},
		p.accountPub: {Type: "PUBLIC KEY", Bytes: accountPub},
	}
	for file, key := range map[string]*ecdsa.PrivateKey{p.keyFile: keys[1], p.accountKey: keys[2]} {
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return fmt.Errorf("encode a key: %w", err)
		}
		blocks[file] = &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
	}
	for file, block := range blocks {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(p.caFile, p.ca, 0o600)
}

// TLSFiles are files with a certificate, its key, and the certificate of its issuer.
type TLSFiles struct{ Cert, Key, CA string }
