// Package etcdclient is how the commands reach etcd: their flags, and errors that say what to do.
package etcdclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"galaxy/cmd/internal/cli"
	"galaxy/eventlog/etcdlog"
)

// Flags say where the log is.
type Flags struct {
	Endpoints []string
	CA        string
	Cert      string
	Key       string
	User      string
	Password  string // a file
	Prefix    string
	Timeout   time.Duration
	// Reconnect bounds the pause between two attempts to reach an etcd that was away, 3 seconds if 0. Who holds a lease
	// wants less than the lease lasts. It is no flag.
	Reconnect time.Duration

	extra []grpc.DialOption // of tests
}

// Add defines the flags.
func (f *Flags) Add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.Endpoints, "etcd-endpoints", []string{"http://127.0.0.1:2379"},
		"URLs of etcd, separated by commas")
	flags.StringVar(&f.CA, "etcd-ca", "", "file with the certificates that etcd's are checked against")
	flags.StringVar(&f.Cert, "etcd-cert", "", "file with the client's certificate")
	flags.StringVar(&f.Key, "etcd-key", "", "file with the key of the client's certificate")
	flags.StringVar(&f.User, "etcd-user", "",
		"user, where etcd wants a password; a client certificate has its user in it")
	flags.StringVar(&f.Password, "etcd-password-file", "", "file with the user's password")
	flags.StringVar(&f.Prefix, "etcd-prefix", etcdlog.DefaultPrefix, "root of the log's keys in etcd")
	flags.DurationVar(&f.Timeout, "etcd-timeout", 5*time.Second, "how long to wait for etcd's first response")
}

// reconnect tries again soon after a connection is lost: every decision waits for it.
func (f *Flags) reconnect() grpc.DialOption {
	longest := f.Reconnect
	if longest == 0 {
		longest = 3 * time.Second
	}
	return grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
			MaxDelay: longest},
		MinConnectTimeout: 3 * time.Second,
	})
}

// Options are those of the log.
func (f *Flags) Options() etcdlog.Options {
	return etcdlog.Options{Prefix: f.Prefix, AttemptTimeout: max(f.Timeout, time.Second)}
}

// Connect makes a client of etcd, which is to be closed. An etcd that nobody listens at is noticed here, as its client
// would try again for ever.
func (f *Flags) Connect(ctx context.Context) (*clientv3.Client, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	if _, err := f.tls(); err != nil {
		return nil, err
	}
	if err := f.probe(ctx); err != nil {
		return nil, err
	}
	return f.Client()
}

// Check refuses flags that make no sense, and looks at no file.
func (f *Flags) Check() error {
	switch {
	case f.Timeout <= 0:
		return cli.Usage("--etcd-timeout %s: want a time above 0", f.Timeout)
	case len(f.Endpoints) == 0:
		return cli.Usage("--etcd-endpoints is empty")
	case (f.Cert == "") != (f.Key == ""):
		return cli.Usage("--etcd-cert and --etcd-key go together")
	case (f.User == "") != (f.Password == ""):
		return cli.Usage("--etcd-user and --etcd-password-file belong together")
	}
	for _, endpoint := range f.Endpoints {
		if _, _, err := addressOf(endpoint); err != nil {
			return err
		}
	}
	if !f.secure() && (f.CA != "" || f.Cert != "") {
		return cli.Usage("--etcd-ca, --etcd-cert and --etcd-key are for https, but --etcd-endpoints is %s", f.where())
	}
	return nil
}

// secure reports whether an endpoint wants TLS.
func (f *Flags) secure() bool {
	return slices.ContainsFunc(f.Endpoints, func(endpoint string) bool {
		return strings.HasPrefix(endpoint,
			"https://")
	})
}

// Client makes a client of an etcd that may not be there yet. It is to be closed.
func (f *Flags) Client() (*clientv3.Client, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	secure, err := f.tls()
	if err != nil {
		return nil, err
	}
	password, err := f.password()
	if err != nil {
		return nil, err
	}
	dial := append([]grpc.DialOption{f.reconnect()}, f.extra...)
	if f.User != "" {
		dial = append(dial, newLogin(f.User, password).options()...)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: f.Endpoints, TLS: secure, DialTimeout: f.Timeout, Logger: zap.NewNop(),
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: f.Timeout, DialOptions: dial,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %s: %w", f.where(), err)
	}
	return client, nil
}

func (f *Flags) password() (string, error) {
	if f.Password == "" {
		return "", nil
	}
	text, err := os.ReadFile(f.Password)
	if err != nil {
		return "", cli.Usage("--etcd-password-file: %v", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Open opens the log for reading. Close the client when done with it.
func (f *Flags) Open(ctx context.Context) (*etcdlog.Log, *clientv3.Client, error) {
	client, err := f.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	options := f.Options()
	options.ReadOnly = true
	first, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	log, err := etcdlog.Open(first, client, options)
	if err != nil {
		return nil, nil, errors.Join(f.Explain(err), client.Close())
	}
	return log, client, nil
}

// Explain says what can be done about an error of etcd.
func (f *Flags) Explain(err error) error {
	switch {
	case errors.Is(err, etcdlog.ErrNoLog):
		return fmt.Errorf("etcd at %s: %w; name its place with --etcd-prefix, or let galaxy-ipam begin one", f.where(),
			err)
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return fmt.Errorf("etcd at %s: %w; see --etcd-user and --etcd-password-file", f.where(), err)
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("etcd at %s: %w; the user needs its role in the form that this release prints: run galaxyctl "+
			"etcd-auth apply", f.where(), err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("etcd at %s takes connections but does not answer within %s; see whether it is healthy and "+
			"has a leader, "+
			"and whether it wants --etcd-ca, --etcd-cert and --etcd-key", f.where(), f.Timeout)
	default:
		return fmt.Errorf("etcd at %s: %w", f.where(), err)
	}
}

func (f *Flags) where() string { return strings.Join(f.Endpoints, ", ") }

// probe makes sure that somebody listens at one of the endpoints.
func (f *Flags) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	failed := make(chan error, len(f.Endpoints))
	for _, endpoint := range f.Endpoints {
		network, address, err := addressOf(endpoint)
		if err != nil {
			return err
		}
		go func() { failed <- reach(ctx, network, address) }()
	}
	var all []string
	for range f.Endpoints {
		err := <-failed
		if err == nil {
			return nil
		}
		all = append(all, err.Error())
	}
	return fmt.Errorf("no etcd at %s: %s; start it, or name the right place with --etcd-endpoints", f.where(),
		strings.Join(all, "; "))
}

func reach(ctx context.Context, network, address string) error {
	connection, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return connection.Close()
}

// addressOf is where to connect for an endpoint: an http, https or unix URL, or host:port.
func addressOf(endpoint string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(endpoint, "unix://"); ok {
		return "unix", path, nil
	}
	address = endpoint
	if strings.Contains(endpoint, "://") {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" {
			return "", "", cli.Usage("--etcd-endpoints %q: want http://<host>:<port> or https://<host>:<port>",
				endpoint)
		}
		address = u.Host
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return "", "", cli.Usage("--etcd-endpoints %q: the port is missing; etcd's is usually 2379", endpoint)
	}
	return "tcp", address, nil
}

// tls is nil when no endpoint wants it.
func (f *Flags) tls() (*tls.Config, error) {
	if !f.secure() {
		return nil, nil
	}
	return cli.ClientTLS(cli.File{Flag: "etcd-ca", Path: f.CA}, cli.File{Flag: "etcd-cert", Path: f.Cert},
		cli.File{Flag: "etcd-key", Path: f.Key})
}
