package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kernel"
	"galaxy/pause"
	"galaxy/projections"
)

// Kernel is what holds routes and tunnels; *kernel.Kernel is one.
type Kernel interface {
	Read(ctx context.Context) (kernel.State, error)
	Apply(ctx context.Context, changes kernel.Changes) (kernel.Report, error)
	Watch(ctx context.Context) (<-chan struct{}, error)
	LocalNetworks(ctx context.Context) ([]kernel.LocalNetwork, error)
}

// Nodes is where the state of the stream nodes comes from; *allocator.Replica is one.
type Nodes interface {
	View() *projections.View
	Subscribe() *allocator.Subscription
}

// Routes makes the routes and tunnels of a node's kernel follow the stream nodes: it compares what should be with what
// is, and writes only what differs. It looks whenever a node or the kernel changes, and every Tick.
type Routes struct {
	Node      string
	Addresses func() []netip.Addr // of this node
	Nodes     Nodes
	Kernel    Kernel
	Config    kernel.Config
	Tick      time.Duration // DefaultTick if 0
	Log       *zap.Logger
	// Changed is called after every pass that has found or left something. May be nil.
	Changed func(Status)

	mu       sync.Mutex // also for Nodes and kept once the Agent runs
	kept     bool       // Nodes is what this machine has kept: nothing that there is goes away because of it
	status   Status
	problems string // in the log, so that each is logged once
}

// Status is how far a node's kernel follows the log.
type Status struct {
	Position uint64   `json:"position"` // event of the stream nodes that was handled last
	Routes   int      `json:"routes"`   // wanted
	Tunnels  int      `json:"tunnels"`
	Writes   int      `json:"writes"`  // to the kernel since the start
	Differs  []string `json:"differs"` // what could not be written
	Problems []string `json:"problems"`
	// that pods should have, for the subnets that the node had then; see PodMTU
	MTU     int    `json:"mtu"`
	Overlap string `json:"overlap,omitempty"` // why the overlay cannot be: its addresses are others' already
	Took    string `json:"took"`

	mtus [2]int // for pods without and with IPv6
}

// PodMTU is what pods with addresses of some subnets should have; 0 while the node's links are not known. The node may
// have got those subnets after it was looked at.
func (s Status) PodMTU(subnets []netip.Prefix) int {
	if haveIPv6(subnets) {
		return s.mtus[1]
	}
	return s.mtus[0]
}

func haveIPv6(subnets []netip.Prefix) bool {
	return slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Addr().Is6() })
}

// DefaultTick is how often everything is compared although nothing has changed.
const DefaultTick = 30 * time.Second

// retryWait is how soon something is tried again that failed; it doubles up to Tick.
const retryWait = 500 * time.Millisecond

// burstPause is how long more changes are waited for before everything is compared again.
const burstPause = 50 * time.Millisecond

// Run converges until ctx ends.
func (r *Routes) Run(ctx context.Context) error {
	if r.Tick == 0 {
		r.Tick = DefaultTick
	}
	nodes, _ := r.from()
	changes := nodes.Subscribe()
	defer changes.Close()
	kernelChanged, err := r.Kernel.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch the kernel: %w", err)
	}
	retry := retryWait
	for {
		wait := r.Tick
		if err := r.Converge(ctx); err != nil && ctx.Err() == nil {
			wait, retry = retry, min(2*retry, r.Tick)
		} else {
			retry = retryWait
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-changes.C:
			changes.Take()
		case <-kernelChanged:
		case <-timer.C:
		}
		timer.Stop()
		if pause.For(ctx, burstPause) != nil { // what changes a link changes it more than once
			return nil
		}
	}
}

// Follow says where the state of the stream nodes comes from, from now on, and whether that is what this machine has
// kept of it.
func (r *Routes) Follow(nodes Nodes, kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Nodes, r.kept = nodes, kept
}

func (r *Routes) from() (nodes Nodes, kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Nodes, r.kept
}

// Converge compares once, and writes what differs. An error is something that may be right at the next attempt.
func (r *Routes) Converge(ctx context.Context) error {
	start := time.Now()
	c, err := r.compare(ctx)
	if err != nil {
		return r.failed(err)
	}
	status := Status{
		Position: c.position, Routes: len(c.want.Routes), Tunnels: len(c.want.Tunnels), Writes: r.Status().Writes,
		mtus:    [2]int{podMTU(c.self, r.Config, false), podMTU(c.self, r.Config, true)},
		Overlap: overlap(c.networks, c.self),
	}
	status.MTU = status.PodMTU(c.self.Subnets)
	if status.Overlap != "" {
		status.Problems = append(status.Problems, status.Overlap)
	}
	if tight := tightMTU(c.self, r.Config); tight != "" {
		status.Problems = append(status.Problems, tight)
	}
	for _, p := range c.problems {
		status.Problems = append(status.Problems, p.String())
	}
	if len(c.diff) > 0 {
		err = r.apply(ctx, c.diff, &status)
	}
	status.Took = time.Since(start).Round(time.Microsecond).String()
	r.set(status)
	return err
}

// comparison is what one pass has found.
type comparison struct {
	position uint64
	networks []ipam.OverlayNetwork
	self     kernel.Node
	want     kernel.State
	problems []kernel.Problem
	diff     kernel.Changes
}

func (r *Routes) compare(ctx context.Context) (c comparison, err error) {
	nodes, kept := r.from()
	view := nodes.View()
	c.position, c.networks = view.Position().Head.Seq, view.Overlay().Networks
	local, err := r.Kernel.LocalNetworks(ctx)
	if err != nil {
		return c, fmt.Errorf("read the addresses of this node: %w", err)
	}
	var peers []kernel.Node
	c.self, peers = nodesOf(view, r.Node, r.Addresses(), local)
	config := r.Config
	for _, s := range c.self.Subnets {
		config.TunnelAddresses = append(config.TunnelAddresses, ipam.NodePool(s).Gateway)
	}
	c.want, c.problems = kernel.Want(c.self, peers, config)
	have, err := r.Kernel.Read(ctx)
	if err != nil {
		return c, fmt.Errorf("read the routes of this node: %w", err)
	}
	if kept {
		c.want.Spare(have) // a node may have joined since
	}
	c.diff = kernel.Diff(c.want, have)
	return c, nil
}

// Compare says what should be in the kernel and what differs, a line each, and changes nothing.
func (r *Routes) Compare(ctx context.Context) (wanted, differs []string, err error) {
	c, err := r.compare(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, change := range c.diff {
		differs = append(differs, change.String())
	}
	return lines(c.want.String()), differs, nil
}

func lines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return line == "" })
}

func (r *Routes) apply(ctx context.Context, diff kernel.Changes, status *Status) error {
	report, err := r.Kernel.Apply(ctx, diff)
	status.Writes += report.Writes
	for _, f := range report.Failures {
		status.Differs = append(status.Differs, f.Error())
	}
	err = errors.Join(err, report.Err())
	r.Log.Info("kernel state converged", zap.Int("changes", len(diff)), zap.Int("failed", len(report.Failures)),
		zap.Uint64("event", status.Position), zap.Error(err))
	return err
}

// nodesOf are this node, and those that are alive and have subnets.
func nodesOf(view *projections.View, name string, addresses []netip.Addr,
	local []kernel.LocalNetwork) (self kernel.Node, peers []kernel.Node) {
	self = kernel.Node{Name: name, Addresses: addresses, Networks: local}
	for n := range view.Nodes() {
		switch {
		case n.Name == name:
			self.Subnets = n.Subnets
		case n.Alive() && len(n.Subnets) > 0:
			peers = append(peers, kernel.Node{Name: n.Name, Addresses: n.Addresses, Subnets: n.Subnets})
		}
	}
	return self, peers
}

// overlap says which network of the overlay has addresses that this node's own networks have: pods would get those of
// nodes.
func overlap(networks []ipam.OverlayNetwork, self kernel.Node) string {
	for _, n := range networks {
		for _, own := range self.Networks {
			if slices.Contains(self.Addresses, own.Address) && n.CIDR.Overlaps(own.Prefix) {
				return fmt.Sprintf("the network %s of the overlay overlaps %s, in which this node and its neighbours "+
					"are: pods would get their addresses; give the overlay another network", n.CIDR, own.Prefix)
			}
		}
	}
	return ""
}

// leastIPv6 is the least MTU of a link that carries IPv6 (RFC 8200, section 5).
const leastIPv6 = 1280

// linkMTU is the least MTU of the links by which other nodes reach this one; 0 while none is known.
func linkMTU(self kernel.Node) (mtu int) {
	for _, n := range self.Networks {
		if slices.Contains(self.Addresses, n.Address) && (mtu == 0 || n.MTU < mtu) {
			mtu = n.MTU
		}
	}
	return mtu
}

// header is what a tunnel takes: RFC 2003, and with IPv6 RFC 2473.
func header(six bool) int {
	if six {
		return 40
	}
	return 20
}

// podMTU is what the interfaces of pods should have, so that their packets fit through a tunnel if there may be one;
// but never less than IPv6 needs, where pods have that.
func podMTU(self kernel.Node, c kernel.Config, six bool) int {
	mtu := linkMTU(self)
	switch {
	case mtu == 0:
		return 0
	case c.MTU > 0 && c.Backend != kernel.HostGW:
		mtu = c.MTU
	case c.Backend != kernel.HostGW:
		mtu -= header(six)
	}
	if six {
		mtu = max(mtu, leastIPv6)
	}
	return mtu
}

// tightMTU says that packets of pods do not fit through a tunnel of this node's link in one piece.
func tightMTU(self kernel.Node, c kernel.Config) string {
	mtu := linkMTU(self)
	if !haveIPv6(self.Subnets) || mtu == 0 || c.Backend == kernel.HostGW || mtu-header(true) >= leastIPv6 {
		return ""
	}
	return fmt.Sprintf("the link's MTU of %d leaves %d inside of a tunnel, and IPv6 needs %d: packets of pods that "+
		"size go through tunnels in pieces, or not at all; raise the link's MTU", mtu, mtu-header(true), leastIPv6)
}

func (r *Routes) failed(err error) error {
	s := r.Status()
	s.Differs = []string{err.Error()}
	r.set(s)
	return err
}

func (r *Routes) set(s Status) {
	r.mu.Lock()
	r.status = s
	text := strings.Join(slices.Concat(s.Problems, s.Differs), "; ")
	news := text != r.problems
	r.problems = text
	r.mu.Unlock()
	if news && text != "" {
		r.Log.Warn("not all nodes are reached as they should be", zap.Strings("problems", s.Problems),
			zap.Strings("differs", s.Differs))
	}
	if r.Changed != nil {
		r.Changed(s)
	}
}

// Status is that of the last pass.
func (r *Routes) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}
