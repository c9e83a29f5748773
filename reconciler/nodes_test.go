package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/eventlog/memlog"
	"galaxy/ipam"
	"galaxy/lease"
)

// nodesHarness is a stream nodes that is led, and agents that a test announces.
type nodesHarness struct {
	replica *allocator.Replica
	mu      sync.Mutex
	now     time.Time
}

func (b *nodesHarness) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *nodesHarness) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func newNodesHarness(t *testing.T) *nodesHarness {
	t.Helper()
	b := &nodesHarness{now: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}
	ctx, cancel := context.WithCancel(context.Background())
	replica, err := allocator.NewReplica(ctx,
		allocator.Config{Log: memlog.New(), Stream: eventlog.StreamNodes, Actor: "test", Now: b.clock}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.replica = replica
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = replica.Lead(ctx, eventlog.Fence{})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return b
}

// states are the nodes in words, such as "a 10.0.0.0/24; b lost".
func (b *nodesHarness) states() string {
	var all []string
	for n := range b.replica.View().Nodes() {
		text := n.Name
		for _, s := range n.Subnets {
			text += " " + s.String()
		}
		if !n.Alive() {
			text += " lost"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func (b *nodesHarness) await(t *testing.T, want string) {
	t.Helper()
	for range 1000 {
		if b.states() == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
		b.pass(100 * time.Millisecond) // the silence of an agent has to last
	}
	t.Fatalf("the nodes are %q, want %q", b.states(), want)
}

func overlayOf(t *testing.T, text string) []ipam.OverlayNetwork {
	t.Helper()
	networks, err := ipam.ParseOverlay([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return networks
}

// Agents come, go, return and never return, on the leases of a real etcd.
func TestNodesFollowLeases(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client(t)
	b := newNodesHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	prefix := lease.NodesPrefix("/galaxy")
	var deleted sync.Map
	var reported sync.Map
	n := &Nodes{
		Replica: b.replica, Prefix: prefix, Overlay: overlayOf(t, `[{"cidr":"10.0.0.0/23","nodePrefix":24}]`),
		Source: "test", Keep: time.Hour,
		Alive: func(ctx context.Context) iter.Seq2[[]lease.Change, error] { return lease.Watch(ctx, client, prefix) },
		Deleted: func(name string) bool {
			_, gone := deleted.Load(name)
			return gone
		},
		Report: func(node, reason, _ string) { reported.Store(node, reason) },
		Now:    b.clock, Log: zap.NewNop(),
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	announce := func(name string) *lease.Announcement {
		t.Helper()
		value, err := json.Marshal(ipam.Announcement{Node: name, Machine: "m-" + name,
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := lease.Announce(ctx, client, prefix+name, value, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	stop := func(a *lease.Announcement) {
		t.Helper()
		if err := a.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	a := announce("a")
	b.await(t, "a 10.0.0.0/24")
	second := announce("b")
	b.await(t, "a 10.0.0.0/24; b 10.0.1.0/24")
	b.pass(settleFor)
	stop(a)
	b.await(t, "a 10.0.0.0/24 lost; b 10.0.1.0/24")
	a = announce("a") // a reboot
	b.await(t, "a 10.0.0.0/24; b 10.0.1.0/24")
	third := announce("c")
	b.await(t, "a 10.0.0.0/24; b 10.0.1.0/24; c")
	for range 100 {
		if _, found := reported.Load("c"); found {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if reason, _ := reported.Load("c"); reason != eventNoSpace || n.Waiting() != 1 {
		t.Errorf("node c finds no subnet, and gets %v; %d wait", reason, n.Waiting())
	}
	stop(second)
	b.await(t, "a 10.0.0.0/24; b 10.0.1.0/24 lost; c")
	deleted.Store("b", true)
	b.await(t, "a 10.0.0.0/24; c 10.0.1.0/24")
	stop(third)
	b.await(t, "a 10.0.0.0/24; c 10.0.1.0/24 lost")
	b.pass(time.Hour + time.Second)
	b.await(t, "a 10.0.0.0/24")
	stop(a)
	b.await(t, "a 10.0.0.0/24 lost")
}

// silentHarness is a leader with nodes that have joined, on a clock that a test moves.
type silentHarness struct {
	*nodesHarness
	n *Nodes
}

func newSilentHarness(t *testing.T, nodes int) *silentHarness {
	t.Helper()
	b := &silentHarness{nodesHarness: newNodesHarness(t)}
	for !b.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	b.n = &Nodes{Replica: b.replica, Overlay: overlayOf(t, `[{"cidr":"10.0.0.0/16"}]`), Now: b.clock, Log: zap.NewNop(),
		Keep: time.Hour}
	b.n.alive, b.n.bad = map[string]ipam.Announcement{}, map[string]string{}
	for i := range nodes {
		b.announce(i)
	}
	if alive := b.alive(t); alive != nodes {
		t.Fatalf("%d of %d nodes have joined", alive, nodes)
	}
	b.pass(settleFor)
	return b
}

func (b *silentHarness) announce(i int) {
	name := fmt.Sprintf("n%d", i)
	b.n.alive[name] = ipam.Announcement{Node: name, Machine: name, TTL: 30,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}}
}

func (b *silentHarness) silence(i int) { delete(b.n.alive, fmt.Sprintf("n%d", i)) }

// alive is how many nodes the log takes for alive, once what is to be decided now is.
func (b *silentHarness) alive(t *testing.T) (alive int) {
	t.Helper()
	for range 3 { // what follows from the step before
		b.n.reconcile(t.Context())
	}
	for node := range b.replica.View().Nodes() {
		if node.Alive() {
			alive++
		}
	}
	return alive
}

// The loss of some nodes, up to half, is believed a third of a lease after it: others that the same failure has
// silenced are silent by then, too.
func TestSomeLossesAreBelieved(t *testing.T) {
	b := newSilentHarness(t, 10)
	for i := range 5 {
		b.silence(i)
	}
	if alive := b.alive(t); alive != 10 {
		t.Errorf("at once %d are alive", alive)
	}
	b.pass(10 * time.Second)
	if alive := b.alive(t); alive != 5 {
		t.Errorf("half of the nodes are silent, and %d are alive", alive)
	}
	b.announce(0)
	if alive := b.alive(t); alive != 6 {
		t.Errorf("one is back, and %d are alive", alive)
	}
}

// Leases that end one after the other are one loss: none is believed, and those that were believed before the others
// followed are taken back. What lasts is believed in the end.
func TestManyLossesAreDoubted(t *testing.T) {
	b := newSilentHarness(t, 7)
	for i := 1; i < 7; i++ {
		b.silence(i)
		if alive := b.alive(t); alive != 7 {
			t.Fatalf("after %d leases have ended, %d nodes are alive", i, alive)
		}
		b.pass(500 * time.Millisecond)
	}
	b.pass(time.Minute)
	if alive := b.alive(t); alive != 7 || b.n.Silent() != 6 {
		t.Errorf("%d are alive, %d are known to be silent", alive, b.n.Silent())
	}
	b.pass(massDoubt)
	if alive := b.alive(t); alive != 1 {
		t.Errorf("after %s %d are alive", massDoubt, alive)
	}
	// A slow failure: the first three are believed before the fourth shows that something else is wrong.
	b = newSilentHarness(t, 7)
	for i := 1; i <= 3; i++ {
		b.silence(i)
		b.alive(t)
		b.pass(11 * time.Second)
	}
	if alive := b.alive(t); alive != 4 {
		t.Errorf("three are silent, and %d are alive", alive)
	}
	b.silence(4)
	if alive := b.alive(t); alive != 7 {
		t.Errorf("many are silent, and of those that were believed lost %d are alive", alive)
	}
}

// A node whose kubelet is heard runs its pods, however silent its agent is.
func TestReadyNodesAreNotLost(t *testing.T) {
	b := newSilentHarness(t, 4)
	ready := true
	var reports []string
	b.n.Ready = func(name string) bool { return ready && name == "n1" }
	b.n.Report = func(node, reason, _ string) { reports = append(reports, node+" "+reason) }
	b.silence(1)
	b.silence(2)
	b.alive(t)
	b.pass(time.Hour)
	if alive := b.alive(t); alive != 3 || !slices.Equal(reports, []string{"n1 " + eventSilent}) {
		t.Errorf("%d are alive, reports were %v", alive, reports)
	}
	ready = false
	if alive := b.alive(t); alive != 2 {
		t.Errorf("its kubelet is silent, too, and %d are alive", alive)
	}
}

// At no moment are more nodes lost than may be, whatever ends and comes back, but for what is silent for long.
func TestLossLaw(t *testing.T) {
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 0))
		b := newSilentHarness(t, 6)
		for range 15 {
			if i := random.IntN(6); random.IntN(2) == 0 {
				b.silence(i)
			} else {
				b.announce(i)
			}
			b.alive(t)
			b.pass(time.Duration([]int{0, 1, 5, 11}[random.IntN(4)]) * time.Second)
			if alive := b.alive(t); 6-alive > manyLosses(6) {
				t.Fatalf("seed %d: %d of 6 are alive", seed, alive)
			}
		}
	}
}

// A new leader may have come with an etcd that was away: it believes in no loss before the agents had time to come back
// to it.
func TestNewLeaderBelievesInNoLoss(t *testing.T) {
	b := newNodesHarness(t)
	for !b.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	agents := func() map[string]ipam.Announcement {
		return map[string]ipam.Announcement{"a": {Node: "a", Machine: "a",
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	}
	networks := overlayOf(t, `[{"cidr":"10.0.0.0/23","nodePrefix":24}]`)
	before := &Nodes{Replica: b.replica, Overlay: networks, Now: b.clock, Log: zap.NewNop(), Keep: time.Hour,
		alive: agents()}
	for range 3 {
		before.reconcile(t.Context())
	}
	after := &Nodes{Replica: b.replica, Overlay: networks, Now: b.clock, Log: zap.NewNop(), Keep: time.Hour}
	after.reconcile(t.Context())
	b.pass(settleFor - time.Second)
	after.reconcile(t.Context())
	if got := b.states(); got != "a 10.0.0.0/24" {
		t.Errorf("a leader who is new has made of the nodes %q", got)
	}
	b.pass(time.Second)
	after.reconcile(t.Context())
	if got := b.states(); got != "a 10.0.0.0/24 lost" {
		t.Errorf("the agent has not come back, and the nodes are %q", got)
	}
}

// What is not understood is reports once, and loses nobody.
func TestBadAnnouncements(t *testing.T) {
	var kinds []string
	n := &Nodes{Prefix: "/p/", Log: zap.NewNop(), CountError: func(kind string) { kinds = append(kinds, kind) }}
	n.alive, n.bad = map[string]ipam.Announcement{}, map[string]string{}
	good := []byte(`{"node":"a","machine":"m","addresses":["192.0.2.1"]}`)
	n.note([]lease.Change{{Key: "/p/a", Value: good}})
	for range 3 {
		n.note([]lease.Change{{Key: "/p/a", Value: []byte("nonsense")}, {Key: "/p/b", Value: good}})
	}
	if !slices.Equal(kinds, []string{"node", "node"}) || len(n.alive) != 1 {
		t.Errorf("counted %v, alive %v", kinds, n.alive)
	}
	n.note([]lease.Change{{Key: "/p/a", Value: good}})
	n.note([]lease.Change{{Key: "/p/a", Value: []byte("nonsense")}})
	if len(kinds) != 3 {
		t.Errorf("what is wrong again, after it was right, is counted: %v", kinds)
	}
}

// What an agent cannot have said is said to be so on its Node, once, and changes nothing.
func TestAnnouncementsNotUnderstood(t *testing.T) {
	var reports []string
	n := &Nodes{Prefix: "nodes/", Log: zap.NewNop(), alive: map[string]ipam.Announcement{}, bad: map[string]string{}}
	n.Report = func(node, reason, message string) { reports = append(reports, node+" "+reason+" "+message) }
	for range 2 {
		n.note([]lease.Change{{Key: "nodes/n1", Value: make([]byte, ipam.MaxAnnouncement+1)},
			{Key: "nodes/n2", Value: []byte(`{"node":"n1","machine":"m","addresses":["192.0.2.1"]}`)}})
	}
	if len(reports) != 2 || !strings.Contains(reports[0], "n1 GalaxyAgentNotUnderstood it has 65537 bytes") ||
		!strings.Contains(reports[1], "says that it is of node \"n1\"") || len(n.alive) > 0 {
		t.Errorf("alive %v, reports %q", n.alive, reports)
	}
}

// A node is where its Node says, or in a network that the configuration names: whoever has a node's user in etcd cannot
// have all nodes send elsewhere. What it is not known by is said on the Node, once, and loses nobody.
func TestAddressesOfOthers(t *testing.T) {
	b := newNodesHarness(t)
	for !b.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	var reports []string
	own, elsewhere := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	known := true
	n := &Nodes{
		Replica: b.replica, Overlay: overlayOf(t, `[{"cidr":"10.0.0.0/22","nodePrefix":24}]`), Now: b.clock,
		Log: zap.NewNop(), Keep: time.Hour,
		Has:    func(_ string, addr netip.Addr) (bool, bool) { return addr == own, known },
		Report: func(node, reason, message string) { reports = append(reports, node+" "+reason+" "+message) },
		alive:  map[string]ipam.Announcement{},
	}
	announce := func(addrs ...netip.Addr) (announced []netip.Addr) {
		t.Helper()
		n.alive["a"] = ipam.Announcement{Node: "a", Machine: "a", Addresses: addrs}
		for range 3 {
			n.reconcile(t.Context())
		}
		b.pass(changeEvery)
		if node := b.replica.View().Node("a"); node != nil {
			return node.Addresses
		}
		return nil
	}
	if got := announce(elsewhere); got != nil {
		t.Errorf("a node has joined at %v", got)
	}
	if len(reports) != 1 || !strings.Contains(reports[0],
		"a GalaxyAgentNotUnderstood the galaxy agent of this node announces [198.51.100.7]") {
		t.Errorf("reports: %q", reports)
	}
	if got := announce(own, elsewhere); !slices.Equal(got, []netip.Addr{own}) {
		t.Errorf("a node is at %v", got)
	}
	if got := announce(elsewhere); !slices.Equal(got, []netip.Addr{own}) || !b.replica.View().Node("a").Alive() {
		t.Errorf("a node that announces another's address is at %v", got)
	}
	n.Networks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	if got := announce(elsewhere); !slices.Equal(got, []netip.Addr{elsewhere}) {
		t.Errorf("a node that is reached elsewhere is at %v", got)
	}
	n.Networks, known = nil, false
	if got := announce(own, elsewhere); len(got) != 2 {
		t.Errorf("a node of which the cluster says nothing is at %v", got)
	}
	if len(reports) != 1 {
		t.Errorf("reports: %q", reports)
	}
}

// A node that changes what it announces again and again writes one event in a while, and is reports of once.
func TestHastyNode(t *testing.T) {
	b := newNodesHarness(t)
	for !b.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	reports := 0
	n := &Nodes{
		Replica: b.replica, Overlay: overlayOf(t, `[{"cidr":"10.0.0.0/22","nodePrefix":24}]`), Now: b.clock,
		Log: zap.NewNop(), Keep: time.Hour,
		Report: func(string, string, string) { reports++ }, alive: map[string]ipam.Announcement{},
	}
	for i := range 100 {
		n.alive["a"] = ipam.Announcement{Node: "a", Machine: fmt.Sprint("m", i%2),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}}
		for range 3 {
			n.reconcile(t.Context())
		}
		b.pass(changeEvery / 10)
	}
	events := b.replica.View().Position().Head.Seq
	if events < 10 || events > 14 || reports != 1 {
		t.Errorf("100 changes in ten intervals made %d events, and were reported %d times", events, reports)
	}
	b.pass(changeEvery)
	n.reconcile(t.Context())
	if node := b.replica.View().Node("a"); node.Machine != "m1" || node.Addresses[0].As4()[3] != 99 {
		t.Errorf("the newest announcement is not in force: %+v", node)
	}
}

// One command that fails keeps no other node from joining.
func TestOneNodeKeepsNoOtherOut(t *testing.T) {
	b := newNodesHarness(t)
	for !b.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	n := &Nodes{Replica: b.replica, Overlay: overlayOf(t, `[{"cidr":"10.0.0.0/16","nodePrefix":24}]`), Now: b.clock,
		Log: zap.NewNop(), Keep: time.Hour}
	n.alive = map[string]ipam.Announcement{}
	for i := range 2 * nodesAtOnce {
		// no address: JoinNode refuses it
		n.alive[fmt.Sprintf("a%03d", i)] = ipam.Announcement{Node: fmt.Sprintf("a%03d", i), Machine: "m"}
		n.alive[fmt.Sprintf("b%03d", i)] = ipam.Announcement{Node: fmt.Sprintf("b%03d", i), Machine: "m",
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	}
	for range 3 {
		n.reconcile(t.Context())
	}
	joined := 0
	for range b.replica.View().Nodes() {
		joined++
	}
	if joined != 2*nodesAtOnce {
		t.Errorf("%d of %d good nodes have joined", joined, 2*nodesAtOnce)
	}
}

// A node whose announcement is not understood keeps its lease, so that it is neither lost nor its subnet another's,
// also under a new leader.
func TestUnclearNodeIsNotLost(t *testing.T) {
	b := newNodesHarness(t)
	for !b.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	networks := overlayOf(t, `[{"cidr":"10.0.0.0/23","nodePrefix":24}]`)
	agents := map[string]ipam.Announcement{"a": {Node: "a", Machine: "a",
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	before := &Nodes{Replica: b.replica, Overlay: networks, Now: b.clock, Log: zap.NewNop(), Keep: time.Hour,
		alive: agents}
	for range 3 {
		before.reconcile(t.Context())
	}
	after := &Nodes{
		Replica: b.replica, Overlay: networks, Now: b.clock, Log: zap.NewNop(), Keep: time.Hour, Prefix: "/p/",
		alive: map[string]ipam.Announcement{}, bad: map[string]string{},
	}
	after.note([]lease.Change{{Key: "/p/a", Value: []byte(`{"node":"a","machine":"a","addresses":["127.0.0.1"]}`)}})
	for range 10 {
		after.reconcile(t.Context())
		b.pass(time.Hour)
	}
	if got := b.states(); got != "a 10.0.0.0/24" {
		t.Errorf("a node whose lease lasts is %q", got)
	}
	after.note([]lease.Change{{Key: "/p/a", Gone: true}})
	for range 3 {
		after.reconcile(t.Context())
		b.pass(10 * time.Minute)
	}
	if got := b.states(); got != "a 10.0.0.0/24 lost" {
		t.Errorf("a node whose lease has ended is %q", got)
	}
}
