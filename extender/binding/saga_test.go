package binding_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"galaxy/allocator"
	"galaxy/extender/binding"
	"galaxy/extender/extendertest"
	"galaxy/ipam"
	"galaxy/kube"
)

// Two networks of nodes: the first has two addresses, the second one.
const subnets = `[{"nodeSubnets":["10.1.0.0/16"],"ips":["10.0.0.2~10.0.0.3"],"subnet":"10.0.0.0/24","gateway":"10.0.0.1"},
{"nodeSubnets":["10.2.0.0/16"],"ips":["10.0.1.2"],"subnet":"10.0.1.0/24","gateway":"10.0.1.1"}]`

var first, second = netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.0/16")

// cluster is Kubernetes: what was bound there, and how it responds.
type cluster struct {
	bound   []string
	respond func() error
}

func (c *cluster) Bind(_ context.Context, pod *kube.Pod, node string, infos []ipam.IPInfo, proof string) error {
	for _, info := range infos {
		c.bound = append(c.bound, strings.TrimSpace(fmt.Sprintf("%s on %s has %s %s", pod.UID, node, info.IP, proof)))
	}
	return c.respond()
}

// harness is a saga over a replica that leads on a log in memory.
type harness struct {
	*allocator.Replica
	t       *testing.T
	cluster *cluster
	saga    *binding.Saga
	refuse  func(allocator.Command) error // in place of the replica, as a cloud provider does
}

func (b *harness) Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error) {
	if b.refuse != nil {
		if err := b.refuse(command); err != nil {
			return allocator.Result{}, err
		}
	}
	return b.Replica.Do(ctx, cause, command)
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	b := &harness{Replica: extendertest.New(t, subnets, nil).Replica, t: t,
		cluster: &cluster{respond: func() error { return nil }}}
	b.saga = &binding.Saga{Replica: b, Binder: b.cluster}
	return b
}

// order is a pod web-N of a StatefulSet, with the uid uN, that is to run on node a of the first network.
func order(n int, policy ipam.Policy) binding.Order {
	name, uid := fmt.Sprintf("web-%d", n), fmt.Sprintf("u%d", n)
	return binding.Order{
		Pod: &kube.Pod{Namespace: "ns", Name: name, UID: uid}, Node: "a", Network: first,
		Asked: allocator.Pod{
			Owner: ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "ns", App: "web", Pod: name}, UID: uid,
			Policy:   policy,
			Workload: allocator.Workload{Exists: true, Scales: true, Replicas: 20},
		},
	}
}

// held says what a pod's name holds, as ADDRESS STATE UID NODE.
func (b *harness) held(o binding.Order) string {
	var all []string
	for a := range b.View().Held(o.Asked.Owner) {
		all = append(all, strings.TrimSpace(fmt.Sprint(a.Addr, " ", a.State(), " ", a.PodUID, " ", a.Node)))
	}
	return strings.Join(all, ", ")
}

func (b *harness) head() uint64 { return b.View().Position().Head.Seq }

func (b *harness) wants(o binding.Order, want string) {
	b.t.Helper()
	if got := b.held(o); got != want {
		b.t.Errorf("%s holds %q, want %q", o.Asked.Owner.Pod, got, want)
	}
}

// A pod gets an address, and the cluster hears of that one; the same again changes nothing.
func TestBind(t *testing.T) {
	b, o := newHarness(t), order(0, ipam.ReleaseOnDelete)
	if err := b.saga.Bind(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	head := b.head()
	if err := b.saga.Bind(t.Context(), o); err != nil || b.head() != head {
		t.Errorf("again: %v, the log went from %d to %d", err, head, b.head())
	}
	b.wants(o, "10.0.0.2 bound u0 a")
	if want := []string{"u0 on a has 10.0.0.2/24", "u0 on a has 10.0.0.2/24"}; !slices.Equal(b.cluster.bound, want) {
		t.Errorf("the cluster got %q, want %q", b.cluster.bound, want)
	}
}

// What the cluster hears of is what was signed; what cannot be signed is not bound, and keeps its address for the next
// attempt.
func TestBindSigned(t *testing.T) {
	b, o := newHarness(t), order(0, ipam.ReleaseOnDelete)
	refusal := errors.New("no key yet")
	b.saga.Sign = func(*kube.Pod, string, []ipam.IPInfo, uint64) (string, error) { return "", refusal }
	if err := b.saga.Bind(t.Context(), o); !errors.Is(err, refusal) || len(b.cluster.bound) != 0 {
		t.Errorf("%v, the cluster got %q", err, b.cluster.bound)
	}
	b.wants(o, "10.0.0.2 bound u0 a")
	b.saga.Sign = func(pod *kube.Pod, node string, infos []ipam.IPInfo, seq uint64) (string, error) {
		return fmt.Sprint("signed ", pod.UID, " ", node, " ", infos[0].IP, " as of ", seq == b.head()), nil
	}
	if err := b.saga.Bind(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if want := []string{"u0 on a has 10.0.0.2/24 signed u0 a 10.0.0.2/24 as of true"}; !slices.Equal(b.cluster.bound, want) {
		t.Errorf("the cluster got %q, want %q", b.cluster.bound, want)
	}
}

// Where something else binds, only the log is written.
func TestBindWithoutBinder(t *testing.T) {
	b, o := newHarness(t), order(0, ipam.ReleaseOnDelete)
	b.saga.Binder = nil
	if err := b.saga.Bind(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	b.wants(o, "10.0.0.2 bound u0 a")
}

// The cluster hears of no pod without an address, and of none whose address the cloud provider refuses.
func TestBindRefused(t *testing.T) {
	for name, play := range map[string]func(*harness, *binding.Order) error{
		"no subnet": func(_ *harness,
			o *binding.Order) error {
			o.Network = netip.Prefix{}
			return allocator.ErrUnsupported
		},
		"the provider": func(b *harness, _ *binding.Order) error {
			refusal := errors.New("no room")
			b.refuse = func(allocator.Command) error { return refusal }
			return refusal
		},
	} {
		b, o := newHarness(t), order(0, ipam.ReleaseOnDelete)
		want := play(b, &o)
		if err := b.saga.Bind(t.Context(), o); !errors.Is(err, want) || len(b.cluster.bound) != 0 {
			t.Errorf("%s: %v, the cluster got %q", name, err, b.cluster.bound)
		}
	}
}

// A pod that vanished during its bind must not keep its address, unless its policy keeps it for the next pod of the
// name.
func TestPodVanishes(t *testing.T) {
	const kept = "10.0.0.2 reserved"
	for policy, want := range map[ipam.Policy]string{ipam.ReleaseOnDelete: "", ipam.Immutable: kept, ipam.Never: kept} {
		b, o := newHarness(t), order(0, policy)
		b.cluster.respond = func() error { return fmt.Errorf("bind: %w", kube.ErrPodGone) }
		if err := b.saga.Bind(t.Context(), o); !errors.Is(err, kube.ErrPodGone) {
			t.Errorf("%s: %v", policy, err)
		}
		b.wants(o, want)
	}
}

// The pod that vanished has a successor of its name, which was bound meanwhile: that one keeps its address.
func TestSuccessorKeepsItsAddress(t *testing.T) {
	b, o := newHarness(t), order(0, ipam.ReleaseOnDelete)
	next := order(0, ipam.ReleaseOnDelete)
	next.Asked.UID = "u1"
	b.cluster.respond = func() error {
		for _, command := range []allocator.Command{
			allocator.EndPod{Pod: o.Asked}, allocator.Bind{Pod: next.Asked, Node: "b", NodeNetwork: first},
		} {
			if _, err := b.Replica.Do(t.Context(), "test", command); err != nil {
				t.Fatal(err)
			}
		}
		return kube.ErrPodGone
	}
	if err := b.saga.Bind(t.Context(), o); !errors.Is(err, kube.ErrPodGone) {
		t.Error(err)
	}
	if got := b.held(o); !strings.HasSuffix(got, " bound u1 b") {
		t.Errorf("the successor holds %q", got)
	}
}

// What could not be given back is said, beside why it was tried.
func TestVanishedAndNotGivenBack(t *testing.T) {
	b, o, refusal := newHarness(t), order(0, ipam.ReleaseOnDelete), errors.New("the provider is out of order")
	b.cluster.respond = func() error { return kube.ErrPodGone }
	b.refuse = func(command allocator.Command) error {
		if _, ends := command.(allocator.EndPod); ends {
			return refusal
		}
		return nil
	}
	if err := b.saga.Bind(t.Context(), o); !errors.Is(err, kube.ErrPodGone) || !errors.Is(err, refusal) {
		t.Error(err)
	}
	b.wants(o, "10.0.0.2 bound u0 a")
}

// A pod that runs elsewhere by now is recorded there, with the address that it has.
func TestBoundElsewhere(t *testing.T) {
	b, o := newHarness(t), order(0, ipam.ReleaseOnDelete)
	b.cluster.respond = func() error { return &kube.BoundError{Pod: "ns/web-0", Node: "b"} }
	var bound *kube.BoundError
	if err := b.saga.Bind(t.Context(), o); !errors.As(err, &bound) {
		t.Error(err)
	}
	b.wants(o, "10.0.0.2 bound u0 b")
}

// When it is not known what has become of the pod, nothing is taken from it: the bind is asked for again.
func TestClusterOutOfReach(t *testing.T) {
	b, o, refusal := newHarness(t), order(0, ipam.ReleaseOnDelete), errors.New("connection refused")
	b.cluster.respond = func() error { return refusal }
	if err := b.saga.Bind(t.Context(), o); !errors.Is(err, refusal) {
		t.Error(err)
	}
	b.wants(o, "10.0.0.2 bound u0 a")
}

// Binding is true while a binding is on its way, and never after, however that ended.
func TestTelling(t *testing.T) {
	b := newHarness(t)
	for _, end := range []error{nil, kube.ErrPodGone, errors.New("no")} {
		during := false
		b.cluster.respond = func() error { during = b.saga.Binding(); return end }
		if b.saga.Binding() {
			t.Errorf("before %v", end)
		}
		_ = b.saga.Bind(t.Context(), order(0, ipam.ReleaseOnDelete))
		if !during || b.saga.Binding() {
			t.Errorf("%v: during it %t, after it %t", end, during, b.saga.Binding())
		}
	}
}

// A claim says where the pod may run: in the networks that its address serves, nowhere when all are held. That a limit
// is reached is an error, as no other node helps.
func TestClaim(t *testing.T) {
	b := newHarness(t)
	rolling := func(n, replicas int) allocator.Pod {
		pod := order(n, ipam.Immutable).Asked
		pod.Owner.Kind, pod.Workload.Replicas = ipam.KindDeployment, replicas
		return pod
	}
	networks, err := b.saga.Claim(t.Context(), rolling(0, 1), []netip.Prefix{second, first})
	if err != nil || len(networks) != 1 {
		t.Fatalf("%v, %v", networks, err)
	}
	for a := range b.View().Held(rolling(0, 1).Owner) {
		if i, _ := b.View().Config().SubnetOf(a.Addr); a.State() != "claimed" ||
			!b.View().Config().Subnets[i].Serves(networks[0]) {
			t.Errorf("%s is %s, and may be used in %v", a.Addr, a.State(), networks)
		}
	}
	var limit *allocator.LimitError
	if networks, err := b.saga.Claim(t.Context(), rolling(1, 1), []netip.Prefix{first}); !errors.As(err, &limit) ||
		len(networks) != 0 {
		t.Errorf("beyond the limit: %v, %v", networks, err)
	}
	for _, text := range []string{"10.0.0.2", "10.0.0.3", "10.0.1.2"} {
		_, _ = b.Replica.Do(t.Context(), "test",
			allocator.Reserve{Address: netip.MustParseAddr(text), Owner: ipam.Owner{Pool: "other"}})
	}
	if networks, err := b.saga.Claim(t.Context(), rolling(1, 9), []netip.Prefix{first, second}); err != nil ||
		len(networks) != 0 {
		t.Errorf("no address is left: %v, %v", networks, err)
	}
}
