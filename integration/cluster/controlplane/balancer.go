package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Balancer is a small Service: it hands TCP connections in turn to the replicas that are ready. As with a Service, a
// connection stays with its replica until one side closes it, and with no replica ready it is refused.
type Balancer struct {
	listener net.Listener
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	backends []*backend
	next     int
	open     map[net.Conn]bool // both ends of all connections
	closed   bool
}

type backend struct {
	name, address string
	probe         readiness
	ready         bool
	stop          context.CancelFunc
}

// How often a replica is asked whether it is ready, and how long it may take to accept a connection.
const (
	probeEvery = 50 * time.Millisecond
	dialWait   = time.Second
)

// NewBalancer listens on a free port of 127.0.0.1.
func NewBalancer() (*Balancer, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", local(port))
	if err != nil {
		return nil, fmt.Errorf("balancer: %w", err)
	}
	b := &Balancer{listener: l, open: map[net.Conn]bool{}}
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(context.Background())
	b.running.Go(func() { b.serve(ctx) })
	return b, nil
}

func (b *Cluster) addBalancer() error {
	var err error
	b.Balancer, err = NewBalancer()
	return err
}

// URL is where the balancer listens.
func (b *Balancer) URL() string { return "http://" + b.listener.Addr().String() }

// Add puts a replica behind the balancer, instead of one of the same name. It gets connections to its address while its
// probe gives nil.
func (b *Balancer) Add(name, address string, probe readiness) {
	b.Remove(name)
	ctx, cancel := context.WithCancel(context.Background())
	r := &backend{name: name, address: address, probe: probe, stop: cancel}
	b.mu.Lock()
	b.backends = append(b.backends, r)
	b.mu.Unlock()
	b.running.Go(func() { b.watch(ctx, r) })
}

// Remove takes a replica out; its connections stay.
func (b *Balancer) Remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.backends = slices.DeleteFunc(b.backends, func(r *backend) bool {
		if r.name == name {
			r.stop()
		}
		return r.name == name
	})
}

// Ready are the names of the replicas that get connections.
func (b *Balancer) Ready() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for _, r := range b.backends {
		if r.ready {
			names = append(names, r.name)
		}
	}
	return names
}

// Cut closes all connections, as a network does that fails for a moment.
func (b *Balancer) Cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.open {
		_ = c.Close() // the copying goroutine sees it and forgets both ends
	}
}

// Close ends the balancer and all its connections.
func (b *Balancer) Close() {
	b.mu.Lock()
	b.closed = true
	for _, r := range b.backends {
		r.stop()
	}
	b.mu.Unlock()
	b.cancel()
	_ = b.listener.Close() // Close may be called twice
	b.Cut()
	b.running.Wait()
}

// watch asks a replica whether it is ready, until it is taken out.
func (b *Balancer) watch(ctx context.Context, r *backend) {
	for ctx.Err() == nil {
		ready := r.probe(ctx) == nil
		b.mu.Lock()
		r.ready = ready
		b.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(probeEvery):
		}
	}
}

func (b *Balancer) serve(ctx context.Context) {
	for {
		client, err := b.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a connection that broke while it was made
		}
		b.running.Go(func() { b.proxy(ctx, client) })
	}
}

// proxy connects a client with the next replica that accepts, and copies until one side closes.
func (b *Balancer) proxy(ctx context.Context, client net.Conn) {
	defer client.Close() //nolint:errcheck // nothing is left to say to it
	server := b.dial(ctx)
	if server == nil {
		refuse(client)
		return
	}
	defer server.Close() //nolint:errcheck // nothing is left to say to it
	if !b.keep(client, server) {
		return
	}
	defer b.forget(client, server)
	ended := make(chan struct{}, 2)
	for from, to := range map[net.Conn]net.Conn{client: server, server: client} {
		go func() {
			_, _ = io.Copy(to, from) // either end may close at any time
			ended <- struct{}{}
		}()
	}
	<-ended
	_ = client.Close()
	_ = server.Close()
	<-ended
}

// refuse resets a connection, which a client takes as it takes "connection refused".
func refuse(client net.Conn) {
	if tcp, ok := client.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the client sees an orderly end, which is as good
	}
}

// dial tries each replica that is ready once, from the next in turn.
func (b *Balancer) dial(ctx context.Context) net.Conn {
	for _, address := range b.turn() {
		d := net.Dialer{Timeout: dialWait}
		if server, err := d.DialContext(ctx, "tcp", address); err == nil {
			return server
		}
	}
	return nil
}

// turn are the addresses of the replicas that are ready, beginning with the one whose turn it is.
func (b *Balancer) turn() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ready []string
	for _, r := range b.backends {
		if r.ready {
			ready = append(ready, r.address)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	b.next = (b.next + 1) % len(ready)
	return slices.Concat(ready[b.next:], ready[:b.next])
}

func (b *Balancer) keep(ends ...net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range ends {
		b.open[c] = true
	}
	return !b.closed
}

func (b *Balancer) forget(ends ...net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range ends {
		delete(b.open, c)
	}
}
