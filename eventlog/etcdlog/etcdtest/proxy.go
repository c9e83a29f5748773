package etcdtest

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy is the network between a client and an etcd. It forwards bytes, until it is set to fail.
type Proxy struct {
	target   string
	listener net.Listener

	mu      sync.Mutex
	heal    chan struct{} // not nil while the network is blocked
	links   map[*link]bool
	fault   Fault
	minimum int
	cuts    int
}

// Fault is what happens to a connection when the next request passes.
type Fault int

// The faults.
const (
	None      Fault = iota
	CutBefore       // the request does not reach etcd
	CutAfter        // the request reaches etcd, its response does not come back
)

// beforeCut is how long etcd has to carry a request out whose connection is to be cut.
const beforeCut = 30 * time.Millisecond

// NewProxy puts a proxy before an endpoint of etcd.
func NewProxy(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: strings.TrimPrefix(endpoint, "http://"), listener: listener, links: map[*link]bool{}}
	go p.accept()
	t.Cleanup(func() {
		listener.Close() //nolint:errcheck // the test is over
		p.Heal()
		p.CutAll()
	})
	return p
}

// Endpoint is where clients connect.
func (p *Proxy) Endpoint() string { return "http://" + p.listener.Addr().String() }

// Block lets no byte pass in either direction, and breaks nothing: as a network that loses all packets.
func (p *Proxy) Block() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heal == nil {
		p.heal = make(chan struct{})
	}
}

// Heal ends Block.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heal != nil {
		close(p.heal)
		p.heal = nil
	}
}

// CutAll breaks all connections.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}

// Arm lets a fault happen, once, to the next run of bytes from a client that has at least the minimum length. Requests
// of HTTP/2 come in frames; a minimum of the size of the event keeps the fault away from pings and acknowledgements.
func (p *Proxy) Arm(fault Fault, minimum int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.minimum = fault, minimum
}

// Cuts is how many armed faults have happened.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close() //nolint:errcheck // etcd is down: so is the network
			continue
		}
		l := &link{client: client, server: server}
		p.mu.Lock()
		p.links[l] = true
		p.mu.Unlock()
		go p.forward(l, l.client, l.server, true)
		go p.forward(l, l.server, l.client, false)
	}
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	mu             sync.Mutex
	doomed         bool // a fault has struck: nothing more comes back to the client
}

func (l *link) close() {
	l.client.Close() //nolint:errcheck // breaking it is what is wanted
	l.server.Close() //nolint:errcheck // as above
}

func (l *link) isDoomed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doomed
}

func (p *Proxy) forward(l *link, from, to net.Conn, request bool) {
	defer func() {
		l.close()
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	}()
	buffer := make([]byte, 256<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.pass()
		if request && p.strike(l, n) == CutBefore {
			return
		}
		if !request && l.isDoomed() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// pass waits while the network is blocked.
func (p *Proxy) pass() {
	p.mu.Lock()
	heal := p.heal
	p.mu.Unlock()
	if heal != nil {
		<-heal
	}
}

// strike reports which fault, if any, happens to a request of n bytes.
func (p *Proxy) strike(l *link, n int) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == None || n < p.minimum {
		return None
	}
	fault := p.fault
	p.fault, p.cuts = None, p.cuts+1
	if fault == CutAfter {
		l.mu.Lock()
		l.doomed = true
		l.mu.Unlock()
		time.AfterFunc(beforeCut, l.close)
	}
	return fault
}
