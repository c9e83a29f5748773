package extender

import (
	"context"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/projections"
)

// Replica is what is asked of the allocator; *allocator.Replica is one.
type Replica interface {
	// Do decides a command and returns when its events are durable.
	Do(ctx context.Context, cause string, cmd allocator.Command) (allocator.Result, error)
	// View is the newest durable state.
	View() *projections.View
	// Env is what a decision made now takes from outside the view.
	Env() allocator.Env
	// Leading reports whether this replica decides.
	Leading() bool
	// Unready says why whoever asks would not be served: the view has not caught up with the log, or addresses are held
	// back. "" when all is well.
	Unready() string
}

// Cluster is what the cluster looked like at one moment; *objects.Set is one. It must not change once it is handed out.
type Cluster interface {
	// KnowsPods reports whether the absence of a pod means anything.
	KnowsPods() bool
	Pod(namespace, name string) *kube.Pod
	PodByUID(uid string) *kube.Pod
	Node(name string) *kube.Node
	Workload(owner ipam.Owner) allocator.Workload
}

// NoCluster is a cluster that nothing is known of.
var NoCluster Cluster = noCluster{}

type noCluster struct{}

func (noCluster) KnowsPods() bool                        { return false }
func (noCluster) Pod(_, _ string) *kube.Pod              { return nil }
func (noCluster) PodByUID(string) *kube.Pod              { return nil }
func (noCluster) Node(string) *kube.Node                 { return nil }
func (noCluster) Workload(ipam.Owner) allocator.Workload { return allocator.Workload{} }

// ClusterOf calls a source of clusters that may be absent.
func ClusterOf(source func() Cluster) Cluster {
	if source == nil {
		return NoCluster
	}
	if c := source(); c != nil {
		return c
	}
	return NoCluster
}
