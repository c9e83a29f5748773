package reconciler

import (
	"context"
	"net/netip"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"galaxy/allocator"
	"galaxy/kube"
	"galaxy/kube/objects"
	"galaxy/projections"
)

// Capacity publishes on Node objects whether pods that want addresses can get one there. The scheduler looks at that
// before it draws the nodes that it offers to an extender; without it, a cluster in which few nodes have addresses
// would often be offered none of them.
type Capacity struct {
	Replica ClaimsReplica
	Source  Source
	Publish func(ctx context.Context, node, quantity string) error
	Log     *zap.Logger

	turns   map[netip.Prefix]*turn
	limited map[string]bool // uids of pods without a node that a limit held back when they were checked last
}

// turn is what has happened to a node network that pods may wait for: its quantity changes by one with each, so that
// the scheduler tries those pods again. It learns from Node objects alone.
type turn struct {
	config uint64 // the configuration that was in force
	dry    bool   // no address was left when it was checked last
	count  int
}

// The quantities that a node may show. Between none, few and many they change, and not with every address; few and many
// are both more pods than a node runs.
const (
	capacityFew  = 500
	capacityMany = 1000
	manyLeft     = 256 // addresses in a node network from which on there are many

	capacityPause = time.Second // between two rounds of writing
	// between two checks, so that a network which is dry for a moment only is noticed
	capacityPoll    = 20 * time.Millisecond
	capacityWorkers = 8
)

// Run publishes until ctx ends. Only the leader's should run.
func (c *Capacity) Run(ctx context.Context) error {
	changes := c.Replica.Subscribe()
	defer changes.Close()
	changed, cancel := c.Source.Subscribe()
	defer cancel()
	c.turns = map[netip.Prefix]*turn{}
	var last string
	var written time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes.C:
			changes.Take()
		case <-changed:
		}
		c.check()
		if time.Since(written) < capacityPause {
			changes.Again()
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(capacityPoll):
			}
			continue
		}
		written = time.Now()
		c.checkLimits()
		failure := ""
		if err := c.publish(ctx); err != nil {
			if failure = err.Error(); failure != last && ctx.Err() == nil {
				c.Log.Warn("node capacity not published; retrying", zap.Error(err))
			}
		}
		last = failure
		if failure != "" {
			changes.Again()
		}
	}
}

// check notes what has happened to each node network.
func (c *Capacity) check() {
	view := c.Replica.View()
	config := view.Config()
	for _, network := range config.NodeNetworks() {
		t := c.turns[network]
		if t == nil {
			t = &turn{config: config.Seq}
			c.turns[network] = t
		}
		dry := leftIn(view, network) == 0
		if t.config != config.Seq || t.dry && !dry {
			t.count++
		}
		t.config, t.dry = config.Seq, dry
	}
}

// maxLimited bounds how many pods that wait are checked: when one of them is let through, all are tried again.
const maxLimited = 1000

// checkLimits notes which pods without a node a limit holds back. When one of them is held back no more, as an
// administrator has released an address or a pool has grown, every network turns.
func (c *Capacity) checkLimits() {
	view, set, before := c.Replica.View(), c.Source.Set(), c.limited
	c.limited = map[string]bool{}
	freed := false
	for pod := range set.Pods() {
		if pod.Node != "" || !pod.Wants || pod.Deleting {
			continue
		}
		switch asks, err := kube.RequestIn(pod, set); {
		case err != nil: // filter says why
		case allocator.Limited(view, asks):
			c.limited[pod.UID] = true
		case before[pod.UID]:
			freed = true
		}
		if len(c.limited) == maxLimited {
			break
		}
	}
	if freed {
		for _, t := range c.turns {
			t.count++
		}
	}
}

// turned is 0 or 1, in turn.
func (c *Capacity) turned(network netip.Prefix) int {
	if t := c.turns[network]; t != nil {
		return t.count % 2
	}
	return 0
}

// publish patches the nodes that show something else than they should.
func (c *Capacity) publish(ctx context.Context) error {
	set := c.Source.Set()
	wants := Capacities(c.Replica.View(), set, c.turned)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(capacityWorkers)
	for node := range set.Nodes() {
		if want := strconv.Itoa(wants[node.Name]); want != node.Capacity {
			group.Go(func() error { return c.Publish(ctx, node.Name, want) })
		}
	}
	return group.Wait()
}

// Capacities are how many pods with addresses each node may show that it can run: as many as it runs where no address
// is left in its node network, so that those that run there still fit, and none where there is no network for it.
// turned is added to the quantity of a network.
func Capacities(view *projections.View, set *objects.Set, turned func(netip.Prefix) int) map[string]int {
	left := map[netip.Prefix]int{}
	inUseOn := map[string]int(nil)
	capacities := map[string]int{}
	for node := range set.Nodes() {
		network, ok := networkOf(view.Config(), node)
		if !ok {
			capacities[node.Name] = 0
			continue
		}
		n, counted := left[network]
		if !counted {
			n = leftIn(view, network)
			left[network] = n
		}
		switch {
		case n >= manyLeft:
			capacities[node.Name] = capacityMany + turned(network)
		case n > 0:
			capacities[node.Name] = capacityFew + turned(network)
		default:
			if inUseOn == nil {
				inUseOn = usedByNode(view)
			}
			capacities[node.Name] = inUseOn[node.Name]
		}
	}
	return capacities
}

func networkOf(config *projections.Config, node *kube.Node) (netip.Prefix, bool) {
	for _, ip := range node.IPs {
		if i, ok := config.NodeNetworkOf(ip); ok {
			return config.NodeNetworks()[i], true
		}
	}
	return netip.Prefix{}, false
}

// leftIn is how many addresses of a node network, up to manyLeft, a pod may still get: free ones, those that are kept
// for pods that do not run now, and those that were claimed for pods that still look for a node.
func leftIn(view *projections.View, network netip.Prefix) int {
	left := uint64(0)
	for _, subnet := range view.Config().Serving(network) {
		if left += view.Unheld(subnet); left >= manyLeft {
			return manyLeft
		}
	}
	if left > 0 {
		return int(left)
	}
	for _, subnet := range view.Config().Serving(network) {
		for _, r := range view.Config().Subnets[subnet].Ranges {
			for a := range view.Addresses(r.First) {
				if r.Last.Less(a.Addr) || left >= manyLeft {
					break
				}
				if a.Node == "" && !a.Labelled {
					left++
				}
			}
		}
	}
	return int(left)
}

// usedByNode counts the pods on each node that use an address.
func usedByNode(view *projections.View) map[string]int {
	pods := map[string]map[string]struct{}{}
	for a := range view.Addresses(netip.Addr{}) {
		if a.Node == "" {
			continue
		}
		if pods[a.Node] == nil {
			pods[a.Node] = map[string]struct{}{}
		}
		pods[a.Node][a.PodUID] = struct{}{}
	}
	counts := make(map[string]int, len(pods))
	for node, uids := range pods {
		counts[node] = len(uids)
	}
	return counts
}
