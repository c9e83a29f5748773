// Package certs makes the certificates with which the parts of galaxy know each other: two authorities in a folder, and
// what they sign.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// How long certificates are good for.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	DefaultLife   = 365 * 24 * time.Hour
)

// skew is how far the clocks of others may be behind ours.
const skew = 5 * time.Minute

// Spec is a certificate that is wanted.
type Spec struct {
	Name  string   // the common name
	Hosts []string // DNS names and addresses that it serves under; none for one that is a client only
	Life  time.Duration
}

// Pair is a certificate and its key.
type Pair struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority.
func NewAuthority(name string, now time.Time) (Pair, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-skew), NotAfter: now.Add(AuthorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(template, nil)
}

// Issue signs a new certificate.
func (p Pair) Issue(s Spec, now time.Time) (Pair, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: s.Name}, NotBefore: now.Add(-skew), NotAfter: now.Add(s.Life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(s.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range s.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return sign(template, &p)
}

func sign(template *x509.Certificate, by *Pair) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return Pair{}, fmt.Errorf("draw a serial number: %w", err)
	}
	if by == nil {
		by = &Pair{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Cert, &key.PublicKey, by.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign the certificate of %q: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	return Pair{cert, key}, err
}

// Unfit says why a certificate cannot go on serving as what is wanted; "" if it can. A third of its life before its end
// it cannot.
func (p Pair) Unfit(of Pair, s Spec, now time.Time) string {
	var hosts []string
	hosts = append(hosts, of.Cert.DNSNames...)
	for _, ip := range of.Cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	missing := slices.DeleteFunc(slices.Clone(s.Hosts), func(h string) bool { return slices.Contains(hosts, h) })
	switch {
	case of.Cert.CheckSignatureFrom(p.Cert) != nil:
		return "another authority has signed it"
	case of.Cert.Subject.CommonName != s.Name:
		return fmt.Sprintf("it is that of %q", of.Cert.Subject.CommonName)
	case len(missing) > 0:
		return fmt.Sprintf("it does not name %q", missing)
	case now.After(renewAt(of.Cert)):
		return "it expires on " + of.Cert.NotAfter.UTC().Format(time.DateOnly)
	}
	return ""
}

// renewAt is when a certificate ought to be replaced: a third of its life before its end.
func renewAt(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}

const (
	blockCert = "CERTIFICATE"
	blockKey  = "PRIVATE KEY"
)

// CertPEM is the certificate in PEM form.
func (p Pair) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCert, Bytes: p.Cert.Raw})
}

// KeyPEM is the key in PEM form, as PKCS #8.
func (p Pair) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
}

// ParseCert reads the first certificate of a PEM text and passes over blocks of other types, as tls.X509KeyPair does.
func ParseCert(text []byte) (*x509.Certificate, error) {
	der := firstBlock(text, blockCert)
	if der == nil {
		return nil, errors.New("there is no certificate in PEM form")
	}
	return x509.ParseCertificate(der)
}

// firstBlock is the content of the first PEM block of a type (RFC 7468); nil if there is none.
func firstBlock(text []byte, blockType string) []byte {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == blockType {
			return block.Bytes
		}
	}
	return nil
}

// Parse reads a pair of PEM texts.
func Parse(cert, key []byte) (Pair, error) {
	c, err := ParseCert(cert)
	if err != nil {
		return Pair{}, err
	}
	der := firstBlock(key, blockKey)
	if der == nil {
		return Pair{}, errors.New("there is no private key in PEM form (PKCS #8)")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return Pair{}, err
	}
	k, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !k.PublicKey.Equal(c.PublicKey) {
		return Pair{}, errors.New("the key does not belong to the certificate")
	}
	return Pair{c, k}, nil
}
