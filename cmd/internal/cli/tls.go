package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// File is a file that a flag names; "" is none.
type File struct{ Flag, Path string }

// ClientTLS is the configuration of a client: it proves servers by an authority, the system's without ca, and shows a
// certificate if it has one. Errors name the flag, which those of etcd's transport.TLSInfo do not.
func ClientTLS(ca, cert, key File) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca.Path != "" {
		text, err := os.ReadFile(ca.Path)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", ca.Flag, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--%s %s has no certificate in PEM form", ca.Flag, ca.Path)
		}
	}
	if cert.Path != "" {
		pair, err := tls.LoadX509KeyPair(cert.Path, key.Path)
		if err != nil {
			return nil, fmt.Errorf("--%s %s, --%s %s: %w", cert.Flag, cert.Path, key.Flag, key.Path, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
