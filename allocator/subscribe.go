package allocator

import (
	"net/netip"
	"sync"

	"galaxy/eventlog"
)

// Changes is what has happened to the state since it was last asked for.
type Changes struct {
	All       bool // more than is remembered, or the beginning: look at everything
	Addresses map[netip.Addr]struct{}
	Pools     map[string]struct{}
	Config    bool // the subnets have changed
}

// maxChanges bounds what a Subscription remembers; beyond it, looking at everything is no dearer.
const maxChanges = 1 << 16

// Subscription collects what changes in a replica's durable view, for those who keep something in step with it.
type Subscription struct {
	// C gets a value when there is something to take.
	C <-chan struct{}

	wake  chan struct{}
	feed  *feed
	mu    sync.Mutex
	since Changes
}

// feed notifies the subscribers of a replica of what its events are about.
type feed struct {
	mu          sync.RWMutex
	subscribers map[*Subscription]struct{}
}

// Subscribe begins to collect changes. The first Take says All.
func (r *Replica) Subscribe() *Subscription {
	wake := make(chan struct{}, 1)
	s := &Subscription{C: wake, wake: wake, feed: &r.feed, since: Changes{All: true}}
	wake <- struct{}{}
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	if r.feed.subscribers == nil {
		r.feed.subscribers = map[*Subscription]struct{}{}
	}
	r.feed.subscribers[s] = struct{}{}
	return s
}

// Still is the Subscription to a state that never changes.
func Still() *Subscription { return &Subscription{feed: &feed{}} }

// Take returns what has changed since the last time. The view asked for afterwards has it all.
func (s *Subscription) Take() Changes {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.since
	s.since = Changes{}
	return taken
}

// Again wakes the subscriber although nothing has changed, as it could not do all it had to.
func (s *Subscription) Again() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	delete(s.feed.subscribers, s)
}

// notify is called after the view that has the events is published.
func (f *feed) notify(events []eventlog.Data) {
	if len(events) == 0 {
		return
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	for s := range f.subscribers {
		s.note(events)
	}
}

func (s *Subscription) note(events []eventlog.Data) {
	s.mu.Lock()
	for _, data := range events {
		s.since.add(data)
	}
	s.mu.Unlock()
	s.Again()
}

func (c *Changes) add(data eventlog.Data) {
	if c.All {
		return
	}
	if len(c.Addresses)+len(c.Pools) >= maxChanges {
		*c = Changes{All: true}
		return
	}
	switch about := data.Subject(); {
	case data.Type() == eventlog.TypeSubnetsConfigured:
		c.Config = true
	case data.Type() == eventlog.TypeFormerObjectsResolved:
		*c = Changes{All: true}
	case about.Address.IsValid():
		if c.Addresses == nil {
			c.Addresses = map[netip.Addr]struct{}{}
		}
		c.Addresses[about.Address] = struct{}{}
	case about.Owner.Pool != "":
		if c.Pools == nil {
			c.Pools = map[string]struct{}{}
		}
		c.Pools[about.Owner.Pool] = struct{}{}
	}
}
