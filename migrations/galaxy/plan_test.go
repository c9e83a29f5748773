package galaxy_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/migrations/galaxy"
)

const subnets = `[{"nodeSubnets":["172.21.64.0/20"],"ips":["192.168.64.2~192.168.64.120"],"subnet":"192.168.64.0/24","gateway":"192.168.64.1"}]`

// cluster is what a plan asks of a cluster.
type cluster struct {
	pods map[string]*kube.Pod
	seen map[netip.Addr][]allocator.Occupant
}

func (c cluster) Pod(_, name string) *kube.Pod                   { return c.pods[name] }
func (c cluster) Occupants(addr netip.Addr) []allocator.Occupant { return c.seen[addr] }
func (c cluster) Workload(owner ipam.Owner) allocator.Workload {
	return allocator.Workload{Exists: owner.Kind == ipam.KindReplicaSet && owner.App == "bare"}
}

// newReplica is a leader on a log in memory with the subnets in force.
func newReplica(t *testing.T) *allocator.Replica {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	replica, err := allocator.NewReplica(ctx, allocator.Config{Log: memlog.New(), Actor: "test", Now: time.Now}, nil)
	if err != nil {
		t.Fatal(err)
	}
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
	config, err := ipam.ParseConfig([]byte(subnets))
	if err == nil {
		_, err = replica.Do(ctx, "test", allocator.Configure{Source: "test", Subnets: config})
	}
	if err != nil {
		t.Fatal(err)
	}
	return replica
}

func parse(t *testing.T, file string) galaxy.Objects {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := galaxy.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// TestPlan plays testdata/plan.txt: running names pods that run; seen has a pod show an address; plan FILE; apply
// carries the last plan out, and shows what is held then.
func TestPlan(t *testing.T) {
	c := cluster{pods: map[string]*kube.Pod{}, seen: map[netip.Addr][]allocator.Occupant{}}
	replica := newReplica(t)
	var plan galaxy.Plan
	datadriven.RunTest(t, "testdata/plan.txt", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "running":
			for name := range strings.FieldsSeq(d.Input) {
				c.pods[name] = &kube.Pod{Namespace: "shop", Name: name, UID: "u-" + name}
			}
			return ""
		case "seen":
			var ip, pod, uid string
			d.ScanArgs(t, "ip", &ip)
			d.ScanArgs(t, "pod", &pod)
			d.ScanArgs(t, "uid", &uid)
			c.seen[netip.MustParseAddr(ip)] = []allocator.Occupant{{Pod: "shop/" + pod, UID: uid, ByKubelet: true}}
			return ""
		case "plan":
			plan = galaxy.Decide(parse(t, d.CmdArgs[0].Key), replica.View(), c, galaxy.PoolNamespaces{"kube-system"})
			return show(plan)
		case "apply":
			done, err := galaxy.Apply(t.Context(), replica, plan, nil)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			text := fmt.Sprintf("taken %d, known %d, left %d\n", done.Count(galaxy.Take), done.Count(galaxy.Known),
				done.Count(galaxy.Leave))
			for a := range replica.View().Addresses(netip.Addr{}) {
				text += fmt.Sprintf("%s %s %s %s uid=%s on %s\n", a.Addr, a.State(), a.Owner, a.Policy, a.PodUID,
					a.Node)
			}
			return text
		default:
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		}
	})
}

func show(p galaxy.Plan) string {
	var b strings.Builder
	for _, item := range p.Items {
		fmt.Fprintf(&b, "%s %s %s %s %s: %s %s\n", item.Kind, item.Name, item.Key, item.Policy, item.State,
			item.Verdict, item.Why)
	}
	fmt.Fprintf(&b, "take %d, known %d, leave %d\n", p.Count(galaxy.Take), p.Count(galaxy.Known), p.Count(galaxy.Leave))
	return b.String()
}

// cut is a replica that fails after some commands.
type cut struct {
	*allocator.Replica
	left atomic.Int32
}

func (c *cut) Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error) {
	if c.left.Add(-1) < 0 {
		return allocator.Result{}, errors.New("cut")
	}
	return c.Replica.Do(ctx, cause, command)
}

// An import that is cut anywhere is not resolved, and goes on where it was when it is repeated; nothing is taken twice.
func TestApplyIsResumed(t *testing.T) {
	objects := parse(t, "left.yaml")
	c := cluster{}
	whole := newReplica(t)
	if _, err := galaxy.Apply(t.Context(), whole,
		galaxy.Decide(objects, whole.View(), c, galaxy.PoolNamespaces{"kube-system"}), nil); err != nil {
		t.Fatal(err)
	}
	replica := newReplica(t)
	if _, err := replica.Do(t.Context(), "test", allocator.FindFormer{Source: galaxy.Source, Objects: 36}); err != nil {
		t.Fatal(err)
	}
	for attempts := 0; ; attempts++ {
		broken := &cut{Replica: replica}
		broken.left.Store(7)
		_, err := galaxy.Apply(t.Context(), broken,
			galaxy.Decide(objects, replica.View(), c, galaxy.PoolNamespaces{"kube-system"}), nil)
		if err == nil {
			break
		}
		if !replica.View().Origin().Awaits() && replica.View().Pool("blue") == nil && attempts < 4 {
			t.Fatalf("after attempt %d it is resolved, and not all was taken", attempts)
		}
		if attempts > 20 {
			t.Fatal("it does not end")
		}
	}
	if replica.View().Origin().Awaits() {
		t.Error("it is not resolved")
	}
	describe := func(r *allocator.Replica) (all []string) {
		for a := range r.View().Addresses(netip.Addr{}) {
			all = append(all, fmt.Sprint(a.Addr, a.Owner, a.Policy, a.PodUID, a.Node, a.Labelled))
		}
		return all
	}
	if got, want := strings.Join(describe(replica), "\n"), strings.Join(describe(whole), "\n"); got != want {
		t.Errorf("in parts it took\n%s\nwant\n%s", got, want)
	}
}

// A preview answers for the subnets of the file as if they were in force.
func TestPreview(t *testing.T) {
	config, err := ipam.ParseConfig([]byte(subnets))
	if err != nil {
		t.Fatal(err)
	}
	view, err := galaxy.Preview("file", config)
	if err != nil {
		t.Fatal(err)
	}
	if got := view.Config(); got.Source != "file" || len(got.Subnets) != 1 || got.Subnets[0].Gateway != config[0].Gateway {
		t.Errorf("in force is %+v", got)
	}
}

// The record of an import counts FloatingIP objects alone, and which of them were left.
func TestWhatIsRecorded(t *testing.T) {
	replica := newReplica(t)
	objects := parse(t, "left.yaml")
	if _, err := replica.Do(t.Context(), "test", allocator.FindFormer{Source: galaxy.Source, Objects: 36}); err != nil {
		t.Fatal(err)
	}
	plan, err := galaxy.Apply(t.Context(), replica,
		galaxy.Decide(objects, replica.View(), cluster{}, galaxy.PoolNamespaces{"kube-system"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	of, left := 0, 0
	for _, item := range plan.Items {
		if item.Kind == "FloatingIP" {
			of++
			if item.Verdict == galaxy.Leave {
				left++
			}
		}
	}
	if origin := replica.View().Origin(); origin.Awaits() || origin.Left != left || origin.Objects != of || left == 0 ||
		left == of {
		t.Errorf("%+v is recorded of %d objects, of which %d are left", origin, of, left)
	}
}

// What is waited for is said once, and taken back once somebody has said what is to become of it.
func TestWaitsIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replica := newReplica(t)
		if _, err := replica.Do(t.Context(), "test", allocator.FindFormer{Source: galaxy.Source, Objects: 3}); err != nil {
			t.Fatal(err)
		}
		var said []string
		r := &galaxy.Resolver{Replica: replica, Choice: galaxy.Wait, Log: zap.NewNop(),
			Waits: func(reason string) { said = append(said, reason) }}
		time.AfterFunc(10*time.Second, func() {
			if _, err := replica.Do(t.Context(), "test", allocator.ResolveFormer{Source: galaxy.Source,
				Outcome: eventlog.FormerImported, Objects: 3}); err != nil {
				t.Error(err)
			}
		})
		if err := r.Run(t.Context()); err != nil || len(said) != 2 || !strings.Contains(said[0], "3") || said[1] != "" {
			t.Errorf("%v, said was %q", err, said)
		}
	})
}
