package live

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/objects"
)

// kinds watches the workloads of all kinds other than those of Kubernetes itself that keep addresses: what there is, by
// their metadata, and how many replicas each has, by its scale subresource. A kind is found by discovery, whatever its
// group and version.
type kinds struct {
	cluster *Cluster
	queue   workqueue.TypedRateLimitingInterface[scaled]

	mu     sync.Mutex
	known  map[string]bool
	starts chan string
	// what is known of each; two groups may have a kind of one name
	workloads map[ipam.Owner]map[schema.GroupVersionResource]allocator.Workload
}

// scaled is a workload whose scale is to be read.
type scaled struct {
	served
	kind, namespace, name string
}

// served is how the API server serves a kind.
type served struct {
	resource schema.GroupVersionResource
	scales   bool
}

// How often a kind that is not served, or could not be asked for, is looked up again; and who reads scales.
const (
	discoverAgain = 30 * time.Second
	scaleReaders  = 4
	scaleTimeout  = 10 * time.Second
)

func newKinds(c *Cluster) *kinds {
	return &kinds{
		cluster: c, known: map[string]bool{}, starts: make(chan string, 256),
		queue:     workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[scaled]()),
		workloads: map[ipam.Owner]map[schema.GroupVersionResource]allocator.Workload{},
	}
}

// maxKinds is how many kinds of workloads are watched: many times what clusters have. Whoever makes a pod names the
// kind of its owner.
const maxKinds = 512

// know starts to watch a kind, once. Workloads of kinds beyond maxKinds stay unknown, so that what is kept for them is
// not given back.
func (k *kinds) know(kind string) {
	if kind == "" || kind == ipam.KindDeployment || kind == ipam.KindStatefulSet || kind == ipam.KindReplicaSet {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known[kind] || len(k.known) >= maxKinds {
		return
	}
	select {
	case k.starts <- kind:
		k.known[kind] = true
		if len(k.known) == maxKinds {
			k.cluster.Log.Warn("the owners of pods are of so many kinds that no more are watched, and what is kept for "+
				"others stays: see who makes such pods, and restart galaxy-ipam", zap.Int("kinds", maxKinds))
		}
	default: // many at once; the next pod of the kind asks again
	}
}

func (k *kinds) run(ctx context.Context) {
	var running sync.WaitGroup
	for range scaleReaders {
		running.Go(func() { k.readScales(ctx) })
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case kind := <-k.starts:
			running.Go(func() { k.follow(ctx, kind) })
		}
	}
	k.queue.ShutDown()
	running.Wait()
}

// follow finds a kind and watches it. A kind that the API server does not serve has no workloads; it may come, so it is
// looked for again and again.
func (k *kinds) follow(ctx context.Context, kind string) {
	watched := map[schema.GroupVersionResource]bool{}
	for {
		found, err := k.discover(kind)
		if err != nil {
			k.cluster.Log.Warn("cannot find out how a kind of workload is served; addresses kept for it stay",
				zap.String("kind", kind), zap.Error(err))
		}
		for _, s := range found {
			if !watched[s.resource] {
				watched[s.resource] = true
				go k.watch(ctx, kind, s)
			}
		}
		if err == nil && len(found) == 0 && len(watched) == 0 {
			k.cluster.change(func(e *objects.Edit) { e.Watches(kind, true) })
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(discoverAgain):
		}
	}
}

// discover finds the resources of a kind: one a group, in the version that the API server prefers. An incomplete
// discovery is an error, unless it has found the kind.
func (k *kinds) discover(kind string) ([]served, error) {
	_, lists, err := k.cluster.Clients.Discovery.ServerGroupsAndResources()
	var partly *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &partly) {
		return nil, err
	}
	var found []served
	for _, list := range lists {
		version, parseErr := schema.ParseGroupVersion(list.GroupVersion)
		if parseErr != nil {
			continue
		}
		for _, r := range list.APIResources {
			if !r.Namespaced || strings.Contains(r.Name, "/") || kube.KindOf(list.GroupVersion, r.Kind) != kind {
				continue
			}
			s := served{version.WithResource(r.Name),
				slices.ContainsFunc(list.APIResources, func(sub metav1.APIResource) bool {
					return sub.Name == r.Name+
						"/scale"
				})}
			// Versions of one group come with the preferred one first.
			if !slices.ContainsFunc(found,
				func(f served) bool { return f.resource.GroupResource() == s.resource.GroupResource() }) {
				found = append(found, s)
			}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, err
}

// watch follows one resource until ctx ends.
func (k *kinds) watch(ctx context.Context, kind string, s served) {
	informer := metadatainformer.NewFilteredMetadataInformer(k.cluster.Clients.Metadata, s.resource,
		metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
	toScale := func(m *metav1.PartialObjectMetadata) scaled { return scaled{s, kind, m.Namespace, m.Name} }
	synced, err := follow(k.cluster, informer, slim(toScale), func(_, now *entry[scaled]) {
		if s.scales {
			k.queue.Add(now.value)
			return
		}
		k.learn(now.value, allocator.Workload{Exists: true})
	}, func(gone *entry[scaled]) { k.learn(gone.value, allocator.Workload{}) })
	if err != nil {
		k.cluster.Log.Error("workload watch failed", zap.String("kind", kind), zap.Error(err))
		return
	}
	go informer.RunWithContext(ctx)
	if cache.WaitForCacheSync(ctx.Done(), synced) {
		k.cluster.change(func(e *objects.Edit) { e.Watches(kind, true) })
		k.cluster.Log.Info("watching a kind of workload", zap.String("kind", kind),
			zap.Stringer("resource", s.resource), zap.Bool("scales", s.scales))
	}
	<-ctx.Done()
}

// readScales asks for the replicas of workloads that have changed.
func (k *kinds) readScales(ctx context.Context) {
	for {
		w, shutdown := k.queue.Get()
		if shutdown {
			return
		}
		if err := k.readScale(ctx, w); err != nil && ctx.Err() == nil {
			k.cluster.Log.Warn("cannot read the scale of a workload; addresses kept for it stay",
				zap.String("kind", w.kind),
				zap.String("workload", w.namespace+"/"+w.name), zap.Error(err))
			k.learn(w, allocator.Workload{Unknown: true})
			k.queue.AddRateLimited(w)
		} else {
			k.queue.Forget(w)
		}
		k.queue.Done(w)
	}
}

func (k *kinds) readScale(ctx context.Context, w scaled) error {
	ctx, cancel := context.WithTimeout(ctx, scaleTimeout)
	defer cancel()
	scale, err := k.cluster.Clients.Dynamic.Resource(w.resource).Namespace(w.namespace).Get(ctx, w.name,
		metav1.GetOptions{}, "scale")
	if apierrors.IsNotFound(err) {
		k.learn(w, allocator.Workload{})
		return nil
	}
	if err != nil {
		return err
	}
	replicas, _, err := unstructured.NestedInt64(scale.Object, "spec", "replicas")
	if err != nil {
		return err
	}
	k.learn(w, allocator.Workload{Exists: true, Scales: true, Replicas: int(replicas)})
	return nil
}

// learn takes what is known of a workload. Where two groups have one of the same kind and name, the one that keeps more
// counts.
func (k *kinds) learn(w scaled, is allocator.Workload) {
	owner := ipam.Owner{Kind: w.kind, Namespace: w.namespace, App: w.name}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.workloads[owner] == nil {
		k.workloads[owner] = map[schema.GroupVersionResource]allocator.Workload{}
	}
	if is == (allocator.Workload{}) {
		delete(k.workloads[owner], w.resource)
	} else {
		k.workloads[owner][w.resource] = is
	}
	if len(k.workloads[owner]) == 0 {
		delete(k.workloads, owner)
		k.cluster.change(func(e *objects.Edit) { e.DropWorkload(owner) })
		return
	}
	var sum allocator.Workload
	for _, one := range k.workloads[owner] {
		sum.Exists, sum.Scales, sum.Unknown = sum.Exists || one.Exists, sum.Scales || one.Scales, sum.Unknown ||
			one.Unknown
		sum.Replicas = max(sum.Replicas, one.Replicas)
	}
	k.cluster.change(func(e *objects.Edit) { e.PutWorkload(owner, sum) })
}
