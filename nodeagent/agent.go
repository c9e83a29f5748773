package nodeagent

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/lease"
	"galaxy/nodeagent/journal"
	"galaxy/pause"
	"galaxy/projections"
)

// Config is what an Agent needs. All fields but those that name a default are required.
type Config struct {
	Node    string
	Machine string // a word that no other machine has; see ipam.Announcement
	Boot    string // the kernel's boot id and the agent's network namespace; "" where they are not known
	// HostAddresses are where other nodes reach this one. They may change.
	HostAddresses func() []netip.Addr
	Prefix        string // of the keys in etcd
	Client        *clientv3.Client
	// Open opens the log in etcd. It fails while etcd cannot be reached.
	Open    func(ctx context.Context) (eventlog.Log, error)
	Local   *journal.Journal // the node's stream in a file of this machine
	Kept    journal.Kept     // where this machine keeps what it knows of the nodes; "" for nowhere
	Routes  *Routes
	TTL     time.Duration // of the node's lease; DefaultTTL if 0
	Grace   time.Duration // how long addresses are given without etcd; DefaultGrace if 0
	Rules   allocator.Rules
	Backend string
	// Settled is called with the networks, the node's subnets and the MTU for pods whenever they change, and makes what
	// depends on them follow. When it fails it is called again before long. May be nil.
	Settled func(ctx context.Context, networks []ipam.OverlayNetwork, nodes Nodes, subnets []netip.Prefix,
		mtu int) error
	// Outside signals that somebody has changed what Settled writes. May be nil.
	Outside <-chan struct{}
	Now     func() time.Time
	Log     *zap.Logger
}

// outsidePause is how long more changes are waited for.
const outsidePause = 100 * time.Millisecond

// Defaults of Config.
const (
	// DefaultTTL is how soon other nodes stop sending to a node that has died, and how long an agent may take to
	// restart.
	DefaultTTL = 30 * time.Second
	// DefaultGrace must stay below the time for which a lost node keeps its subnets, or another node may get them
	// meanwhile.
	DefaultGrace = 20 * time.Hour

	// awaitCopy bounds how long a response to the runtime waits for etcd to have its event.
	awaitCopy  = 2 * time.Second
	firstReach = 3 * time.Second
)

// Agent is the agent of one node.
type Agent struct {
	Config
	Addresses *Addresses

	mu        sync.Mutex
	announced *lease.Announcement
	trouble   map[string]string // what is wrong, by part
	blocked   map[string]error  // of that, what pods cannot do without
	settled   uint64            // event of the stream nodes that Settled has followed
	nodes     Nodes             // nil while nothing is known of them
	changed   chan struct{}     // what is announced has changed
	named     chan struct{}     // closed when the node's name was this machine's for the first time
}

// New makes an Agent.
func New(c Config) *Agent {
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Routes.Tick == 0 {
		c.Routes.Tick = DefaultTick
	}
	a := &Agent{Config: c, trouble: map[string]string{}, blocked: map[string]error{}, changed: make(chan struct{}, 1),
		named: make(chan struct{})}
	a.Addresses = &Addresses{Node: c.Node, Leave: a.leave, Log: c.Log}
	c.Routes.Changed = func(Status) { a.wake() }
	return a
}

// Run runs the agent until ctx ends. What cannot go on without etcd waits for it; containers get addresses as soon as
// the node's own stream is known.
func (a *Agent) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan eventlog.Log, 1) // the log in etcd, once it is open
	group.Go(func() error { return a.open(ctx, ready) })
	group.Go(func() error {
		log, endKept, err := a.begin(ctx, ready)
		if log == nil || err != nil {
			return err
		}
		group.Go(func() error { return a.keepLease(ctx) })
		group.Go(func() error { return a.saveSnapshots(ctx) })
		group.Go(func() error { return a.follow(ctx, log, endKept) })
		select {
		case <-ctx.Done():
			return nil
		case <-a.named: // until then nothing says that the node's stream in etcd is this machine's to write
			return a.Local.Forward(ctx, log, a.fence)
		}
	})
	return group.Wait()
}

// open opens the log in etcd, for as long as that takes.
func (a *Agent) open(ctx context.Context, ready chan<- eventlog.Log) error {
	for {
		log, err := a.Open(ctx)
		if err == nil {
			ready <- log
			return nil
		}
		if a.note("etcd", err) && ctx.Err() == nil {
			a.Log.Warn("opening the event log failed; retrying", zap.Error(err))
		}
		if pause.For(ctx, time.Second) != nil {
			return nil
		}
	}
}

// begin gets to know the node's own stream and starts to write it. With nothing in the file, what etcd has must be
// known first; otherwise the file is enough, if etcd does not answer soon, and what was kept of the other nodes is
// followed until endKept is called.
func (a *Agent) begin(ctx context.Context, ready <-chan eventlog.Log) (log eventlog.Log, endKept func(), err error) {
	endKept = func() {}
	head, err := a.Local.Log().Head(ctx, eventlog.StreamOfNode(a.Node))
	if err != nil {
		return nil, endKept, err
	}
	patience := time.NewTimer(firstReach)
	defer patience.Stop()
	if head.Seq == 0 {
		patience.Stop()
	}
	for log == nil {
		select {
		case log = <-ready:
		case <-patience.C:
			a.Log.Warn("etcd unreachable; allocating from the local journal, which is copied to etcd "+
				"later", zap.Uint64("event", head.Seq))
			if err := a.lead(ctx); err != nil {
				return nil, endKept, err
			}
			if endKept, err = a.followKept(ctx); err != nil {
				a.Log.Warn("what this machine has kept of the nodes cannot be used; routes to them wait for etcd",
					zap.Error(err))
				a.note("kept", err)
			}
		case <-ctx.Done():
			return nil, endKept, nil
		}
	}
	a.note("etcd", nil)
	if err := a.agree(ctx, log); err != nil || ctx.Err() != nil {
		return nil, endKept, err
	}
	if a.Addresses.replica() == nil {
		if err := a.lead(ctx); err != nil {
			return nil, endKept, err
		}
	}
	return log, endKept, nil
}

// agree makes file and etcd agree, for as long as that takes.
func (a *Agent) agree(ctx context.Context, log eventlog.Log) error {
	for {
		err := a.Local.Begin(ctx, log)
		if err == nil {
			return nil
		}
		if !errors.Is(err, journal.ErrUnreachable) {
			return err
		}
		if pause.For(ctx, time.Second) != nil {
			return nil
		}
	}
}

// Generation of the log, as this machine knows it; "" while it has never read the log.
func (a *Agent) Generation(ctx context.Context) string {
	head, err := a.Local.Log().Head(ctx, eventlog.StreamOfNode(a.Node))
	if err != nil {
		return "" // Ready says what is wrong with the file
	}
	return head.Generation
}

// lead starts to write the node's own stream, into the file.
func (a *Agent) lead(ctx context.Context) error {
	replica, err := a.own(ctx)
	if err != nil {
		return err
	}
	go func() {
		for ctx.Err() == nil {
			err := replica.Lead(ctx, eventlog.Fence{})
			if err == nil || ctx.Err() != nil {
				return
			}
			a.note("addresses", err)
			// etcd was restored, and the file has followed it
			a.Log.Warn("the node's addresses are read anew", zap.Error(err))
			if again, err := a.own(ctx); err == nil {
				replica = again
				a.note("addresses", nil)
			}
			_ = pause.For(ctx, 100*time.Millisecond)
		}
	}()
	return nil
}

// own reads the node's own stream from the file.
func (a *Agent) own(ctx context.Context) (*allocator.Replica, error) {
	replica, err := allocator.NewReplica(ctx, allocator.Config{
		Log: a.Local.Log(), Stream: eventlog.StreamOfNode(a.Node), Actor: a.Node, Now: a.Now, Rules: a.Rules,
	}, nil)
	if err == nil {
		a.Addresses.set(replica)
	}
	return replica, err
}

// follow makes routes and addresses follow the stream nodes, until ctx ends.
func (a *Agent) follow(ctx context.Context, log eventlog.Log, endKept func()) error {
	replica := a.load(ctx, log)
	endKept()
	if replica == nil {
		return nil
	}
	a.note("nodes", nil)
	a.see(replica, false)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for ctx.Err() == nil {
			err := replica.Follow(ctx)
			a.note("nodes", err)
			if err != nil && ctx.Err() == nil {
				a.Log.Warn("nodes stream watch failed; retrying", zap.Error(err))
				_ = pause.For(ctx, time.Second)
			}
		}
		return nil
	})
	group.Go(func() error { return a.Routes.Run(ctx) })
	group.Go(func() error { return a.settle(ctx, replica) })
	group.Go(func() error { return a.keepNodes(ctx, replica) })
	return group.Wait()
}

// load reads the stream nodes, for as long as that takes; nil if ctx ends before.
func (a *Agent) load(ctx context.Context, log eventlog.Log) *allocator.Replica {
	for {
		replica, err := allocator.NewReplica(ctx,
			allocator.Config{Log: log, Stream: eventlog.StreamNodes, Actor: a.Node, Now: a.Now}, nil)
		if err == nil {
			return replica
		}
		a.note("nodes", err)
		a.Log.Warn("nodes stream load failed; retrying", zap.Error(err))
		if pause.For(ctx, time.Second) != nil {
			return nil
		}
	}
}

// settle puts the node's subnets in force as they change.
func (a *Agent) settle(ctx context.Context, nodes Nodes) error {
	changes := nodes.Subscribe()
	defer changes.Close()
	for {
		view := nodes.View()
		var subnets []netip.Prefix
		if n := view.Node(a.Node); n != nil {
			subnets = n.Subnets
		}
		var err error
		if sorted := slices.SortedFunc(slices.Values(subnets), comparePrefix); !slices.Equal(sorted,
			a.Addresses.Subnets()) && len(subnets) > 0 && !isKept(nodes) {
			if err = a.Addresses.Use(ctx, subnets); err == nil {
				a.Log.Info("node subnets assigned", zap.Stringers("subnets", subnets))
			}
		}
		a.note("subnets", err)
		wait := a.Routes.Tick
		if a.Settled != nil {
			err := a.Settled(ctx, view.Overlay().Networks, nodes, subnets, a.Routes.Status().PodMTU(subnets))
			if a.note("outgoing", err) && err != nil && ctx.Err() == nil {
				a.Log.Warn("not all that depends on the nodes follows them; trying again", zap.Error(err))
			}
			if err == nil {
				a.follows(view)
			} else {
				wait = settleRetry
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes.C:
			changes.Take()
		case <-a.Outside:
			_ = pause.For(ctx, outsidePause) // one change is often many
		case <-time.After(wait):
		}
	}
}

// follows notes what Settled has followed.
func (a *Agent) follows(view *projections.View) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled = view.Position().Head.Seq
}

// isKept is true for what this machine has kept: which subnets are the node's its own stream knows better.
func isKept(nodes Nodes) bool {
	_, kept := nodes.(keptNodes)
	return kept
}

// settleRetry is how soon Settled is called again that has failed.
const settleRetry = 5 * time.Second

func comparePrefix(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) }

// Await lets a response to the runtime wait until etcd has all that is in the node's file, while etcd can be reached.
// The plugins' work goes on meanwhile.
func (a *Agent) Await(ctx context.Context) {
	replica := a.Addresses.replica()
	if replica == nil {
		return
	}
	seq := replica.View().Position().Head.Seq
	if a.Now().Sub(a.Local.Reached()) > awaitCopy && a.Local.Waiting() > 1 {
		return // it is away: the file has to do
	}
	ctx, cancel := context.WithTimeout(ctx, awaitCopy)
	defer cancel()
	_ = a.Local.Wait(ctx, seq) // what is in the file gets there later
}

// announcement is what the agent says of itself now.
func (a *Agent) announcement() ([]byte, error) {
	status := a.Routes.Status()
	said := ipam.Announcement{
		Node: a.Node, Machine: a.Machine, Boot: a.Boot, TTL: a.TTL.Seconds(), Addresses: a.HostAddresses(),
		Backend:  a.Backend,
		Position: status.Position, Writes: status.Writes, Differs: len(status.Differs),
		Problems: slices.Concat(status.Problems, status.Differs),
	}
	a.mu.Lock()
	for _, text := range a.trouble {
		said.Problems = append(said.Problems, text)
	}
	a.mu.Unlock()
	slices.Sort(said.Problems)
	const most = 10 // the rest is in the agent's log
	said.Problems = said.Problems[:min(most, len(said.Problems))]
	return json.Marshal(said)
}

// snapshotEvery is after how many events the node's state is saved in its file.
const snapshotEvery = 10_000

// saveSnapshots keeps the file from growing for ever.
func (a *Agent) saveSnapshots(ctx context.Context) error {
	snapshots := allocator.Snapshots{Every: snapshotEvery, Poll: DefaultTick, Report: func(_ eventlog.Head, err error) {
		if err != nil {
			a.Log.Warn("node state not saved", zap.Error(err))
		}
	}}
	if replica := a.Addresses.replica(); replica != nil {
		snapshots.Keep(ctx, replica)
	}
	return nil
}
