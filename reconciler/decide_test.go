package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/ipam"
	"galaxy/kube/objects"
	"galaxy/reconciler"
)

// harness plays one story: commands change the objects, plan shows what the reconciler would do, apply does it.
type harness struct {
	t        *testing.T
	replica  *allocator.Replica
	now      time.Time
	old, set *objects.Set
	plan     reconciler.Plan
	suspects map[netip.Addr]uint64
}

func newHarness(t *testing.T) *harness {
	s := &harness{t: t, now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	ctx, cancel := context.WithCancel(context.Background())
	replica, err := allocator.NewReplica(ctx,
		allocator.Config{Log: memlog.New(), Actor: "test", Now: func() time.Time { return s.now }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.replica = replica
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = replica.Lead(ctx, eventlog.Fence{})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	for !replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	return s
}

func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := newHarness(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			switch d.Cmd {
			case "config":
				return s.configure(d.Input)
			case "objects":
				set, err := objects.Parse([]byte(d.Input), s.now)
				if err != nil {
					t.Fatal(err)
				}
				s.set = set
				return ""
			case "advance":
				by, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				s.now = s.now.Add(by)
				return ""
			case "bind":
				return s.bind(d)
			case "reserve":
				var addr, pool string
				d.ScanArgs(t, "addr", &addr)
				d.ScanArgs(t, "pool", &pool)
				return s.do(allocator.Reserve{Address: netip.MustParseAddr(addr), Owner: ipam.Owner{Pool: pool}})
			case "size":
				var pool string
				var size int
				d.ScanArgs(t, "pool", &pool)
				d.ScanArgs(t, "size", &size)
				return s.do(allocator.SizePool{Pool: pool, Size: size})
			case "plan":
				rules := reconciler.DefaultRules()
				d.MaybeScanArgs(t, "namespace", &rules.ConfigNamespace)
				d.MaybeScanArgs(t, "name", &rules.ConfigName)
				d.MaybeScanArgs(t, "key", &rules.ConfigKey)
				s.plan = reconciler.Decide(reconciler.Input{
					Old: s.old, New: s.set, View: s.replica.View(), Full: d.HasArg("full"), Live: d.HasArg("live"),
					Suspects: s.suspects,
				}, rules)
				return s.showPlan()
			case "apply":
				return s.apply()
			case "addresses":
				return s.addresses()
			default:
				t.Fatalf("no such command: %s", d.Cmd)
				return ""
			}
		})
	})
}

func (s *harness) do(cmd allocator.Command) string {
	if _, err := s.replica.Do(context.Background(), "test", cmd); err != nil {
		return "error: " + err.Error() + "\n"
	}
	return ""
}

// configure puts subnets in force.
func (s *harness) configure(text string) string {
	s.t.Helper()
	subnets, err := ipam.ParseConfig([]byte(text))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(allocator.Configure{Source: "test", Subnets: subnets})
}

// bind puts an address to use: bind pod=ns1/web-0 app=statefulset/web [policy=immutable] [uid=u] [pool=p].
func (s *harness) bind(d *datadriven.TestData) string {
	var name, app, policy, uid, pool string
	d.ScanArgs(s.t, "pod", &name)
	d.ScanArgs(s.t, "app", &app)
	d.MaybeScanArgs(s.t, "policy", &policy)
	d.MaybeScanArgs(s.t, "pool", &pool)
	d.MaybeScanArgs(s.t, "uid", &uid)
	namespace, pod, _ := strings.Cut(name, "/")
	kind, app, _ := strings.Cut(app, "/")
	if uid == "" {
		uid = "u-" + pod
	}
	owner := ipam.Owner{Kind: kind, Namespace: namespace, App: app, Pod: pod, Pool: pool}
	return s.do(allocator.Bind{Node: "node1", NodeNetwork: netip.MustParsePrefix("10.0.0.0/24"), Pod: allocator.Pod{
		Owner: owner, UID: uid, Policy: ipam.PolicyOf(policy, pool),
		Workload: allocator.Workload{Exists: true, Scales: true, Replicas: 10},
	}})
}

func (s *harness) showPlan() string {
	var b strings.Builder
	for _, step := range s.plan.Steps {
		sure := ""
		if c := step.Confirm; c != nil {
			sure = fmt.Sprintf(", once it is proven that %s/%s %s has ended", c.Namespace, c.Name, c.UID)
		}
		fmt.Fprintf(&b, "%s: %s%s\n", step.Cause, describe(step.Command), sure)
	}
	for addr := range s.replica.View().Addresses(netip.Addr{}) {
		if _, ok := s.plan.Suspects[addr.Addr]; ok {
			fmt.Fprintf(&b, "suspect: %s\n", addr.Addr)
		}
	}
	for _, n := range s.plan.Notices {
		fmt.Fprintf(&b, "notice: %s %s: %s\n", n.Pod, n.Reason, n.Message)
	}
	for _, c := range s.plan.Conflicts {
		fmt.Fprintf(&b, "conflict: %s and %s of %q\n", c.Pod, c.Address, c.Holder)
	}
	if s.plan.Err != nil {
		fmt.Fprintf(&b, "error: %v\n", s.plan.Err)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func describe(cmd allocator.Command) string {
	switch c := cmd.(type) {
	case allocator.EndPod:
		return fmt.Sprintf("EndPod %s uid=%s policy=%s %s", c.Pod.Owner, c.Pod.UID, c.Pod.Policy,
			workload(c.Pod.Workload))
	case allocator.ChangeWorkload:
		return fmt.Sprintf("ChangeWorkload %s %s", c.Owner, workload(c.Workload))
	case allocator.Adopt:
		return fmt.Sprintf("Adopt %s by %s uid=%s on %s", c.Address, c.Pod.Owner, c.Pod.UID, c.Node)
	case allocator.Release:
		return fmt.Sprintf("Release %s of %s (%s)", c.Address, c.Owner, c.Reason)
	case allocator.Configure:
		if c.Force {
			return fmt.Sprintf("Configure %d subnets, by force", len(c.Subnets))
		}
		return fmt.Sprintf("Configure %d subnets", len(c.Subnets))
	default:
		return fmt.Sprintf("%T%+v", cmd, cmd)
	}
}

func workload(w allocator.Workload) string {
	if !w.Exists {
		return "gone"
	}
	return fmt.Sprintf("replicas=%d", w.Replicas)
}

func (s *harness) apply() string {
	var b strings.Builder
	for _, step := range s.plan.Steps {
		b.WriteString(s.do(step.Command))
	}
	if b.Len() == 0 {
		s.old = s.set
	}
	s.suspects = s.plan.Suspects
	return b.String() + s.addresses()
}

func (s *harness) addresses() string {
	var b strings.Builder
	for a := range s.replica.View().Addresses(netip.Addr{}) {
		fmt.Fprintf(&b, "%s %s %s\n", a.Addr, a.State(), a.Owner)
	}
	if b.Len() == 0 {
		return "none\n"
	}
	return b.String()
}

// TestRun lets the loop follow a Store.
func TestRun(t *testing.T) {
	s := newHarness(t)
	const node = "kind: Node\nmetadata: {name: node1}\n---\n"
	const config = "kind: ConfigMap\nmetadata: {name: floatingip-config, namespace: kube-system}\ndata:\n  " +
		"floatingips: |\n" +
		`    [{"nodeSubnets":["10.0.0.0/24"],"ips":["10.1.0.2~10.1.0.9"],"subnet":"10.1.0.0/24","gateway":"10.1.0.1"}]` + "\n---\n"
	parse := func(text string) *objects.Set {
		set, err := objects.Parse([]byte(node+config+text), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	store := objects.NewStore(parse(""))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	r := reconciler.New(reconciler.Config{
		Replica: s.replica, Source: store, Rules: reconciler.DefaultRules(), Log: zapNop(), Interval: time.Hour,
		Confirm: 10 * time.Millisecond,
	})
	go func() { ended <- r.Run(ctx) }()
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain: %s", what)
			}
		}
	}
	await("the configuration", func() bool { return len(s.replica.View().Config().Subnets) == 1 })
	store.Put(parse("kind: Pod\nmetadata: {name: web-0, namespace: ns1, uid: u-web-0}\n" +
		"spec: {containers: [{resources: {requests: {tke.cloud.tencent.com/eni-ip: 1}}}]}\n---\nkind: Pod\nmetadata: " +
		"{name: other}"))
	bind := allocator.Bind{Node: "node1", NodeNetwork: netip.MustParsePrefix("10.0.0.0/24"), Pod: allocator.Pod{
		Owner: ipam.Owner{Namespace: "ns1", Pod: "web-0"}, UID: "u-web-0",
	}}
	if failure := s.do(bind); failure != "" {
		t.Fatal(failure)
	}
	time.Sleep(50 * time.Millisecond) // lets the loop see the pod
	store.Put(parse("kind: Pod\nmetadata: {name: other}"))
	await("the release", func() bool {
		return s.replica.View().Scope(ipam.Owner{}).Held == 0 &&
			s.addresses() == "none\n"
	})
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A rollout that needs an address more than there are is reported on the pod that waits; not while one is free, nor
// when none is needed.
func TestRolloutWithoutSpare(t *testing.T) {
	s := newHarness(t)
	s.configure(`[{"nodeSubnets":["10.0.0.0/24"],"ips":["10.1.0.2~10.1.0.3"],"subnet":"10.1.0.0/24","gateway":"10.1.0.1"}]`)
	app := ipam.Owner{Kind: "deployment", Namespace: "ns1", App: "web"}
	workload := allocator.Workload{Exists: true, Scales: true, Replicas: 2, Spare: 1, Surge: 1}
	set, err := objects.Parse([]byte(`
kind: Pod
metadata: {name: web-h2-c, namespace: ns1, uid: uc, labels: {pod-template-hash: h2}, annotations: {k8s.v1.cni.galaxy.io/release-policy: immutable}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-h2, controller: true}]}
spec: {containers: [{name: c, resources: {requests: {tke.cloud.tencent.com/eni-ip: "1"}}}]}
`), s.now)
	if err != nil {
		t.Fatal(err)
	}
	bind := func(pod string) {
		owner := app
		owner.Pod = pod
		if failure := s.do(allocator.Bind{Node: "node1", NodeNetwork: netip.MustParsePrefix("10.0.0.0/24"),
			Pod: allocator.Pod{Owner: owner, UID: pod, Policy: ipam.Immutable, Workload: workload}}); failure != "" {
			t.Fatal(failure)
		}
	}
	notices := func(w allocator.Workload) string {
		e := set.Edit()
		e.PutWorkload(app, w)
		plan := reconciler.Decide(reconciler.Input{New: e.Done(s.now), View: s.replica.View(), Full: true, Live: true},
			reconciler.Rules{})
		var said []string
		for _, n := range plan.Notices {
			said = append(said, n.Pod.String()+" "+n.Reason+" "+n.Message)
		}
		return strings.Join(said, "\n")
	}
	bind("web-h1-a")
	if got := notices(workload); got != "" {
		t.Errorf("an address is free: %s", got)
	}
	bind("web-h1-b")
	if got := notices(workload); !strings.HasPrefix(got, "ns1/web-h2-c FloatingIPRolloutWaits") ||
		!strings.Contains(got, "keeps its 2 addresses for 2 replicas") {
		t.Errorf("no address is free: %q", got)
	}
	strategy := workload
	strategy.Surge = 0
	if got := notices(strategy); got != "" {
		t.Errorf("old pods give way: %s", got)
	}
}
