package extender_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/extender"
	"galaxy/extender/extendertest"
	"galaxy/extender/forward"
	"galaxy/extender/metrics"
	"galaxy/extender/rest"
	"galaxy/extender/scheduler"
	"galaxy/kube/objects"
)

const fixture = extendertest.Subnets

var (
	ask      = extendertest.Ask
	raw      = extendertest.Raw
	nodeText = extendertest.NodeText
	nodeIPs  = extendertest.NodeIPs
	podText  = extendertest.PodText
)

// harness is some replicas on one log in memory, of which at most one leads.
type harness struct {
	t        *testing.T
	log      *memlog.Log
	set      *objects.Set
	members  []*member
	revision int64
	holder   atomic.Pointer[forward.Peer] // nil: nobody leads
	reads    atomic.Int64                 // of who leads
	events   sync.WaitGroup               // that happen later
}

// member is one replica with its ports.
type member struct {
	harness         *harness
	replica         *allocator.Replica
	forwarder       *forward.Forwarder
	scheduler, rest *httptest.Server
	passed          atomic.Int64 // requests that other replicas have passed on to it
	stop            func()       // ends following or leading
}

var errNobody = errors.New("nobody leads")

// newHarness makes followers of one log. The configuration is in the log, and nobody leads.
func newHarness(t *testing.T, size int, tune func(*scheduler.Config, *forward.Config)) *harness {
	t.Helper()
	c := &harness{t: t, log: memlog.New()}
	documents := []string{}
	for i := range 9 {
		name := fmt.Sprintf("sts-%d", i)
		documents = append(documents, podText("ns1", name, "StatefulSet/sts", nil),
			podText("ns1", "pl-"+name, "StatefulSet/pl-sts", map[string]string{"pool": "pl"}))
	}
	c.set = extendertest.ClusterOf(t, time.Now(), documents...)
	for range size {
		c.members = append(c.members, newMember(c, tune))
	}
	t.Cleanup(c.events.Wait) // before the members end
	c.elect(c.members[0])
	configure := allocator.Configure{Source: "test", Subnets: extendertest.SubnetsOf(t, fixture)}
	if _, err := c.members[0].replica.Do(t.Context(), "test", configure); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.members {
		m.caughtUp()
	}
	return c
}

func newMember(c *harness, tune func(*scheduler.Config, *forward.Config)) *member {
	m := &member{harness: c, stop: func() {}}
	name := fmt.Sprintf("replica-%d", len(c.members))
	var err error
	m.replica, err = allocator.NewReplica(c.t.Context(), allocator.Config{Log: c.log, Actor: name, Now: time.Now}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	forwarding := forward.Config{Replica: m.replica, Identity: name, Pause: 5 * time.Millisecond,
		Recheck: 20 * time.Millisecond,
		Leader: func(context.Context) (forward.Peer, error) {
			c.reads.Add(1)
			if peer := c.holder.Load(); peer != nil {
				return *peer, nil
			}
			return forward.Peer{}, errNobody
		}}
	cluster := func() extender.Cluster { return c.set }
	scheduling := scheduler.Config{Replica: m.replica, Cluster: cluster, Log: zap.NewNop(), Timeout: 30 * time.Second}
	if tune != nil {
		tune(&scheduling, &forwarding)
	}
	m.forwarder = forward.New(forwarding)
	scheduling.Forward = m.forwarder
	counted := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(forward.HeaderForwardedBy) != "" {
				m.passed.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	}
	m.scheduler = httptest.NewServer(counted(scheduler.New(scheduling).Handler()))
	m.rest = httptest.NewServer(counted(rest.New(rest.Config{
		Replica: m.replica, Cluster: cluster, Metrics: metrics.New(nil).Handler(), Log: zap.NewNop(), Events: c.log,
		Version: "test", Forward: m.forwarder,
	}).Handler()))
	m.follow()
	c.t.Cleanup(func() {
		m.scheduler.Close()
		m.rest.Close()
		m.stop()
		_ = m.forwarder.Close()
	})
	return m
}

// run replaces what the replica does.
func (m *member) run(what func(context.Context) error) {
	m.stop()
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { _ = what(ctx) })
	m.stop = func() {
		cancel()
		ended.Wait()
	}
}

func (m *member) follow() { m.run(m.replica.Follow) }

func (m *member) peer() *forward.Peer {
	return &forward.Peer{Scheduler: strings.TrimPrefix(m.scheduler.URL, "http://"),
		REST: strings.TrimPrefix(m.rest.URL, "http://")}
}

// fence makes the leader's key that of the next leader: whoever leads now cannot write any more.
func (c *harness) fence() eventlog.Fence {
	c.revision++
	c.log.SetFence("leader", c.revision)
	return eventlog.Fence{Key: "leader", Revision: c.revision}
}

// elect lets a member lead, and all know it.
func (c *harness) elect(m *member) {
	c.t.Helper()
	fence := c.fence()
	m.run(func(ctx context.Context) error { return m.replica.Lead(ctx, fence) })
	for !m.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	c.holder.Store(m.peer())
}

// later lets something happen while requests are on their way.
func (c *harness) later(after time.Duration, what func()) {
	c.events.Go(func() {
		time.Sleep(after)
		what()
	})
}

// kill ends a member with all its connections. Its key stays.
func (m *member) kill() {
	m.scheduler.CloseClientConnections()
	m.scheduler.Close()
	m.rest.CloseClientConnections()
	m.rest.Close()
	m.stop()
}

// caughtUp waits until the member knows all that is in the log.
func (m *member) caughtUp() {
	m.harness.t.Helper()
	head, err := m.harness.log.Head(m.harness.t.Context(), eventlog.StreamIPAM)
	if err != nil {
		m.harness.t.Fatal(err)
	}
	for m.replica.View().Position().Head.Seq < head.Seq {
		time.Sleep(time.Millisecond)
	}
}

func (m *member) bind(n int) (int, string) {
	m.harness.t.Helper()
	var result extenderv1.ExtenderBindingResult
	code := ask(m.harness.t, http.MethodPost, m.scheduler.URL+"/v1/bind", bindBody(n), &result)
	return code, result.Error
}

func bindBody(n int) string {
	return fmt.Sprintf(`{"PodName":"sts-%d","PodNamespace":"ns1","PodUID":"uid-sts-%d","Node":"node4"}`, n, n)
}

// bound reports whether the log says that the pod is bound.
func (c *harness) bound(n int) bool {
	view, err := allocator.NewReplica(c.t.Context(), allocator.Config{Log: c.log, Actor: "reader", Now: time.Now}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for a := range view.View().Held(extendertest.PodOf("sts", n)) {
		return a.Node == "node4"
	}
	return false
}
