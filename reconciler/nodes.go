package reconciler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/lease"
)

// Nodes makes the stream nodes follow the leases of the nodes' agents, while its replica leads: who is there joins and
// gets subnets, who is silent is lost, and who is gone for good gives its subnets back.
type Nodes struct {
	Replica Replica // of the stream nodes
	// Alive yields the keys of the agents, as lease.Watch does; Prefix stands before the names in them.
	Alive  func(ctx context.Context) iter.Seq2[[]lease.Change, error]
	Prefix string
	// Overlay are the networks to put in force; nil: those in the log.
	Overlay []ipam.OverlayNetwork
	Source  string
	Keep    time.Duration // how long a lost node keeps its subnets; DefaultKeep if 0
	// Deleted says that the cluster has had a node and has it no more; nil where nobody can say so.
	Deleted func(name string) bool
	// Ready says that the cluster hears a node's kubelet; nil where nobody can say so.
	Ready func(name string) bool
	// Has says whether the cluster knows a node by an address; known is false while it knows none of the node's. Nil
	// where nobody can say so.
	Has func(name string, addr netip.Addr) (has, known bool)
	// Networks are where nodes are reached at addresses that the cluster does not know them by.
	Networks []netip.Prefix
	// Report shows on a node what is wrong with it. May be nil, as CountError.
	Report     func(node, reason, message string)
	CountError func(kind string)
	Now        func() time.Time
	Log        *zap.Logger

	mu       sync.Mutex
	alive    map[string]ipam.Announcement
	bad      map[string]string // announcements that are not understood, so that each is reported once
	waiting  []string
	silent   map[string]silence   // agents whose leases have ended
	notified map[string]string    // what was said of silent nodes last
	hasty    map[string]time.Time // when it was said last that a node changes its announcement too often
	foreign  map[string]string    // what was said of addresses that nodes are not known by
	shared   map[string]string    // what was said of addresses that several nodes announce
	doubted  int                  // of the nodes, how many are silent and not believed to be lost
	term     time.Time            // when this replica was first seen to lead; zero while it does not
}

// Bounds of Nodes.
const (
	// DefaultKeep is long enough for a reboot, a repair, and a night.
	DefaultKeep = 24 * time.Hour
	// settleFor is how long a new leader believes in no loss: where etcd was away, and with it the leader before, the
	// agents need a while to come back to it as well.
	settleFor = lease.DefaultTTL

	nodesEvery        = 5 * time.Second
	silencePoll       = 200 * time.Millisecond // while a silence is too short to be believed
	nodesAtOnce       = 64
	eventNoSpace      = "OverlayExhausted"
	eventSilent       = "GalaxyAgentSilent"
	eventAgentForeign = "GalaxyAgentNotUnderstood"
)

// Run reconciles on every change of the leases and now and then, until ctx ends.
func (n *Nodes) Run(ctx context.Context) error {
	n.alive, n.bad = map[string]ipam.Announcement{}, map[string]string{}
	if n.Keep == 0 {
		n.Keep = DefaultKeep
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := make(chan []lease.Change)
	go n.watch(watching, changes)
	select { // nobody is lost before it is known who is there
	case first := <-changes:
		n.note(first)
	case <-ctx.Done():
		return nil
	}
	tick := time.NewTicker(nodesEvery)
	defer tick.Stop()
	for {
		again := n.reconcile(ctx)
		select {
		case <-ctx.Done():
			return nil
		case c := <-changes:
			n.note(c)
		case <-tick.C:
		case <-again:
		}
	}
}

func (n *Nodes) watch(ctx context.Context, out chan<- []lease.Change) {
	for changes, err := range n.Alive(ctx) {
		if err != nil {
			return // ctx has ended
		}
		select {
		case out <- changes:
		case <-ctx.Done():
			return
		}
	}
}

// note takes who has come, changed or gone.
func (n *Nodes) note(changes []lease.Change) {
	for _, c := range changes {
		name := strings.TrimPrefix(c.Key, n.Prefix)
		if c.Gone {
			delete(n.alive, name)
			delete(n.bad, name)
			continue
		}
		a, err := ipam.AnnouncementOf(name, c.Value)
		if err != nil {
			if n.bad[name] != err.Error() {
				n.bad[name] = err.Error()
				n.countError("node")
				n.Log.Warn("node announcement invalid", zap.String("node", name), zap.Error(err))
				n.report(name, eventAgentForeign, err.Error())
			}
			continue
		}
		delete(n.bad, name)
		n.alive[name] = a
	}
}

// listen keeps since when each agent is silent that the log takes for alive.
func (n *Nodes) listen(now time.Time) {
	if n.silent == nil {
		n.silent, n.notified = map[string]silence{}, map[string]string{}
	}
	for node := range n.Replica.View().Nodes() {
		a, announced := n.alive[node.Name]
		if _, unclear := n.bad[node.Name]; unclear && !announced {
			delete(n.silent, node.Name)
			continue
		}
		s, before := n.silent[node.Name]
		switch {
		case announced:
			s.lease = a.Lease()
			s.since = time.Time{}
			n.silent[node.Name] = s
		case !before:
			n.silent[node.Name] = silence{since: now, lease: ipam.DefaultLease}
		case s.since.IsZero():
			s.since = now
			n.silent[node.Name] = s
		}
	}
}

// reconcile does what is to be done now. The channel asks for another pass.
func (n *Nodes) reconcile(ctx context.Context) <-chan time.Time {
	if !n.Replica.Leading() {
		n.term = time.Time{}
		return time.After(leaderPoll)
	}
	if n.term.IsZero() {
		n.term = n.Now()
	}
	n.listen(n.Now())
	plan := decideNodes(nodesSeen{
		view: n.Replica.View(), alive: n.alive, unclear: n.bad, now: n.Now(), keep: n.Keep, deleted: n.Deleted,
		overlay: n.Overlay, source: n.Source,
		settling: n.Now().Sub(n.term) < settleFor, silent: n.silent, ready: n.Ready, has: n.Has, networks: n.Networks,
	})
	n.showForeign(plan.foreign)
	n.showShared(plan.shared)
	n.showHasty(plan.hasty)
	n.showLosses(plan.losses)
	n.showWaiting(plan.waiting)
	if len(plan.first)+len(plan.commands) == 0 {
		if plan.losses.soon {
			return time.After(silencePoll)
		}
		return nil
	}
	err := n.do(ctx, plan.first, 1)
	if err == nil {
		err = n.do(ctx, plan.commands, nodesAtOnce)
	}
	if err != nil && ctx.Err() == nil {
		n.countError("node")
		n.Log.Warn("node reconcile failed; retrying", zap.Error(err))
		return time.After(DefaultConfirm)
	}
	if len(plan.first) > 0 {
		return time.After(0)
	}
	return nil
}

// do gives all commands, whatever becomes of one of them: what one node announces must keep no other from joining.
func (n *Nodes) do(ctx context.Context, commands []allocator.Command, atOnce int) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	failed := make([]error, len(commands))
	for i, command := range commands {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, commandTimeout)
			defer cancel()
			_, failed[i] = n.Replica.Do(ctx, "lease", command)
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(failed...)
}

// news is what is to be said of nodes, by name, and was not said of them before.
func news(before, now map[string]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for name, message := range now {
			if before[name] != message && !yield(name, message) {
				return
			}
		}
	}
}

// showLosses reports nodes that are silent and not taken for lost, and why, each once; and when many are.
func (n *Nodes) showLosses(found nodeLosses) {
	now := map[string]string{}
	for _, name := range found.ready {
		now[name] = "the galaxy agent of this node is silent, and its kubelet is heard: its routes stay as they are, " +
			"and it gets no new ones; see to the DaemonSet's pod"
	}
	for _, name := range found.doubted {
		now[name] = "the galaxy agent of this node is silent, as are many others: something between them and etcd is " +
			"likelier than the loss of all, so their routes stay for " + massDoubt.String()
	}
	if len(found.doubted) > 0 && n.doubted == 0 {
		n.countError("nodesLost")
		n.Log.Warn("mass lease loss; nodes kept unless it lasts",
			zap.Int("nodes", len(found.doubted)),
			zap.Strings("taken back", found.back), zap.Duration("for", massDoubt))
	}
	n.mu.Lock()
	n.doubted = len(found.doubted) + len(found.ready)
	n.mu.Unlock()
	for name, message := range news(n.notified, now) {
		n.Log.Warn(message, zap.String("node", name))
		n.report(name, eventSilent, message)
	}
	n.notified = now
}

// hastyEvery is how often it is said of a node that it changes its announcement too often.
const hastyEvery = 10 * time.Minute

// showHasty reports nodes that announce themselves elsewhere again and again.
func (n *Nodes) showHasty(hasty []string) {
	for _, name := range hasty {
		if last, before := n.hasty[name]; before && n.Now().Sub(last) < hastyEvery {
			continue
		}
		if n.hasty == nil {
			n.hasty = map[string]time.Time{}
		}
		n.hasty[name] = n.Now()
		n.countError("node")
		message := fmt.Sprintf("the galaxy agent of this node has changed its addresses or its machine twice within "+
			"%s: the second change waits; "+
			"if that goes on, two agents use one name, or somebody else has the node's user in etcd", changeEvery)
		n.Log.Warn(message, zap.String("node", name))
		n.report(name, eventAgentForeign, message)
	}
}

// showForeign reports nodes that announce addresses which they are not known by, each once.
func (n *Nodes) showForeign(foreign map[string][]netip.Addr) {
	now := map[string]string{}
	for name, addrs := range foreign {
		now[name] = fmt.Sprintf("the galaxy agent of this node announces %v, which its Node does not have: nobody "+
			"sends anything there; "+
			"where nodes are reached at other addresses than their Nodes have, name the networks in "+
			"overlay.nodeNetworks of galaxy-ipam's --config", addrs)
	}
	for name, message := range news(n.foreign, now) {
		n.countError("node")
		n.Log.Warn("node announces addresses that its Node object does not have", zap.String("node", name),
			zap.Stringers("addresses", foreign[name]))
		n.report(name, eventAgentForeign, message)
	}
	n.foreign = now
}

// Silent is how many nodes are silent and not taken for lost, for metrics.
func (n *Nodes) Silent() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.doubted
}

// showWaiting reports nodes that find no subnet, each once.
func (n *Nodes) showWaiting(waiting []string) {
	n.mu.Lock()
	before := n.waiting
	n.waiting = waiting
	n.mu.Unlock()
	for _, name := range waiting {
		if slices.Contains(before, name) {
			continue
		}
		message := "no node subnet of the overlay is left for this node; add a network to the overlay's " +
			"configuration, or remove nodes that are gone"
		n.Log.Warn(message, zap.String("node", name))
		n.countError("overlayExhausted")
		n.report(name, eventNoSpace, message)
	}
}

// Waiting is how many nodes wait for a subnet, for metrics.
func (n *Nodes) Waiting() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.waiting)
}

func (n *Nodes) report(node, reason, message string) {
	if n.Report != nil {
		n.Report(node, reason, message)
	}
}

func (n *Nodes) countError(kind string) {
	if n.CountError != nil {
		n.CountError(kind)
	}
}
