package reconciler

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/lease"
	"galaxy/projections"
)

// Deadlines run by the clock of etcd; lease.Deadlines is one.
type Deadlines interface {
	Start(ctx context.Context, values map[string]string) error
	Watch(ctx context.Context) iter.Seq2[[]lease.Deadline, error]
}

// ClaimsReplica is what a Claims needs of the allocator; *allocator.Replica is one.
type ClaimsReplica interface {
	Replica
	Subscribe() *allocator.Subscription
}

// Claims takes back what filter has claimed for pods that nobody binds. Each claim has a deadline in etcd, named by the
// uid of its pod; when that has passed and the address is still only claimed, it goes back where it came from.
type Claims struct {
	Replica   ClaimsReplica
	Deadlines Deadlines
	Log       *zap.Logger
	Expired   func() // called for each claim that was taken back, for metrics; may be nil

	claimed map[netip.Addr]claim
	running map[string]bool // deadlines that are there, or were started by us, by uid
}

type claim struct {
	owner ipam.Owner
	uid   string
}

// startEvery is how long new claims are gathered, so that their deadlines share a transaction.
const startEvery = 200 * time.Millisecond

// Run keeps deadlines for all claims until ctx ends. Only one Run in the cluster should be on, that of the leader; two
// do no harm.
func (c *Claims) Run(ctx context.Context) error {
	c.claimed, c.running = map[netip.Addr]claim{}, map[string]bool{}
	changes := c.Replica.Subscribe()
	defer changes.Close()
	deadlines := make(chan []lease.Deadline)
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	go c.watch(watching, deadlines)
	select { // who has a deadline already, from the leader before
	case first := <-deadlines:
		c.note(first)
	case <-ctx.Done():
		return nil
	}
	tick := time.NewTicker(startEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes.C:
			c.update(changes.Take())
		case batch := <-deadlines:
			for _, uid := range c.note(batch) {
				c.passed(ctx, uid)
			}
		case <-tick.C:
			c.start(ctx)
		}
	}
}

func (c *Claims) watch(ctx context.Context, out chan<- []lease.Deadline) {
	for batch, err := range c.Deadlines.Watch(ctx) {
		if err != nil {
			return // ctx has ended
		}
		select {
		case out <- batch:
		case <-ctx.Done():
			return
		}
	}
}

// note remembers which deadlines run, and returns those that have passed.
func (c *Claims) note(batch []lease.Deadline) (passed []string) {
	for _, d := range batch {
		if !d.Passed {
			c.running[d.Name] = true
			continue
		}
		delete(c.running, d.Name)
		passed = append(passed, d.Name)
	}
	return passed
}

// update brings the claims up to date with the log.
func (c *Claims) update(changes allocator.Changes) {
	view := c.Replica.View()
	if changes.All {
		clear(c.claimed)
		for a := range view.Addresses(netip.Addr{}) {
			c.see(a.Addr, a)
		}
		return
	}
	for addr := range changes.Addresses {
		c.see(addr, view.Address(addr))
	}
}

func (c *Claims) see(addr netip.Addr, a *projections.Address) {
	if a == nil || !isClaim(a) {
		delete(c.claimed, addr)
		return
	}
	c.claimed[addr] = claim{a.Owner, a.PodUID}
}

// isClaim reports whether filter has claimed the address and no bind has followed.
func isClaim(a *projections.Address) bool { return a.Owner.IsPod() && a.PodUID != "" && a.Node == "" }

// start gives the claims that have none their deadlines.
func (c *Claims) start(ctx context.Context) {
	values := map[string]string{}
	for _, claim := range c.claimed {
		if !c.running[claim.uid] {
			values[claim.uid] = claim.owner.String()
		}
	}
	if len(values) == 0 {
		return
	}
	if err := c.Deadlines.Start(ctx, values); err != nil {
		if ctx.Err() == nil {
			c.Log.Warn("claim deadlines not set; retrying", zap.Int("claims", len(values)), zap.Error(err))
		}
		return
	}
	for uid := range values {
		c.running[uid] = true
	}
}

// passed takes back what is still only claimed for a pod. If that fails, it gets another deadline.
func (c *Claims) passed(ctx context.Context, uid string) {
	for addr, claim := range c.claimed {
		if claim.uid != uid {
			continue
		}
		a := c.Replica.View().Address(addr)
		if a == nil || !isClaim(a) || a.PodUID != uid {
			continue
		}
		_, err := c.Replica.Do(ctx, uid, allocator.Expire{Pod: claim.owner, UID: uid})
		switch {
		case err == nil:
			c.Log.Info("claim expired without a bind", zap.Stringer("address", addr),
				zap.Stringer("pod", claim.owner), zap.String("uid", uid))
			if c.Expired != nil {
				c.Expired()
			}
		case ctx.Err() == nil && !errors.Is(err, allocator.ErrNotLeader):
			c.Log.Warn("claim expiry failed; retrying", zap.Stringer("address", addr), zap.Error(err))
		}
		return
	}
}
