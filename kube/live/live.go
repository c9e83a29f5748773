package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/objects"
)

// Clients are the ways to the API server that a Cluster needs.
type Clients struct {
	Kube      kubernetes.Interface
	Dynamic   dynamic.Interface
	Metadata  metadata.Interface
	Discovery discovery.DiscoveryInterface
}

// NewClients makes the clients for an API server.
func NewClients(config *rest.Config) (Clients, error) {
	var c Clients
	// Kubernetes' own objects have a quicker encoding, which costs the API server and us a fraction of JSON.
	quick := rest.CopyConfig(config)
	quick.ContentType = runtime.ContentTypeProtobuf
	quick.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	kubeClient, err := kubernetes.NewForConfig(quick)
	if err != nil {
		return c, fmt.Errorf("client of the API server: %w", err)
	}
	c.Kube, c.Discovery = kubeClient, kubeClient.Discovery()
	if c.Dynamic, err = dynamic.NewForConfig(config); err != nil {
		return c, fmt.Errorf("dynamic client of the API server: %w", err)
	}
	if c.Metadata, err = metadata.NewForConfig(metadata.ConfigFor(config)); err != nil {
		return c, fmt.Errorf("metadata client of the API server: %w", err)
	}
	return c, nil
}

// Config is what a Cluster needs. Clients and Log are required.
type Config struct {
	Clients         Clients
	Log             *zap.Logger
	ConfigNamespace string // of the ConfigMap to watch; "" for none
	ConfigName      string
	Actor           string // who reports events
}

// Cluster follows the API server. Its Set is empty until Run has read everything once.
type Cluster struct {
	Config
	store  *objects.Store
	kinds  *kinds
	events record.EventRecorder
	caster record.EventBroadcaster

	mu      sync.Mutex
	pending []func(*objects.Edit) // what the informers say, in their order
	wake    chan struct{}
	synced  chan struct{}

	configUID atomic.Value // types.UID of the ConfigMap with the subnets
	watchErr  atomic.Value // string: why objects could not be read, the last time
}

// New makes a Cluster.
func New(config Config) *Cluster {
	c := &Cluster{
		Config: config, store: objects.NewStore(objects.Live()), wake: make(chan struct{}, 1),
		synced: make(chan struct{}),
	}
	c.kinds = newKinds(c)
	c.caster, c.events = newEvents(config)
	return c
}

// Set is the newest state of the cluster, as of now.
func (c *Cluster) Set() *objects.Set { return c.store.Set().At(time.Now()) }

// Subscribe gives a channel that gets a value after a change; several changes may be one value.
func (c *Cluster) Subscribe() (changed <-chan struct{}, cancel func()) { return c.store.Subscribe() }

// Synced is closed once everything that there is has been read.
func (c *Cluster) Synced() <-chan struct{} { return c.synced }

// Run follows the API server until ctx ends. While the API server cannot be reached, the last state stays.
func (c *Cluster) Run(ctx context.Context) error {
	defer c.caster.Shutdown()
	factory := informers.NewSharedInformerFactory(c.Clients.Kube, 0)
	registrations, err := c.watch(ctx, factory)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	running.Go(func() { c.apply(ctx) })
	running.Go(func() { c.kinds.run(ctx) })
	running.Go(func() { c.probe(ctx) })
	factory.Start(ctx.Done())
	running.Go(func() {
		if !cache.WaitForCacheSync(ctx.Done(), registrations...) {
			return
		}
		c.change(func(e *objects.Edit) {
			e.KnowsPods()
			for _, kind := range []string{ipam.KindDeployment, ipam.KindStatefulSet, ipam.KindReplicaSet} {
				e.Watches(kind, true)
			}
			close(c.synced)
		})
	})
	<-ctx.Done()
	factory.Shutdown()
	running.Wait()
	return nil
}

// How often the API server is asked whether it is there, until everything was read once, and how long it may take.
const (
	probeEvery   = time.Second
	probeTimeout = 3 * time.Second
)

// probe finds out why nothing is read: informers keep it to themselves that nobody answers.
func (c *Cluster) probe(ctx context.Context) {
	for {
		asking, cancel := context.WithTimeout(ctx, probeTimeout)
		err := c.Clients.Discovery.RESTClient().Get().AbsPath("/version").Do(asking).Error()
		cancel()
		if err != nil && ctx.Err() == nil {
			c.watchErr.Store(err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-c.synced:
			return
		case <-time.After(probeEvery):
		}
	}
}

// Unread says why the objects have not been read yet; "" once they were.
func (c *Cluster) Unread() string {
	select {
	case <-c.synced:
		return ""
	default:
	}
	text := "the cluster's objects have not been read yet"
	if why, _ := c.watchErr.Load().(string); why != "" {
		text += ": " + why
	}
	return text
}

// change queues a change. Many that come at once become one Set.
func (c *Cluster) change(edit func(*objects.Edit)) {
	c.mu.Lock()
	c.pending = append(c.pending, edit)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// apply makes the next Set of the changes that wait, again and again.
func (c *Cluster) apply(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		c.mu.Lock()
		changes := c.pending
		c.pending = nil
		c.mu.Unlock()
		edit := c.store.Set().Edit()
		for _, change := range changes {
			change(edit)
		}
		c.store.Put(edit.Done(time.Now()))
	}
}

// Know makes sure that the workloads of a kind, in the form of ipam.Owner, are watched.
func (c *Cluster) Know(kind string) { c.kinds.know(kind) }

// WaitForSync waits until everything was read once.
func (c *Cluster) WaitForSync(ctx context.Context) error {
	select {
	case <-c.synced:
		return nil
	case <-ctx.Done():
		return errors.New(c.Unread())
	}
}

func sameNode(a, b *kube.Node) bool {
	return a.UID == b.UID && a.OutOfService == b.OutOfService && a.Capacity == b.Capacity &&
		slices.Equal(a.IPs, b.IPs) &&
		slices.Equal(a.Further, b.Further)
}
