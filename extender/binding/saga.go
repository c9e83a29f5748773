package binding

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
)

// Replica is what is asked of the allocator; *allocator.Replica is one. Where a cloud provider has to know of addresses
// it is one that notifies the provider, as cloud.Notifying: a command fails when the provider refuses.
type Replica interface {
	Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error)
}

// Binder writes into the cluster that a pod runs on a node with these addresses, and their proof, which is "" where
// nothing is signed. kube.ErrPodGone and kube.BoundError say that it never will.
type Binder interface {
	Bind(ctx context.Context, pod *kube.Pod, node string, infos []ipam.IPInfo, proof string) error
}

// Signer makes the proof that a pod has addresses on a node, as of an event of the log.
type Signer func(pod *kube.Pod, node string, infos []ipam.IPInfo, seq uint64) (string, error)

// Saga takes pods to their nodes. Each step may be repeated, so that a bind that stopped half-way is just asked for
// again; what nobody asks for again, the reconciler ends.
type Saga struct {
	Replica Replica
	Binder  Binder // nil: galaxy-ipam only allocates, and something else binds
	// Sign makes the proof of what the log says, for the agent of the node; nil: nothing is signed. What cannot be signed
	// is not bound: its pod would be refused there.
	Sign    Signer
	binding atomic.Int64
}

// Binding reports whether a binding is on its way to the cluster.
func (s *Saga) Binding() bool { return s.binding.Load() > 0 }

// Claim counts the pod against its limit before it is bound, as binds come later and many at once. It returns those of
// the node networks where the pod may then run: none when no address is left.
func (s *Saga) Claim(ctx context.Context, pod allocator.Pod, candidates []netip.Prefix) ([]netip.Prefix, error) {
	result, err := s.Replica.Do(ctx, pod.UID, allocator.Claim{Pod: pod, Candidates: candidates})
	var exhausted *allocator.ExhaustedError
	if errors.As(err, &exhausted) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var networks []netip.Prefix
	for _, network := range candidates {
		if !slices.ContainsFunc(result.Grants, func(g allocator.Grant) bool { return !g.Subnet.Serves(network) }) {
			networks = append(networks, network)
		}
	}
	return networks, nil
}

// Order is one pod that is to run on one node.
type Order struct {
	Pod     *kube.Pod
	Asked   allocator.Pod // what the pod asks for
	Node    string
	Network netip.Prefix // of the node; the zero Prefix when no subnet serves it
}

// Bind allocates what the pod has not got yet, and binds it in the cluster. After kube.ErrPodGone the pod keeps no
// address that its policy does not keep for it; after kube.BoundError the log says where it runs.
func (s *Saga) Bind(ctx context.Context, o Order) error {
	result, err := s.Replica.Do(ctx, o.Asked.UID, allocator.Bind{Pod: o.Asked, Node: o.Node, NodeNetwork: o.Network})
	if err != nil || s.Binder == nil {
		return err
	}
	err = s.write(ctx, o, result)
	var bound *kube.BoundError
	switch {
	case errors.Is(err, kube.ErrPodGone):
		return errors.Join(err, s.end(ctx, o.Asked))
	case errors.As(err, &bound):
		return errors.Join(err, s.correct(ctx, o.Asked, bound.Node, result.Grants))
	default:
		return err
	}
}

// write binds the pod in the cluster, and is counted meanwhile.
func (s *Saga) write(ctx context.Context, o Order, result allocator.Result) error {
	s.binding.Add(1)
	defer s.binding.Add(-1)
	infos := make([]ipam.IPInfo, len(result.Grants))
	for i, g := range result.Grants {
		infos[i] = g.Info()
	}
	proof := ""
	if s.Sign != nil {
		var err error
		if proof, err = s.Sign(o.Pod, o.Node, infos, result.Seq); err != nil {
			return err
		}
	}
	return s.Binder.Bind(ctx, o.Pod, o.Node, infos, proof)
}

// correct records where a pod really runs, as this bind has recorded another node for it.
func (s *Saga) correct(ctx context.Context, pod allocator.Pod, node string, grants []allocator.Grant) error {
	cause := pod.UID + ": it was bound to another node"
	for _, g := range grants {
		if _, err := s.Replica.Do(ctx, cause, allocator.Adopt{Pod: pod, Node: node, Address: g.Address}); err != nil {
			return err
		}
	}
	return nil
}

// end gives back what a pod had that vanished while it was bound.
func (s *Saga) end(ctx context.Context, pod allocator.Pod) error {
	_, err := s.Replica.Do(ctx, pod.UID+": it was gone when it was bound", allocator.EndPod{Pod: pod})
	return err
}
