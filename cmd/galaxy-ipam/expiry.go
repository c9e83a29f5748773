package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"galaxy/cmd/internal/certs"
	"galaxy/pause"
)

// certificatesPoll is how often the files are read.
const certificatesPoll = time.Minute

// certificate is a file that this process shows to others.
type certificate struct{ use, file string }

// certificates are the files with a certificate that this process was given.
func (o *options) certificates() []certificate {
	var all []certificate
	for _, c := range []certificate{{"ports", o.tls.Cert}, {"members", o.embeddedTLS.Cert}, {"etcd", o.etcd.Cert}} {
		if c.file != "" {
			all = append(all, c)
		}
	}
	return all
}

// keepExpiry shows until when certificates are good, until ctx ends.
func (p *program) keepExpiry(ctx context.Context) error {
	for ctx.Err() == nil {
		for _, c := range p.options.certificates() {
			if cert, err := c.read(); err == nil {
				p.metrics.CertificateExpires(c.use, cert.NotAfter)
			}
		}
		_ = pause.For(ctx, certificatesPoll) // the loop sees that ctx has ended
	}
	return nil
}

func (c certificate) read() (*x509.Certificate, error) {
	text, err := os.ReadFile(c.file)
	if err != nil {
		return nil, err
	}
	cert, err := certs.ParseCert(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.file, err)
	}
	return cert, nil
}

// overdue says which certificates ought to have been renewed by now: whoever renews them by themselves does it earlier.
func overdue(all []certificate, now time.Time) (said []string) {
	for _, c := range all {
		cert, err := c.read()
		switch {
		case err != nil:
			said = append(said, fmt.Sprintf("the certificate for %s cannot be read any more: %v; what was read "+
				"before stays in use until this replica restarts", c.use, err))
		case now.After(cert.NotAfter):
			said = append(said, fmt.Sprintf("the certificate %s has expired on %s: nobody accepts it; galaxyctl "+
				"certs make renews it", c.file, cert.NotAfter.UTC().Format(time.DateOnly)))
		case now.After(cert.NotAfter.Add(-cert.NotAfter.Sub(cert.NotBefore) / 6)):
			said = append(said, fmt.Sprintf("the certificate %s expires on %s: galaxyctl certs make renews it", c.file,
				cert.NotAfter.UTC().Format(time.DateOnly)))
		}
	}
	return said
}
