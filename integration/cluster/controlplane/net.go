package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Ports are taken below those that the kernel gives to outgoing connections: a program that was killed finds its port
// free again, and a client that waits for it does not connect to itself.
const (
	firstPort = 15000
	lastPort  = 30000
)

var ports struct {
	sync.Mutex
	taken map[int]bool
}

// freePort is a port of 127.0.0.1 that nobody listens on, and that is given only once in this process.
func freePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.taken == nil {
		ports.taken = map[int]bool{}
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if ports.taken[port] {
			continue
		}
		l, err := net.Listen("tcp", local(port))
		if err != nil {
			continue
		}
		_ = l.Close() // it only found out whether the port is free
		ports.taken[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}

// FreeAddress is host and port of a port that nobody listens on.
func (b *Cluster) FreeAddress() string {
	b.t.Helper()
	port, err := freePort()
	if err != nil {
		b.t.Fatal(err)
	}
	return local(port)
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// prober asks programs whether they are ready.
type prober struct{ client *http.Client }

// newProber trusts a certificate authority, if one is given. A connection is made for each question, since the program
// that is asked may be another one by then.
func newProber(ca []byte) *prober {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &prober{client: &http.Client{
		Timeout: 2 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}}
}

// ok is a readiness check: a URL that answers 200.
func (p *prober) ok(url, token string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := p.client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close() //nolint:errcheck // it was read
		body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s says %s: %s", url, response.Status, body)
		}
		return nil
	}
}
