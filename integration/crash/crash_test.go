package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/embedded"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/ipam"
	"galaxy/projections"
)

// acknowledged is the responses that callers got.
type acknowledged struct {
	mu       sync.Mutex
	bound    map[string]ipam.Owner     // uids of pods whose bind was acknowledged
	released map[ipam.Owner]netip.Addr // owners whose release was acknowledged
	asked    map[ipam.Owner]bool       // owners whose release was asked for, acknowledged or not
}

// load asks for addresses, and gives some back, until it is stopped. A request without a response is made again.
type load struct {
	process *process
	next    atomic.Int64
	facts   acknowledged
	wg      sync.WaitGroup
	stop    context.CancelFunc
}

func startLoad(p *process, callers int) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{process: p, stop: stop, facts: acknowledged{bound: map[string]ipam.Owner{},
		released: map[ipam.Owner]netip.Addr{}, asked: map[ipam.Owner]bool{}}}
	for range callers {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				l.onePod(ctx, int(l.next.Add(1)))
			}
		})
	}
	return l
}

func (l *load) end() *acknowledged {
	l.stop()
	l.wg.Wait()
	return &l.facts
}

// ownerOf is the pod with a number: every third of a StatefulSet, the others of a Deployment, of which half are
// immutable.
func ownerOf(i int) (owner ipam.Owner, policy string) {
	if i%3 == 0 {
		return ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "ns", App: "db", Pod: fmt.Sprintf("db-%d", i)},
			"immutable"
	}
	if i%2 == 0 {
		policy = "immutable"
	}
	return ipam.Owner{Kind: ipam.KindDeployment, Namespace: "ns", App: "web", Pod: fmt.Sprintf("web-abc-%d", i)}, policy
}

func filterBody(i int) string {
	owner, policy := ownerOf(i)
	reference, labels := map[string]any{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db",
		"controller": true}, map[string]string{}
	if owner.Kind == ipam.KindDeployment {
		reference["kind"], reference["name"] = "ReplicaSet", "web-abc"
		labels["pod-template-hash"] = "abc"
	}
	text, err := json.Marshal(map[string]any{"NodeNames": []string{"n0", "n1"}, "Pod": map[string]any{
		"metadata": map[string]any{
			"name": owner.Pod, "namespace": owner.Namespace, "uid": fmt.Sprintf("uid-%d", i), "labels": labels,
			"ownerReferences": []any{reference},
			"annotations":     map[string]string{"k8s.v1.cni.galaxy.io/release-policy": policy},
		},
		"spec": map[string]any{"containers": []any{map[string]any{"resources": map[string]any{"requests": map[string]string{"tke.cloud.tencent.com/eni-ip": "1"}}}}},
	}})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// onePod is filter and bind of a pod, and of some the release by an administrator.
func (l *load) onePod(ctx context.Context, i int) {
	owner, _ := ownerOf(i)
	bind := fmt.Sprintf(`{"PodName":%q,"PodNamespace":"ns","PodUID":"uid-%d","Node":"n%d"}`, owner.Pod, i, i%2)
	for ctx.Err() == nil {
		if _, err := l.process.post(ctx, l.process.scheduler+"/v1/filter", filterBody(i)); err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		response, err := l.process.post(ctx, l.process.scheduler+"/v1/bind", bind)
		if err == nil && response == `{"Error":""}` {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if ctx.Err() != nil {
		return
	}
	l.facts.mu.Lock()
	l.facts.bound[fmt.Sprintf("uid-%d", i)] = owner
	l.facts.mu.Unlock()
	if i%4 == 0 {
		l.release(ctx, owner)
	}
}

func (l *load) release(ctx context.Context, owner ipam.Owner) {
	var page struct{ Content []struct{ IP netip.Addr } }
	for ctx.Err() == nil {
		text, err := l.process.get(ctx, "/v1/ip?namespace=ns&podName="+owner.Pod)
		if err == nil && json.Unmarshal([]byte(text), &page) == nil && len(page.Content) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	l.facts.mu.Lock()
	l.facts.asked[owner] = true
	l.facts.mu.Unlock()
	for ctx.Err() == nil {
		body := fmt.Sprintf(`{"force":true,"ips":[{"ip":%q,"namespace":"ns","appName":%q,"appType":%q,"podName":%q}]}`,
			page.Content[0].IP, owner.App, owner.Kind, owner.Pod)
		response, err := l.process.post(ctx, l.process.rest+"/v1/ip", body)
		var said struct{ Code int }
		if err == nil && json.Unmarshal([]byte(response), &said) == nil && said.Code == 200 {
			l.facts.mu.Lock()
			l.facts.released[owner] = page.Content[0].IP
			l.facts.mu.Unlock()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// truth replays the log in the etcd that the dead program has left, which refuses an address held twice, a missing
// number and a broken hash.
func truth(t *testing.T, p *process) (*projections.View, map[string]ipam.Owner) {
	t.Helper()
	etcd, err := embedded.Start(embedded.Config{Dir: p.path("etcd"), ClientURL: "http://127.0.0.1:0",
		Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	ctx := etcdtest.Context(t)
	log, err := etcdlog.Open(ctx, etcdtest.Client(t, etcd.Endpoints()...), etcdlog.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	db := projections.New(log.Generation().ID)
	if err := db.CatchUp(ctx, log.Read(ctx, eventlog.StreamIPAM, 0, 0), projections.Until{}, nil); err != nil {
		t.Fatal("replay:", err)
	}
	bound := map[string]ipam.Owner{}
	for records, err := range log.Read(ctx, eventlog.StreamIPAM, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			e, err := eventlog.Decode(r)
			if err != nil {
				t.Fatal(err)
			}
			switch d := e.Data.(type) {
			case *eventlog.AddressAllocated:
				bound[d.PodUID] = d.Owner
			case *eventlog.AddressBound:
				bound[d.PodUID] = d.Owner
			}
		}
	}
	fromSnapshot, err := projections.Load(ctx, log, eventlog.StreamIPAM, projections.Until{}, nil)
	if err != nil || fromSnapshot.View().Digest() != db.View().Digest() {
		t.Fatalf("the snapshots and the whole log give different states: %v", err)
	}
	return db.View(), bound
}

func (f *acknowledged) compare(t *testing.T, p *process) {
	t.Helper()
	view, bound := truth(t, p)
	for uid, owner := range f.bound {
		if bound[uid] != owner {
			t.Errorf("the bind of %s (%s) was acknowledged, and is not in the log", owner, uid)
		}
		_, released := f.released[owner]
		if f.asked[owner] && !released {
			continue // its caller was stopped before it was answered
		}
		held := false
		for a := range view.Held(owner) {
			held = held || a.PodUID == uid
		}
		if held == released {
			t.Errorf("%s: held %t, although its release was acknowledged: %t", owner, held, released)
		}
	}
	t.Logf("%d binds and %d releases acknowledged, %d events in the log", len(f.bound), len(f.released),
		view.Position().Head.Seq)
	if len(f.bound) < 50 || len(f.released) < 5 {
		t.Fatal("too little was done for the test to prove anything")
	}
}

// TestKill is SIGKILL in a loop under load.
func TestKill(t *testing.T) {
	p := newProcess(t)
	p.start()
	l := startLoad(p, 32)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	for range 7 {
		time.Sleep(300*time.Millisecond + time.Duration(chance.IntN(900))*time.Millisecond)
		p.kill()
		p.start()
	}
	time.Sleep(300 * time.Millisecond)
	facts := l.end()
	p.terminate()
	facts.compare(t, p)
}

// TestTerminate is SIGTERM under load: what is in hand is finished, and what was acknowledged is there.
func TestTerminate(t *testing.T) {
	p := newProcess(t)
	p.start()
	l := startLoad(p, 32)
	time.Sleep(time.Second)
	p.terminate()
	l.end().compare(t, p)
}

// TestNoWaitForTheDead: whoever opens the folder of an embedded etcd knows that the process before it has ended, and
// waits for no lease.
func TestNoWaitForTheDead(t *testing.T) {
	p := newProcess(t)
	p.lease = "5m" // far longer than start waits
	p.start()
	for range 2 {
		p.kill()
		p.start()
	}
	p.terminate()
}
