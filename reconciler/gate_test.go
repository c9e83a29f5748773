package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/objects"
	"galaxy/projections"
	"galaxy/reconciler"
)

// recorder is a cluster of an API server that remembers what was reported to it.
type recorder struct {
	mu     sync.Mutex
	events []string
	gone   func() (evidence string, err error) // nil: every pod that is asked about is gone
}

func (c *recorder) Know(string) {}
func (c *recorder) Gone(context.Context, string, string, string) (string, error) {
	if c.gone != nil {
		return c.gone()
	}
	return "the API server says so", nil
}
func (c *recorder) ReportConfig(_ bool, reason, message string) { c.record(reason + ": " + message) }
func (c *recorder) ReportPod(pod *kube.Pod, _ bool, reason, message string) {
	c.record(pod.String() + " " + reason + ": " + message)
}

func (c *recorder) record(event string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, event)
}

func (c *recorder) has(part string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(strings.Join(c.events, "\n"), part)
}

// gateHarness is a reconciler that runs beside the replica of a scene.
type gateHarness struct {
	*harness
	r        *reconciler.Reconciler
	store    *objects.Store
	recorder *recorder
}

const gateSubnets = `[{"nodeSubnets":["10.0.0.0/24"],"ips":["10.1.0.2~10.1.0.9"],"subnet":"10.1.0.0/24","gateway":"10.1.0.1"}]`

func configMap(subnets string) string {
	return "kind: Pod\nmetadata: {name: other}\n---\nkind: Node\nmetadata: {name: node1}\n---\nkind: " +
		"ConfigMap\nmetadata: {name: floatingip-config, namespace: kube-system}\ndata:\n  floatingips: |\n    " +
		subnets + "\n---\n"
}

// runs is a pod that somebody else has bound, as its annotation says, and its status if a kubelet has written it.
func runs(name, addr string, byKubelet bool) string {
	status := "{phase: Running}"
	if byKubelet {
		status = "{phase: Running, podIP: " + addr + "}"
	}
	return fmt.Sprintf(`kind: Pod
metadata:
  name: %[1]s
  namespace: ns1
  uid: u-%[1]s
  annotations: {k8s.v1.cni.galaxy.io/args: '{"common":{"ipinfos":[{"ip":"%[2]s/24","vlan":0,"gateway":"10.1.0.1"}]}}'}
spec: {nodeName: node1, containers: [{resources: {requests: {tke.cloud.tencent.com/eni-ip: 1}}}]}
status: %[3]s
---
`, name, addr, status)
}

func (g *gateHarness) put(t *testing.T, text string) {
	t.Helper()
	set, err := objects.Parse([]byte(text), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if g.store == nil {
		g.store = objects.NewStore(set)
	} else {
		g.store.Put(set)
	}
}

func newGated(t *testing.T, text string, edit func(*reconciler.Config)) *gateHarness {
	g := &gateHarness{harness: newHarness(t), recorder: &recorder{}}
	g.put(t, text)
	config := reconciler.Config{
		Replica: g.replica, Source: g.store, Cluster: g.recorder, Rules: reconciler.DefaultRules(), Log: zapNop(),
		Interval: time.Hour, Confirm: 5 * time.Millisecond,
	}
	if edit != nil {
		edit(&config)
	}
	g.r = reconciler.New(config)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- g.r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return g
}

// bind is what the scheduler's port does for a pod of that name.
func (g *gateHarness) bind(ctx context.Context, name string) (netip.Addr, error) {
	command := allocator.Bind{Node: "node1", NodeNetwork: netip.MustParsePrefix("10.0.0.0/24"), Pod: allocator.Pod{
		Owner: ipam.Owner{Namespace: "ns1", Pod: name}, UID: "u-" + name,
	}}
	result, err := g.r.Gate().Do(ctx, g.replica, "test", command)
	if err != nil {
		return netip.Addr{}, err
	}
	return result.Grants[0].Address, nil
}

func (g *gateHarness) mustBind(t *testing.T, name, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if addr, err := g.bind(ctx, name); err != nil || addr.String() != want {
		t.Errorf("%s got %s, %v, want %s", name, addr, err, want)
	}
}

func (g *gateHarness) ownerOf(addr string) string {
	if a := g.replica.View().Address(netip.MustParseAddr(addr)); a != nil {
		return a.Owner.Pod
	}
	return ""
}

func (g *gateHarness) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// On an empty log the running pods are recorded before the first address is given out, though the subnets are put in
// force by the same pass. Pools that reserve in advance come after them.
func TestGateOpensAfterAdoption(t *testing.T) {
	pool := "kind: Pool\nmetadata: {name: p}\nsize: 2\npreAllocateIP: true\n---\n"
	g := newGated(t, configMap(gateSubnets)+runs("old-a", "10.1.0.2", false)+runs("old-b", "10.1.0.3", true)+pool, nil)
	g.await(t, "the pool", func() bool { return g.replica.View().Scope(ipam.Owner{Pool: "p"}).Held == 2 })
	g.mustBind(t, "new", "10.1.0.6")
	if a, b := g.ownerOf("10.1.0.2"), g.ownerOf("10.1.0.3"); a != "old-a" || b != "old-b" {
		t.Errorf("10.1.0.2 is held for %q, 10.1.0.3 for %q", a, b)
	}
	if view := g.replica.View(); view.Origin().Adopted != view.Position().Head.Generation {
		t.Error("the log does not say that the running pods were adopted")
	}
}

// Subnets that were refused at first, and are put in force later, find the running pods all the same.
func TestSubnetsThatComeLater(t *testing.T) {
	pods := runs("old-a", "10.1.0.2", false) + runs("old-b", "10.1.0.3", true)
	g := newGated(t, configMap(`[{"nodeSubnets":["10.0.0.0/24"],"ips":["10.1.0.1~10.1.0.9"],"subnet":"10.1.0.0/24","gateway":"10.1.0.1"}]`)+pods, nil)
	g.await(t, "the refusal", func() bool { return g.recorder.has("FloatingIPConfigRefused") })
	g.put(t, configMap(gateSubnets)+pods)
	g.await(t, "the subnets", func() bool { return g.replica.View().Config().Seq > 0 })
	g.mustBind(t, "new", "10.1.0.4")
	if a, b := g.ownerOf("10.1.0.2"), g.ownerOf("10.1.0.3"); a != "old-a" || b != "old-b" {
		t.Errorf("10.1.0.2 is held for %q, 10.1.0.3 for %q", a, b)
	}
}

// Once the running pods are adopted, the log knows of every bind: an annotation alone proves nothing any more, and its
// pod hears of it. A kubelet is believed.
func TestAnnotationsAreBelievedOnce(t *testing.T) {
	g := newGated(t, configMap(gateSubnets), func(c *reconciler.Config) { c.Interval = 20 * time.Millisecond })
	g.mustBind(t, "first", "10.1.0.2")
	g.put(t, configMap(gateSubnets)+runs("first", "10.1.0.2", true)+runs("liar", "10.1.0.5", false)+runs("seen",
		"10.1.0.6", true))
	g.await(t, "the adoption", func() bool { return g.ownerOf("10.1.0.6") == "seen" })
	g.await(t, "the event", func() bool { return g.recorder.has("ns1/liar FloatingIPUnproven") })
	if owner := g.ownerOf("10.1.0.5"); owner != "" {
		t.Errorf("10.1.0.5 is held for %q", owner)
	}
}

// unwilling refuses all that a cloud provider can.
type unwilling struct{}

func (unwilling) Unassign(context.Context, *projections.Address) error {
	return errors.New("the provider refuses")
}
func (unwilling) Repair(context.Context) error { return errors.New("the provider refuses") }

// What has nothing to do with running pods does not keep the gate closed: here a cloud provider that takes nothing
// back.
func TestGateOpensWhateverElseFails(t *testing.T) {
	g := newGated(t, configMap(gateSubnets)+runs("old-a", "10.1.0.2", true),
		func(c *reconciler.Config) { c.Unassigner = unwilling{} })
	g.mustBind(t, "gone-0", "10.1.0.3")
	// Its pod is not there, and its address cannot be unassigned, pass after pass.
	g.mustBind(t, "new", "10.1.0.4")
}

// flaky is a replica that cannot record running pods for a while.
type flaky struct {
	*allocator.Replica
	fails atomic.Bool
}

func (f *flaky) Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error) {
	_, adopts := command.(allocator.Adopt)
	_, marks := command.(allocator.MarkAdopted)
	if (adopts || marks) && f.fails.Load() {
		return allocator.Result{}, errors.New("etcd says no")
	}
	return f.Replica.Do(ctx, cause, command)
}

// A gate that stays closed says why: to who waits, in an event, and in a metric.
func TestGateSaysWhyItIsClosed(t *testing.T) {
	var errs atomic.Int32
	replica := &flaky{}
	replica.fails.Store(true)
	g := newGated(t, configMap(gateSubnets)+runs("old-a", "10.1.0.2", true), func(c *reconciler.Config) {
		replica.Replica = c.Replica.(*allocator.Replica)
		c.Replica = replica
		c.CountError = func(kind string) {
			if kind == "gate" {
				errs.Add(1)
			}
		}
	})
	g.await(t, "the event", func() bool { return g.recorder.has("FloatingIPsWithheld") && errs.Load() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := g.bind(ctx, "new"); err == nil || !strings.Contains(err.Error(), "etcd says no") {
		t.Errorf("who waits hears %v", err)
	}
	if open, reason := g.r.Gate().State(); open || !strings.Contains(reason, "etcd says no") {
		t.Errorf("open is %t, as %q", open, reason)
	}
	if err := g.r.Gate().Admit(t.Context(), allocator.EndPod{}); err != nil {
		t.Errorf("what gives nothing out has to wait: %v", err)
	}
	replica.fails.Store(false)
	g.mustBind(t, "new", "10.1.0.3")
}

// The gate stays closed as long as it is not in the log that all running pods are known, though none of them made
// trouble.
func TestGateWaitsForTheMark(t *testing.T) {
	replica := &flaky{}
	replica.fails.Store(true)
	g := newGated(t, configMap(gateSubnets), func(c *reconciler.Config) {
		replica.Replica = c.Replica.(*allocator.Replica)
		c.Replica = replica
	})
	g.await(t, "the event", func() bool { return g.recorder.has("FloatingIPsWithheld") })
	if open, reason := g.r.Gate().State(); open || !strings.Contains(reason, "etcd says no") {
		t.Errorf("open is %t, as %q", open, reason)
	}
	replica.fails.Store(false)
	g.mustBind(t, "new", "10.1.0.2")
}

// watched is a replica that may be deposed, and says which commands it is given.
type watched struct {
	*allocator.Replica
	deposed atomic.Bool
	given   func(allocator.Command)
}

func (w *watched) Leading() bool { return !w.deposed.Load() && w.Replica.Leading() }
func (w *watched) Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error) {
	w.given(command)
	return w.Replica.Do(ctx, cause, command)
}

// The gate is closed from before new subnets are put in force until the running pods were compared with the log under
// them, and from the end of a term until the next one has compared them.
func TestGateCloses(t *testing.T) {
	replica := &watched{}
	var gate atomic.Pointer[reconciler.Gate]
	var configured, open atomic.Int32
	replica.given = func(command allocator.Command) {
		if _, configures := command.(allocator.Configure); configures {
			configured.Add(1)
			if g := gate.Load(); g != nil {
				if isOpen, _ := g.State(); isOpen {
					open.Add(1)
				}
			}
		}
	}
	g := newGated(t, configMap(gateSubnets), func(c *reconciler.Config) {
		replica.Replica = c.Replica.(*allocator.Replica)
		c.Replica = replica
	})
	gate.Store(g.r.Gate())
	isOpen := func() bool { open, _ := g.r.Gate().State(); return open }
	g.await(t, "the gate", isOpen)
	g.put(t, configMap(strings.ReplaceAll(gateSubnets, "10.1.0.2~", "10.1.0.3~")))
	g.await(t, "other subnets", func() bool { return configured.Load() == 2 })
	if open.Load() != 0 {
		t.Error("subnets are put in force while the gate is open")
	}
	g.await(t, "the gate, with other subnets", isOpen)
	replica.deposed.Store(true)
	g.await(t, "the end of the term", func() bool { return !isOpen() })
	replica.deposed.Store(false)
	g.await(t, "the next lead", isOpen)
}

// follower is a replica that does not lead.
type follower struct{ reconciler.Replica }

func (follower) Leading() bool { return false }
func (follower) Do(context.Context, string, allocator.Command) (allocator.Result, error) {
	return allocator.Result{}, allocator.ErrNotLeader
}

// What the gate holds back is what a command says of itself. A replica that does not lead is not waited for: it refuses
// by itself.
func TestGateHoldsBackWhatAllocates(t *testing.T) {
	closed := reconciler.New(reconciler.Config{}).Gate()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, command := range []allocator.Command{
		allocator.Bind{}, allocator.Claim{}, allocator.Reserve{}, allocator.SizePool{}, allocator.Attach{},
		allocator.Release{}, allocator.Adopt{},
	} {
		if err := closed.Admit(ended, command); (err != nil) != command.Allocates() {
			t.Errorf("%T, which allocates: %t: %v", command, command.Allocates(), err)
		}
	}
	g := newGated(t, configMap(gateSubnets), nil)
	if _, err := closed.Do(ended, g.replica, "test", allocator.Bind{}); !errors.Is(err, context.Canceled) ||
		!strings.Contains(err.Error(), "no address is given out yet") {
		t.Errorf("a bind before the gate opens: %v", err)
	}
	if _, err := closed.Do(ended, follower{g.replica}, "test", allocator.Bind{}); !errors.Is(err,
		allocator.ErrNotLeader) {
		t.Errorf("a bind at a follower: %v", err)
	}
}

// No address is taken from a pod that is not among the objects before the API server itself has said that it is gone.
// An error proves nothing.
func TestProofComesFirst(t *testing.T) {
	var asked atomic.Int32
	var evidence atomic.Value
	evidence.Store("")
	broken := errors.New("the API server is away")
	g := newGated(t, configMap(gateSubnets), func(c *reconciler.Config) {
		c.Interval = 5 * time.Millisecond
		c.Cluster.(*recorder).gone = func() (string, error) {
			asked.Add(1)
			if text := evidence.Load().(string); text != "broken" {
				return text, nil
			}
			return "ignored", broken
		}
	})
	g.mustBind(t, "gone-0", "10.1.0.2")
	for _, text := range []string{"", "broken"} {
		evidence.Store(text)
		from := asked.Load()
		g.await(t, "two questions", func() bool { return asked.Load() >= from+2 })
		if owner := g.ownerOf("10.1.0.2"); owner != "gone-0" {
			t.Fatalf("the API server says %q, and the address is held for %q", text, owner)
		}
	}
	evidence.Store("it answered 404")
	g.await(t, "the release", func() bool { return g.ownerOf("10.1.0.2") == "" })
}

// The newest event on the ConfigMap is what holds: a text that was refused and taken back is said to be in force again,
// and each change that is put in force is said, with the event of the log that did it.
func TestEventsOnTheConfigMap(t *testing.T) {
	g := newGated(t, configMap(gateSubnets), nil)
	newest := func(want string) func() bool {
		return func() bool {
			g.recorder.mu.Lock()
			defer g.recorder.mu.Unlock()
			return len(g.recorder.events) > 0 && strings.Contains(g.recorder.events[len(g.recorder.events)-1], want)
		}
	}
	g.await(t, "the first subnets", newest("FloatingIPConfigApplied: the subnets are in force, since event 1"))
	g.put(t, configMap(strings.ReplaceAll(gateSubnets, "10.1.0.2~", "10.1.0.3~")))
	g.await(t, "other subnets", newest("FloatingIPConfigApplied: the subnets are in force, since event "))
	g.put(t, configMap(strings.ReplaceAll(gateSubnets, "10.1.0.2~", "10.1.0.300~")))
	g.await(t, "a bad text", newest("FloatingIPConfigRefused"))
	g.put(t, configMap(strings.ReplaceAll(gateSubnets, "10.1.0.2~", "10.1.0.3~")))
	g.await(t, "the text before", newest("FloatingIPConfigApplied"))
}
