package live

import (
	"context"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/objects"
)

// watch sets up the informers, and returns what reports that they have read everything.
func (c *Cluster) watch(ctx context.Context, factory informers.SharedInformerFactory) ([]cache.InformerSynced, error) {
	apps := factory.Apps().V1()
	watches := []func() (cache.InformerSynced, error){
		func() (cache.InformerSynced, error) {
			return follow(c, factory.Core().V1().Pods().Informer(), slim(PodOf), c.putPod, c.dropPod)
		},
		func() (cache.InformerSynced, error) {
			return follow(c, factory.Core().V1().Nodes().Informer(), slim(nodeOf), c.putNode, c.dropNode)
		},
		func() (cache.InformerSynced, error) {
			return c.followWorkloads(apps.Deployments().Informer(), slim(deploymentOf), ipam.KindDeployment)
		},
		func() (cache.InformerSynced, error) {
			return c.followWorkloads(apps.StatefulSets().Informer(), slim(statefulSetOf), ipam.KindStatefulSet)
		},
		func() (cache.InformerSynced, error) {
			return c.followWorkloads(apps.ReplicaSets().Informer(), slim(replicaSetOf), ipam.KindReplicaSet)
		},
	}
	if c.ConfigNamespace != "" {
		watches = append(watches, func() (cache.InformerSynced, error) { return c.followConfig(ctx) })
	}
	var synced []cache.InformerSynced
	for _, watch := range watches {
		s, err := watch()
		if err != nil {
			return nil, fmt.Errorf("watch the API server: %w", err)
		}
		synced = append(synced, s)
	}
	return synced, nil
}

// follow hands on what an informer sees. An object that was gone when the informer came back from a lost connection is
// dropped as any other.
func follow[T any](c *Cluster, informer cache.SharedIndexInformer, transform cache.TransformFunc,
	put func(old, now *entry[T]), drop func(*entry[T])) (cache.InformerSynced, error) {
	if err := informer.SetTransform(transform); err != nil {
		return nil, err
	}
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		c.watchErr.Store(err.Error())
		cache.DefaultWatchErrorHandler(ctx, r, err)
	}); err != nil {
		return nil, err
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if now, ok := object.(*entry[T]); ok {
				put(nil, now)
			}
		},
		UpdateFunc: func(before, object any) {
			now, ok := object.(*entry[T])
			old, _ := before.(*entry[T])
			if ok {
				put(old, now)
			}
		},
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			if gone, ok := object.(*entry[T]); ok {
				drop(gone)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return registration.HasSynced, nil
}

// putPod keeps pods that want addresses; no others matter here.
func (c *Cluster) putPod(old, now *entry[*kube.Pod]) {
	pod := now.value
	if old != nil && old.UID != now.UID { // the end of the first was not seen
		c.dropPod(old)
	}
	if !pod.Wants || old != nil && reflect.DeepEqual(old.value, pod) {
		return
	}
	if pod.Owner.Kind != "" {
		c.Know(kube.KindOf(pod.Owner.APIVersion, pod.Owner.Kind))
	}
	c.change(func(e *objects.Edit) { e.PutPod(pod) })
}

func (c *Cluster) dropPod(gone *entry[*kube.Pod]) {
	if pod := gone.value; pod.Wants {
		c.change(func(e *objects.Edit) { e.DropPod(pod.Namespace, pod.Name, pod.UID) })
	}
}

// putNode passes over the many changes of a node that say nothing new, as its heartbeats.
func (c *Cluster) putNode(old, now *entry[*kube.Node]) {
	if old == nil || !sameNode(old.value, now.value) {
		c.change(func(e *objects.Edit) { e.PutNode(now.value) })
	}
}

func (c *Cluster) dropNode(gone *entry[*kube.Node]) {
	c.change(func(e *objects.Edit) { e.DropNode(gone.Name) })
}

func (c *Cluster) followWorkloads(informer cache.SharedIndexInformer, transform cache.TransformFunc,
	kind string) (cache.InformerSynced, error) {
	owner := func(w *entry[allocator.Workload]) ipam.Owner {
		return ipam.Owner{Kind: kind, Namespace: w.Namespace, App: w.Name}
	}
	return follow(c, informer, transform, func(old, now *entry[allocator.Workload]) {
		if old == nil || old.value != now.value {
			c.change(func(e *objects.Edit) { e.PutWorkload(owner(now), now.value) })
		}
	}, func(gone *entry[allocator.Workload]) {
		c.change(func(e *objects.Edit) { e.DropWorkload(owner(gone)) })
	})
}

// followConfig watches the one ConfigMap with the subnets, so that no right to read others is needed.
func (c *Cluster) followConfig(ctx context.Context) (cache.InformerSynced, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(c.Clients.Kube, 0,
		informers.WithNamespace(c.ConfigNamespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", c.ConfigName).String()
		}))
	informer := factory.Core().V1().ConfigMaps().Informer()
	synced, err := follow(c, informer, slim(func(m *corev1.ConfigMap) map[string]string {
		c.configUID.Store(m.UID)
		return objects.ConfigOf(m.Data, m.Annotations)
	}), func(_, now *entry[map[string]string]) {
		c.change(func(e *objects.Edit) { e.PutConfigMap(now.Namespace, now.Name, now.value) })
	}, func(gone *entry[map[string]string]) {
		c.change(func(e *objects.Edit) { e.PutConfigMap(gone.Namespace, gone.Name, nil) })
	})
	factory.Start(ctx.Done())
	return synced, err
}
