// Package embedded runs a member of etcd inside the process, alone or as one of several, for clusters that need no etcd
// of their own and for tests. Only commands and tests import it: a program that is a client of etcd must not carry the
// server.
package embedded

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Defaults of Config.
const (
	DefaultClientURL    = "http://127.0.0.1:2379"
	DefaultPeerURL      = "http://127.0.0.1:0"
	DefaultName         = "galaxy"
	DefaultMaxTxnOps    = 1024
	DefaultQuotaBytes   = 8 << 30
	DefaultCompaction   = time.Hour
	DefaultStartTimeout = 30 * time.Second
	DefaultJoinTimeout  = 10 * time.Minute // for one of several members, which has to wait for most of them
)

// Config says where the server keeps its data and where it listens. Only Dir is needed.
type Config struct {
	Dir       string // for all of its data; made if it is not there
	Name      string // of the member; default DefaultName
	ClientURL string // port 0 takes a free one; default DefaultClientURL
	PeerURL   string // where it listens for other members; default a free port of the loopback interface

	// Members are all members by name, this one included, each with the URL at which the others reach it; nil for one
	// that is alone. They only matter until the cluster has formed for the first time.
	Members map[string]string
	PeerTLS TLSFiles // between members, if their URLs say https

	Logger *zap.Logger // default: warnings and worse to standard error

	MaxTxnOps       uint          // default DefaultMaxTxnOps
	MaxRequestBytes uint          // default etcd's own, 1.5 MiB
	QuotaBytes      int64         // of the database; default two fifths of the disk, DefaultQuotaBytes at most
	Reserve         uint64        // bytes that are kept free on the disk, see WatchRoom; default DefaultReserve
	Compaction      time.Duration // how long old revisions are kept; default DefaultCompaction, negative: for ever
	StartTimeout    time.Duration // default DefaultStartTimeout

	// UnsafeNoFsync trades durability for speed. For tests only.
	UnsafeNoFsync bool
}

// TLSFiles are a certificate, its key, and the authority that the certificates of others are checked against: one of
// their own, as whoever has a certificate of it is a member.
type TLSFiles struct{ Cert, Key, CA string }

// Server is a running etcd.
type Server struct {
	etcd      *embed.Etcd
	clientURL string
	peerURL   string
	lock      *os.File // on the directory, until it is closed
	dir       string
	quota     int64
	reserve   uint64
	once      sync.Once
}

// Start runs etcd and returns when it serves. It fails when the directory cannot be used, when an address is taken, and
// when the server is not ready within StartTimeout.
func Start(config Config) (*Server, error) {
	config = config.complete()
	lock, err := lockDir(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: directory %q: %w", config.Dir, err)
	}
	if config.QuotaBytes == 0 {
		config.QuotaBytes = quotaOf(config.Dir)
	}
	s, err := start(config)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock, s.dir, s.quota, s.reserve = lock, config.Dir, config.QuotaBytes, config.Reserve
	return s, nil
}

// start runs etcd in a directory that is locked.
func start(config Config) (*Server, error) {
	clientURL, err := listenURL(config.ClientURL)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: client URL: %w", err)
	}
	peerURL, err := listenURL(config.PeerURL)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: peer URL: %w", err)
	}
	settings := config.etcd(*clientURL, *peerURL)
	if err := config.join(settings); err != nil {
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	refuse := &refuser{}
	settings.GRPCAdditionalServerOptions = append(settings.GRPCAdditionalServerOptions, refuse.option())
	etcd, err := embed.StartEtcd(settings)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd in %q: %w", config.Dir, err)
	}
	refuse.server.Store(etcd.Server)
	timeout := time.NewTimer(config.StartTimeout)
	defer timeout.Stop()
	select {
	case <-etcd.Server.ReadyNotify():
		return &Server{etcd: etcd, clientURL: clientURL.String(), peerURL: peerURL.String()}, nil
	case err = <-etcd.Err():
	case <-etcd.Server.StopNotify():
		err = errors.New("it stopped while starting")
	case <-timeout.C:
		err = fmt.Errorf("not ready after %s%s", config.StartTimeout, config.missing())
	}
	etcd.Server.Stop() // Close would wait for a server that never became ready
	etcd.Close()
	return nil, fmt.Errorf("embedded etcd in %q: %w", config.Dir, err)
}

// missing says what a server that is one of several waits for.
func (c Config) missing() string {
	if len(c.Members) < 2 {
		return ""
	}
	return fmt.Sprintf(": most of its members have to meet: %v; see whether they run, and whether their certificates "+
		"are signed by one authority", c.Members)
}

// Endpoints is what a client connects to.
func (s *Server) Endpoints() []string { return []string{s.clientURL} }

// PeerURL is where the server waits for other members; to start again at the same place.
func (s *Server) PeerURL() string { return s.peerURL }

// Failed brings the error of a server that stopped serving by itself.
func (s *Server) Failed() <-chan error { return s.etcd.Err() }

// Close stops the server and returns when its files and ports are free. It may be called again.
func (s *Server) Close() {
	s.once.Do(func() {
		s.etcd.Close()
		s.lock.Close() //nolint:errcheck // nothing was written to it
	})
}

func (c Config) complete() Config {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.ClientURL == "" {
		c.ClientURL = DefaultClientURL
	}
	if c.PeerURL == "" {
		c.PeerURL = DefaultPeerURL
	}
	if c.MaxTxnOps == 0 {
		c.MaxTxnOps = DefaultMaxTxnOps
	}
	if c.Reserve == 0 {
		c.Reserve = DefaultReserve
	}
	if c.Compaction == 0 {
		c.Compaction = DefaultCompaction
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = DefaultStartTimeout
		if len(c.Members) > 1 {
			c.StartTimeout = DefaultJoinTimeout
		}
	}
	return c
}

// etcd is the configuration in etcd's own terms.
func (c Config) etcd(clientURL, peerURL url.URL) *embed.Config {
	e := embed.NewConfig()
	e.Name, e.Dir = c.Name, c.Dir
	e.ListenClientUrls, e.AdvertiseClientUrls = []url.URL{clientURL}, []url.URL{clientURL}
	e.ListenPeerUrls, e.AdvertisePeerUrls = []url.URL{peerURL}, []url.URL{peerURL}
	e.InitialCluster = c.Name + "=" + peerURL.String()
	e.MaxTxnOps, e.QuotaBackendBytes = c.MaxTxnOps, c.QuotaBytes
	if c.MaxRequestBytes > 0 {
		e.MaxRequestBytes = c.MaxRequestBytes
	}
	if c.Compaction > 0 {
		e.AutoCompactionMode, e.AutoCompactionRetention = embed.CompactorModePeriodic, c.Compaction.String()
	}
	// A lone member has nobody to hear from: it may call itself the leader at once.
	e.TickMs, e.ElectionMs = 50, 250
	e.UnsafeNoFsync = c.UnsafeNoFsync
	e.EnableGRPCGateway = false
	e.LogLevel = "warn"
	if c.Logger != nil {
		e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(c.Logger)
	}
	return e
}

// join makes a member of several out of the settings for one that is alone.
func (c Config) join(e *embed.Config) error {
	if len(c.Members) == 0 {
		return nil
	}
	own, ok := c.Members[c.Name]
	if !ok {
		return fmt.Errorf("member %q is not among the members %v", c.Name, slices.Sorted(maps.Keys(c.Members)))
	}
	advertised, err := url.Parse(own)
	if err != nil {
		return fmt.Errorf("member %q: %w", c.Name, err)
	}
	e.AdvertisePeerUrls = []url.URL{*advertised}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(c.Members)) {
		all = append(all, name+"="+c.Members[name])
	}
	e.InitialCluster = strings.Join(all, ",")
	e.TickMs, e.ElectionMs = 100, 1000 // there is a network between them
	e.StrictReconfigCheck = true
	if c.PeerTLS != (TLSFiles{}) {
		e.PeerTLSInfo.CertFile, e.PeerTLSInfo.KeyFile, e.PeerTLSInfo.TrustedCAFile = c.PeerTLS.Cert, c.PeerTLS.Key,
			c.PeerTLS.CA
		e.PeerTLSInfo.ClientCertAuth = true
		// Whoever the authority has signed is a member. That an address belongs to a name of the certificate is no
		// proof beside it, and fails for pods whose reverse names come late.
		e.PeerTLSInfo.SkipClientSANVerify = true
	}
	return nil
}

// listenURL reads a URL to listen on, and makes sure that its port is free: etcd itself would report a taken one only
// after it has begun to work. Port 0 becomes a free port.
func listenURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Port() == "" {
		return nil, fmt.Errorf("%q: want http://<address>:<port>", text)
	}
	l, err := net.Listen("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		return nil, err
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	return u, nil
}
