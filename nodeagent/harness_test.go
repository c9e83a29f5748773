package nodeagent

import (
	"context"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/ipam"
	"galaxy/kernel"
	"galaxy/nodeagent/journal"
)

var (
	hostA = netip.MustParseAddr("192.168.0.1")
	podsA = netip.MustParsePrefix("10.244.0.0/24")
	podsB = netip.MustParsePrefix("10.244.1.0/24")
)

// leading is a replica that leads a stream.
func leading(t *testing.T, log eventlog.Log, stream string) *allocator.Replica {
	t.Helper()
	r, err := allocator.NewReplica(t.Context(), allocator.Config{
		Log: log, Stream: stream, Actor: "test", Now: time.Now,
		Rules: allocator.Rules{ReuseDelay: allocator.DefaultReuseDelay},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() { ended <- r.Lead(ctx, eventlog.Fence{}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for !r.Leading() {
		time.Sleep(time.Millisecond)
	}
	return r
}

func do(t *testing.T, r *allocator.Replica, commands ...allocator.Command) {
	t.Helper()
	for _, c := range commands {
		if _, err := r.Do(t.Context(), "test", c); err != nil {
			t.Fatal(err)
		}
	}
}

// twoNodes is the stream nodes with a, which has podsA, and b, which has podsB.
func twoNodes(t *testing.T) *allocator.Replica {
	t.Helper()
	r := leading(t, memlog.New(), eventlog.StreamNodes)
	do(t, r,
		allocator.ConfigureOverlay{Source: "test",
			Networks: []ipam.OverlayNetwork{{CIDR: netip.MustParsePrefix("10.244.0.0/22"), NodePrefix: 24}}},
		allocator.JoinNode{Node: "a", Addresses: []netip.Addr{hostA}, Machine: "m-a"},
		allocator.JoinNode{Node: "b", Addresses: []netip.Addr{netip.MustParseAddr("192.168.0.2")}, Machine: "m-b"},
	)
	return r
}

// paper is a kernel on paper: it has what was written to it.
type paper struct {
	mu       sync.Mutex
	state    kernel.State
	networks []kernel.LocalNetwork
	refuses  error // what it says to a write
	applied  int
	changed  chan struct{}
}

func newPaper() *paper {
	return &paper{
		state: kernel.State{Routes: map[netip.Prefix]kernel.Route{}, Tunnels: map[string]kernel.Tunnel{}},
		networks: []kernel.LocalNetwork{{Link: "eth0", MTU: 1500, Address: hostA,
			Prefix: netip.MustParsePrefix("192.168.0.0/24")}},
		changed: make(chan struct{}, 1),
	}
}

func (p *paper) Read(context.Context) (kernel.State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	copied := kernel.State{}
	copied.Spare(p.state)
	return copied, nil
}

func (p *paper) Apply(_ context.Context, changes kernel.Changes) (report kernel.Report, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied++
	if p.refuses != nil {
		return report, p.refuses
	}
	for _, c := range changes {
		switch c.Op {
		case kernel.AddRoute, kernel.ReplaceRoute:
			p.state.Routes[c.Route.Dst] = c.Route
		case kernel.DeleteRoute:
			delete(p.state.Routes, c.Route.Dst)
		case kernel.AddTunnel, kernel.SetTunnel:
			p.state.Tunnels[c.Tunnel.Name] = c.Tunnel
		case kernel.DeleteTunnel:
			delete(p.state.Tunnels, c.Tunnel.Name)
		}
		report.Writes++
	}
	return report, nil
}

func (p *paper) Watch(context.Context) (<-chan struct{}, error) { return p.changed, nil }

func (p *paper) LocalNetworks(context.Context) ([]kernel.LocalNetwork, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.networks, nil
}

func (p *paper) has(dst netip.Prefix) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, there := p.state.Routes[dst]
	return there
}

func newRoutes(nodes Nodes, k Kernel) *Routes {
	return &Routes{
		Node: "a", Addresses: func() []netip.Addr { return []netip.Addr{hostA} }, Nodes: nodes, Kernel: k,
		Config: kernel.Config{Backend: kernel.HostGW}, Log: zap.NewNop(),
	}
}

// newAgent is an agent of node a that was never run.
func newAgent(t *testing.T, routes *Routes) *Agent {
	t.Helper()
	local, err := journal.Open(filepath.Join(t.TempDir(), "node.db"), "a", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	if err := local.Begin(t.Context(), memlog.New()); err != nil {
		t.Fatal(err)
	}
	return New(Config{Node: "a", Machine: "m-a", Local: local, Routes: routes, Now: time.Now, Log: zap.NewNop()})
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
