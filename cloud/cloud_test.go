package cloud_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"galaxy/allocator"
	"galaxy/cloud"
	"galaxy/cloud/rpc"
	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/ipam"
)

// provider is a cloud provider: it knows which node has which address, and insists that an address is on one node at a
// time.
type provider struct {
	rpc.UnimplementedIPProviderServiceServer
	mu      sync.Mutex
	at      map[string]string // address to node
	calls   []string
	refuse  string // the call that is refused
	silence string // the call that is carried out and not answered
}

func (p *provider) AssignIP(_ context.Context, r *rpc.AssignIPRequest) (*rpc.AssignIPReply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf("assign %s to %s", r.IPAddress, r.NodeName))
	if p.refuse == "assign" {
		return &rpc.AssignIPReply{Msg: "no room"}, nil
	}
	if was := p.at[r.IPAddress]; was != "" && was != r.NodeName {
		return &rpc.AssignIPReply{Msg: "it is on " + was}, nil
	}
	p.at[r.IPAddress] = r.NodeName
	if p.silence == "assign" {
		return nil, status.Error(codes.Unavailable, "the connection is lost")
	}
	return &rpc.AssignIPReply{Success: true}, nil
}

func (p *provider) UnAssignIP(_ context.Context, r *rpc.UnAssignIPRequest) (*rpc.UnAssignIPReply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf("unassign %s from %s", r.IPAddress, r.NodeName))
	if p.refuse == "unassign" {
		return &rpc.UnAssignIPReply{Msg: "busy"}, nil
	}
	if was := p.at[r.IPAddress]; was == r.NodeName {
		delete(p.at, r.IPAddress)
	}
	return &rpc.UnAssignIPReply{Success: true}, nil
}

func (p *provider) node(addr netip.Addr) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[addr.String()]
}

func (p *provider) set(refuse, silence string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.silence = refuse, silence
}

// harness is a provider behind real gRPC, and a replica on a log in memory with one pod's address bound to node a.
type harness struct {
	t        *testing.T
	provider *provider
	replica  *allocator.Replica
	keeper   *cloud.Keeper
	calls    []string
}

var (
	network = netip.MustParsePrefix("10.1.0.0/16")
	pod     = allocator.Pod{
		Owner: ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "ns", App: "web", Pod: "web-0"}, UID: "u1",
		Policy:   ipam.Immutable,
		Workload: allocator.Workload{Exists: true, Scales: true, Replicas: 1},
	}
)

func newHarness(t *testing.T) *harness {
	t.Helper()
	b := &harness{t: t, provider: &provider{at: map[string]string{}}}
	line, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	rpc.RegisterIPProviderServiceServer(server, b.provider)
	go func() { _ = server.Serve(line) }()
	t.Cleanup(server.Stop)
	dialled, err := cloud.Dial(line.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialled.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	b.replica, err = allocator.NewReplica(ctx, allocator.Config{Log: memlog.New(), Actor: "test", Now: time.Now}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = b.replica.Lead(ctx, eventlog.Fence{})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	for !b.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	b.keeper = &cloud.Keeper{Provider: dialled, Replica: b.replica,
		Observe: func(call string, _ time.Duration) { b.calls = append(b.calls, call) }}
	subnets, err := ipam.ParseConfig([]byte(`[{"nodeSubnets":["10.1.0.0/16"],"ips":["10.0.0.2~10.0.0.9"],"subnet":"10.0.0.0/24","gateway":"10.0.0.1"}]`))
	if err != nil {
		t.Fatal(err)
	}
	b.do(allocator.Configure{Source: "test", Subnets: subnets})
	return b
}

func (b *harness) do(command allocator.Command) allocator.Result {
	b.t.Helper()
	result, err := b.replica.Do(context.Background(), "test", command)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// notifying is the replica as requests have it.
func (b *harness) notifying() cloud.Notifying {
	return cloud.Notifying{Decider: b.replica, Keeper: b.keeper}
}

// bind binds the pod to a node: the log first, then the provider.
func (b *harness) bind(pod allocator.Pod, node string) (netip.Addr, error) {
	b.t.Helper()
	result, err := b.notifying().Do(context.Background(), "test",
		allocator.Bind{Pod: pod, Node: node, NodeNetwork: network})
	return result.Grants[0].Address, err
}

func (b *harness) assigned(addr netip.Addr) string {
	if a := b.replica.View().Address(addr); a != nil {
		return a.Assigned
	}
	return ""
}

func TestAssignAndUnassign(t *testing.T) {
	b := newHarness(t)
	for range 2 { // a repeated bind
		if _, err := b.bind(pod, "a"); err != nil {
			t.Fatal(err)
		}
	}
	addr, _ := b.bind(pod, "a")
	if b.provider.node(addr) != "a" || b.assigned(addr) != "a" {
		t.Errorf("the provider has it on %q, the log on %q", b.provider.node(addr), b.assigned(addr))
	}
	a := b.replica.View().Address(addr)
	if err := b.keeper.Unassign(context.Background(), a); err != nil {
		t.Fatal(err)
	}
	if b.provider.node(addr) != "" || b.assigned(addr) != "" {
		t.Errorf("after unassign the provider has it on %q, the log on %q", b.provider.node(addr), b.assigned(addr))
	}
	if want := []string{"assign", "unassign"}; !slices.Equal(b.calls, want) {
		t.Errorf("observed %v, want %v", b.calls, want)
	}
}

// The provider refuses, then takes it: the bind fails and is repeated, and the log never says what is not so.
func TestRefusal(t *testing.T) {
	b := newHarness(t)
	b.provider.set("assign", "")
	addr, err := b.bind(pod, "a")
	if err == nil || !strings.Contains(err.Error(), "no room") {
		t.Fatalf("a refusal: %v", err)
	}
	if b.assigned(addr) != "" {
		t.Error("the log says that it is assigned")
	}
	b.provider.set("", "")
	if _, err := b.bind(pod, "a"); err != nil || b.assigned(addr) != "a" {
		t.Fatalf("the repetition: %v", err)
	}
	b.provider.set("unassign", "")
	if err := b.keeper.Unassign(context.Background(), b.replica.View().Address(addr)); err == nil ||
		b.assigned(addr) != "a" {
		t.Errorf("unassign was refused: %v, the log says %q", err, b.assigned(addr))
	}
}

// The response to assign is lost, and the pod goes before it is bound: the provider has the address, and the log does
// not know it. It is taken back all the same.
func TestLostResponse(t *testing.T) {
	b := newHarness(t)
	b.provider.set("", "assign")
	addr, err := b.bind(pod, "a")
	if status.Code(errors.Unwrap(err)) != codes.Unavailable || b.provider.node(addr) != "a" || b.assigned(addr) != "" {
		t.Fatalf("the response is lost: %v", err)
	}
	if _, err := b.notifying().Do(t.Context(), "test", allocator.EndPod{Pod: pod}); err != nil ||
		b.provider.node(addr) != "" {
		t.Errorf("%v, the provider still has it on %q", err, b.provider.node(addr))
	}
}

// While the provider refuses to take an address back, the pod keeps it; once it takes it, that comes before the log
// lets it go.
func TestGivenUp(t *testing.T) {
	for name, command := range map[string]func(netip.Addr) allocator.Command{
		"the pod ends": func(netip.Addr) allocator.Command { return allocator.EndPod{Pod: pod} },
		"released":     func(a netip.Addr) allocator.Command { return allocator.Release{Address: a, Owner: pod.Owner} },
	} {
		b := newHarness(t)
		addr, err := b.bind(pod, "a")
		if err != nil {
			t.Fatal(err)
		}
		b.provider.set("unassign", "")
		if _, err := b.notifying().Do(t.Context(), "test", command(addr)); err == nil ||
			!strings.Contains(err.Error(), "busy") {
			t.Errorf("%s: %v", name, err)
		}
		if a := b.replica.View().Address(addr); a == nil || a.PodUID != pod.UID || a.Node != "a" {
			t.Errorf("%s: the provider refuses, and the log has %+v", name, a)
		}
		b.provider.set("", "")
		if _, err := b.notifying().Do(t.Context(), "test", command(addr)); err != nil || b.provider.node(addr) != "" {
			t.Errorf("%s: %v, the provider has it on %q", name, err, b.provider.node(addr))
		}
		if a := b.replica.View().Address(addr); a != nil && (a.PodUID != "" || a.Node != "") {
			t.Errorf("%s: the log has %+v", name, a)
		}
	}
}

// A release of what another holds is refused, and takes nothing from that one's node; nor does what has no node at all.
func TestNotGivenUp(t *testing.T) {
	b := newHarness(t)
	addr, err := b.bind(pod, "a")
	if err != nil {
		t.Fatal(err)
	}
	calls := len(b.provider.calls)
	var holder *allocator.HolderError
	for _, owner := range []ipam.Owner{{}, {Pool: "other"}} {
		if _, err := b.notifying().Do(t.Context(), "test",
			allocator.Release{Address: addr, Owner: owner}); !errors.As(err, &holder) {
			t.Errorf("released for %v: %v", owner, err)
		}
	}
	if _, err := b.notifying().Do(t.Context(), "test", allocator.SizePool{Pool: "p", Size: 1}); err != nil {
		t.Error(err)
	}
	if len(b.provider.calls) != calls || b.provider.node(addr) != "a" {
		t.Errorf("the provider was asked to %v", b.provider.calls[calls:])
	}
}

// What the log refuses the provider never hears of.
func TestRefusedByTheLog(t *testing.T) {
	b := newHarness(t)
	if _, err := b.notifying().Do(t.Context(), "test", allocator.Bind{Pod: pod, Node: "a"}); !errors.Is(err,
		allocator.ErrUnsupported) || len(b.provider.calls) != 0 {
		t.Errorf("%v, the provider was asked to %v", err, b.provider.calls)
	}
}

// A pod moves while the provider could not be notified that it had left its old node: it is taken from there first.
func TestMove(t *testing.T) {
	b := newHarness(t)
	addr, err := b.bind(pod, "a")
	if err != nil {
		t.Fatal(err)
	}
	b.do(allocator.EndPod{Pod: pod})
	second := pod
	second.UID = "u2"
	moved, err := b.bind(second, "b")
	if err != nil || moved != addr || b.provider.node(addr) != "b" || b.assigned(addr) != "b" {
		t.Errorf("moved %s to %s: %v; the provider has it on %q, the log on %q", addr, moved, err,
			b.provider.node(addr), b.assigned(addr))
	}
}

func TestRepair(t *testing.T) {
	b := newHarness(t)
	ctx := context.Background()
	b.provider.set("", "assign")
	addr, _ := b.bind(pod, "a") // in use, and not recorded
	b.provider.set("", "")
	if err := b.keeper.Repair(ctx); err != nil || b.assigned(addr) != "a" {
		t.Fatalf("repair: %v, the log says %q", err, b.assigned(addr))
	}
	b.do(allocator.EndPod{Pod: pod}) // kept, and still assigned
	b.provider.set("unassign", "")
	if err := b.keeper.Repair(ctx); err == nil {
		t.Error("the provider refused, and nobody says so")
	}
	b.provider.set("", "")
	if err := b.keeper.Repair(ctx); err != nil || b.provider.node(addr) != "" || b.assigned(addr) != "" {
		t.Errorf("repair: %v; the provider has it on %q, the log on %q", err, b.provider.node(addr), b.assigned(addr))
	}
	calls := len(b.provider.calls)
	if err := b.keeper.Repair(ctx); err != nil || len(b.provider.calls) != calls {
		t.Errorf("nothing to repair: %v, %v", err, b.provider.calls[calls:])
	}
}

// unasked is a provider that must not be asked.
type unasked struct{ *testing.T }

func (u unasked) Assign(context.Context, string, netip.Addr) error {
	u.Error("the provider is asked to assign")
	return nil
}

func (u unasked) Unassign(context.Context, string, netip.Addr) error {
	u.Error("the provider is asked to unassign")
	return nil
}

// A repair whose time is up asks the provider nothing more.
func TestRepairEnds(t *testing.T) {
	b := newHarness(t)
	b.provider.set("", "assign")
	if _, err := b.bind(pod, "a"); err == nil {
		t.Fatal("the response was to be lost")
	}
	b.keeper.Provider = unasked{t}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.keeper.Repair(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a repair after its time: %v", err)
	}
}
