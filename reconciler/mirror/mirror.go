package mirror

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/workqueue"

	"galaxy/allocator"
	api "galaxy/kube/galaxyv1alpha1"
	"galaxy/projections"
)

// Replica is what is asked of the allocator; *allocator.Replica is one.
type Replica interface {
	Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error)
	View() *projections.View
	Leading() bool
	Subscribe() *allocator.Subscription
}

// Config is what a Mirror needs. Replica, Client and Log are required.
type Config struct {
	Replica Replica
	Client  dynamic.Interface
	Log     *zap.Logger
	// shows an event on an object; may be nil
	Report     func(on corev1.ObjectReference, warning bool, reason, message string)
	CountError func(kind string) // counts failed attempts, for metrics; may be nil
	Busy       func() bool       // pods are being bound, so that what can wait should; may be nil
	Resync     time.Duration     // between comparisons of everything; DefaultResync if 0
	Workers    int               // DefaultWorkers if 0
	// PoolNamespaces are those in which Pool objects count; only kube-system if nil.
	PoolNamespaces []string
}

// Defaults of Config.
const (
	DefaultResync  = 10 * time.Minute
	DefaultWorkers = 8
)

// poolPause gathers the many changes of what a pool holds into one.
const poolPause = 500 * time.Millisecond

// Mirror keeps the objects in step while its replica leads.
type Mirror struct {
	Config
	queue workqueue.TypedRateLimitingInterface[key]
	ips   *store[*api.FloatingIP]
	pools *store[*api.Pool]

	mu       sync.Mutex
	reported map[string]string // by object: what was last reported of it
	// pools that were seen to be deleted in the log: not those that a restored log has forgotten
	deleted map[string]bool
}

// key is one thing to be compared: an address by the name of its object, or a pool by its name.
type key struct {
	pool bool
	name string
}

// New makes a Mirror.
func New(config Config) *Mirror {
	if config.Resync == 0 {
		config.Resync = DefaultResync
	}
	if config.Workers == 0 {
		config.Workers = DefaultWorkers
	}
	if config.PoolNamespaces == nil {
		config.PoolNamespaces = []string{poolNamespace}
	}
	if config.CountError == nil {
		config.CountError = func(string) {}
	}
	if config.Busy == nil {
		config.Busy = func() bool { return false }
	}
	if config.Report == nil {
		config.Report = func(corev1.ObjectReference, bool, string, string) {}
	}
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[key](50*time.Millisecond, time.Minute)
	m := &Mirror{Config: config, queue: workqueue.NewTypedRateLimitingQueue(limiter), reported: map[string]string{},
		deleted: map[string]bool{}}
	m.ips = newStore(config.Client, api.FloatingIPs, toFloatingIP,
		func(f *api.FloatingIP) key { return key{name: f.Name} }, (*api.FloatingIP).IsReservation, m.queue.Add)
	m.pools = newStore(config.Client, api.Pools, toPool, func(p *api.Pool) key { return key{pool: true, name: p.Name} },
		func(*api.Pool) bool { return true }, m.queue.Add)
	return m
}

// Lag is how many objects wait to be compared.
func (m *Mirror) Lag() int { return m.queue.Len() }

// Run follows the objects until ctx ends, and writes them while the replica leads.
func (m *Mirror) Run(ctx context.Context) error {
	changes := m.Replica.Subscribe()
	defer changes.Close()
	var running sync.WaitGroup
	defer running.Wait()
	defer m.queue.ShutDown()
	synced, err := m.start(ctx)
	if err != nil {
		return err
	}
	if !synced {
		return nil // ctx has ended
	}
	for range m.Workers {
		running.Go(func() { m.work(ctx) })
	}
	tick := time.NewTicker(leaderPoll)
	defer tick.Stop()
	led, next := false, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes.C:
			m.enqueue(changes.Take())
		case now := <-tick.C:
			leads := m.Replica.Leading()
			if leads && (!led || now.After(next)) {
				m.enqueue(allocator.Changes{All: true})
				next = now.Add(m.Resync)
			}
			led = leads
		}
	}
}

const leaderPoll = 100 * time.Millisecond

// start begins to follow the objects, and waits until all there are have been read.
func (m *Mirror) start(ctx context.Context) (synced bool, err error) {
	for _, start := range []func(context.Context) error{m.ips.start, m.pools.start} {
		if err := start(ctx); err != nil {
			return false, err
		}
	}
	return m.ips.wait(ctx) && m.pools.wait(ctx), nil
}

// enqueue has what has changed in the log compared.
func (m *Mirror) enqueue(changes allocator.Changes) {
	view := m.Replica.View()
	m.noteDeleted(changes, view)
	if !m.Replica.Leading() {
		return // the term begins with a comparison of everything
	}
	if changes.All || changes.Config {
		for a := range view.Addresses(netip.Addr{}) {
			m.queue.Add(key{name: api.NameOf(a.Addr)})
		}
		for _, k := range m.ips.keys() {
			m.queue.Add(k)
		}
		for p := range view.Pools() {
			m.queue.Add(key{pool: true, name: p.Name})
		}
		for _, k := range m.pools.keys() {
			m.queue.Add(k)
		}
	}
	for addr := range changes.Addresses {
		m.queue.Add(key{name: api.NameOf(addr)})
		if a := view.Address(addr); a != nil && a.Owner.Pool != "" {
			m.queue.AddAfter(key{pool: true, name: a.Owner.Pool}, poolPause)
		}
	}
	for name := range changes.Pools {
		m.queue.Add(key{pool: true, name: name})
	}
}

func (m *Mirror) noteDeleted(changes allocator.Changes, view *projections.View) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range changes.Pools {
		m.deleted[name] = view.Pool(name) == nil
	}
}

// wasDeleted reports whether the pool was seen to be deleted in the log.
func (m *Mirror) wasDeleted(pool string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.deleted[pool]
}

// work compares what is queued, one by one.
func (m *Mirror) work(ctx context.Context) {
	for {
		k, shutdown := m.queue.Get()
		if shutdown {
			return
		}
		m.giveWay(ctx)
		m.compare(ctx, k)
		m.queue.Done(k)
	}
}

// An object may wait while pods are bound, as both need the API server; but not for ever.
const (
	longestWait = 2 * time.Second
	waitStep    = 20 * time.Millisecond
)

// giveWay waits while pods are bound, or until ctx ends.
func (m *Mirror) giveWay(ctx context.Context) {
	for waited := time.Duration(0); waited < longestWait && m.Busy(); waited += waitStep {
		select {
		case <-ctx.Done():
			return
		case <-time.After(waitStep):
		}
	}
}

func (m *Mirror) compare(ctx context.Context, k key) {
	if !m.Replica.Leading() || ctx.Err() != nil || m.Replica.View().Origin().Outcome == "" {
		m.queue.Forget(k) // the term, and the outcome, have everything compared anew
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	act := m.floatingIP
	if k.pool {
		act = m.pool
	}
	err := act(ctx, k.name)
	switch {
	case err == nil:
		m.queue.Forget(k)
	case errors.Is(err, allocator.ErrNotLeader):
		m.queue.Forget(k)
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err), errors.Is(err, errStale):
		m.queue.AddRateLimited(k) // what we know of the object is old: the news is on its way
	default:
		m.CountError("mirror")
		if m.queue.NumRequeues(k) == 0 {
			m.Log.Warn("mirror write failed; retrying", zap.String("object", k.name),
				zap.Bool("pool", k.pool), zap.Error(err))
		}
		m.queue.AddRateLimited(k)
	}
}

// writeTimeout bounds what is done for one object.
const writeTimeout = 30 * time.Second

// errStale means that the newest state of an object is not known here yet.
var errStale = errors.New("the object has changed")

// report shows an event on an object, unless it was the last one there.
func (m *Mirror) report(kind string, on metav1.Object, reason, message string) {
	id := kind + "/" + on.GetNamespace() + "/" + on.GetName()
	m.mu.Lock()
	said := m.reported[id] == reason+message
	m.reported[id] = reason + message
	m.mu.Unlock()
	if said {
		return
	}
	m.Report(corev1.ObjectReference{
		APIVersion: api.GroupVersion.String(), Kind: kind, Namespace: on.GetNamespace(), Name: on.GetName(),
		UID: on.GetUID(),
	}, true, reason, message)
}
