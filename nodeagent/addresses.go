package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/plugins"
	"galaxy/plugins/pair"
	"galaxy/wire"
)

// Addresses gives the addresses of a node's subnets to containers. Every ADD and DEL is an event in the node's own
// stream, in a file of this machine before it is answered and in etcd soon after.
type Addresses struct {
	Node string
	// Leave says why the node may give no more addresses; nil if it may.
	Leave func() error
	Log   *zap.Logger

	current atomic.Pointer[allocator.Replica] // of the node's stream; this agent leads it as long as it runs
}

// replica is the node's stream; nil while it is not known.
func (a *Addresses) replica() *allocator.Replica { return a.current.Load() }

func (a *Addresses) set(r *allocator.Replica) { a.current.Store(r) }

var errUnknown = types.NewError(types.ErrTryAgainLater, "the addresses of this node are not known yet",
	"etcd has not answered since the start")

var _ plugins.IPAM = (*Addresses)(nil)

// Type implements plugins.IPAM.
func (a *Addresses) Type() string { return plugins.IPAMType }

// Add implements plugins.IPAM.
func (a *Addresses) Add(ctx context.Context, args *skel.CmdArgs) (*types100.Result, error) {
	if a.Leave != nil {
		if err := a.Leave(); err != nil {
			return nil, types.NewError(types.ErrTryAgainLater, err.Error(), "")
		}
	}
	pod := podOf(args)
	result, err := a.do(ctx, cause(pod.UID, args.ContainerID), allocator.Attach{
		Owner: ipam.Owner{Namespace: pod.Namespace, Pod: pod.Name}, PodUID: pod.UID, Node: a.Node,
		ContainerID: args.ContainerID, IfName: args.IfName,
	})
	var exhausted *allocator.ExhaustedError
	switch {
	case errors.As(err, &exhausted), errors.Is(err, allocator.ErrNoSubnet):
		return nil, types.NewError(types.ErrTryAgainLater, err.Error(), "")
	case err != nil:
		return nil, fmt.Errorf("take an address of node %s: %w", a.Node, err)
	}
	return resultOf(result.Grants), nil
}

// podOf is whom a container is for. A runtime without Kubernetes names no pod; then the container stands for it.
func podOf(args *skel.CmdArgs) wire.PodArgs {
	values := wire.ParseArgs(args.Args)
	pod := wire.PodArgs{Namespace: values["K8S_POD_NAMESPACE"], Name: values["K8S_POD_NAME"],
		UID: values["K8S_POD_UID"]}
	if pod.Name == "" {
		pod.Name = args.ContainerID
	}
	return pod
}

func cause(uid, containerID string) string {
	if uid != "" {
		return uid
	}
	return containerID
}

func resultOf(grants []allocator.Grant) *types100.Result {
	result := &types100.Result{CNIVersion: types100.ImplementedSpecVersion}
	for _, g := range grants {
		bits := g.Subnet.Prefix.Bits()
		if !g.Subnet.Prefix.IsValid() {
			bits = g.Address.BitLen() // its subnet is another node's by now; the container keeps the address
		}
		ip := &types100.IPConfig{Address: *plugins.IPNet(netip.PrefixFrom(g.Address, bits))}
		if g.Subnet.Gateway.IsValid() {
			ip.Gateway = net.IP(g.Subnet.Gateway.AsSlice())
		}
		result.IPs = append(result.IPs, ip)
	}
	return result
}

// Del implements plugins.IPAM.
func (a *Addresses) Del(ctx context.Context, args *skel.CmdArgs) error {
	replica := a.replica()
	if replica == nil {
		return errUnknown // something may be held
	}
	held := slices.Collect(replica.View().Attached(args.ContainerID, args.IfName))
	if len(held) == 0 {
		return nil // nothing to write, and nothing to wait for
	}
	detach, why := allocator.Detach{ContainerID: args.ContainerID, IfName: args.IfName,
		Reason: allocator.ReasonDetached}, cause(podOf(args).UID, args.ContainerID)
	if evidence := plugins.Evidence(ctx); evidence != "" {
		detach.Reason, why = allocator.ReasonContainerGone, evidence
	}
	_, err := a.do(ctx, why, detach)
	if err != nil {
		return fmt.Errorf("give the addresses of container %s back: %w", args.ContainerID, err)
	}
	return nil
}

// Check implements plugins.IPAM.
func (a *Addresses) Check(_ context.Context, args *skel.CmdArgs) error {
	replica := a.replica()
	if replica == nil {
		return errUnknown
	}
	for range replica.View().Attached(args.ContainerID, args.IfName) {
		return nil
	}
	return plugins.Errorf(plugins.ErrChanged, "the log of node %s has no address for %s of container %s", a.Node,
		args.IfName, args.ContainerID)
}

// Lost undoes what an interface of a container has of which no state is left, or with no interface what all of its
// interfaces have: its links first, so that nobody gets an address that still leads here.
func (a *Addresses) Lost(ctx context.Context, containerID, ifName string) error {
	if err := pair.RemoveLost(containerID, ifName); err != nil {
		return err
	}
	return a.Del(ctx, &skel.CmdArgs{ContainerID: containerID, IfName: ifName})
}

// Held are the containers that have addresses.
func (a *Addresses) Held() []string {
	replica := a.replica()
	if replica == nil {
		return nil
	}
	var all []string
	for held := range replica.View().Containers() {
		if id := held.Attachment.ContainerID; len(all) == 0 || all[len(all)-1] != id {
			all = append(all, id)
		}
	}
	return all
}

// Release gives back what a container has that is gone.
func (a *Addresses) Release(ctx context.Context, containerID string) error {
	result, err := a.do(ctx, plugins.Evidence(ctx),
		allocator.Detach{ContainerID: containerID, Reason: allocator.ReasonContainerGone})
	if len(result.Released) > 0 {
		a.Log.Info("gave back the addresses of a container that is gone", zap.String("container", containerID),
			zap.Stringers("addresses", result.Released))
	}
	return err
}

// Use puts the node's subnets in force. What containers have of others stays theirs.
func (a *Addresses) Use(ctx context.Context, subnets []netip.Prefix) error {
	pools := make([]ipam.Subnet, len(subnets))
	for i, s := range subnets {
		pools[i] = ipam.NodePool(s)
	}
	slices.SortFunc(pools, func(x, y ipam.Subnet) int { return x.Gateway.Compare(y.Gateway) })
	_, err := a.do(ctx, "nodes", allocator.Configure{Source: "nodes", Subnets: pools, Force: true})
	return err
}

// Subnets are those in force.
func (a *Addresses) Subnets() []netip.Prefix {
	replica := a.replica()
	if replica == nil {
		return nil
	}
	var all []netip.Prefix
	for _, s := range replica.View().Config().Subnets {
		all = append(all, s.Prefix)
	}
	return all
}

func (a *Addresses) do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error) {
	replica := a.replica()
	if replica == nil {
		return allocator.Result{}, errUnknown
	}
	return replica.Do(ctx, cause, command)
}
