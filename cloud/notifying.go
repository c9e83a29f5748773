package cloud

import (
	"context"

	"galaxy/allocator"
	"galaxy/projections"
)

// Decider is a replica as those have it who serve requests; *allocator.Replica is one.
type Decider interface {
	Replica
	Env() allocator.Env
	Leading() bool
	Unready() string
}

// Notifying is a replica that notifies the provider of what its commands do: a pod's addresses are assigned to its node
// once they are bound, and taken from it before they are given up. While the provider refuses that, the command fails.
type Notifying struct {
	Decider
	Keeper *Keeper
}

// Do is that of the replica.
func (n Notifying) Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error) {
	for _, a := range n.givesUp(command) {
		if err := n.Keeper.Unassign(ctx, a); err != nil {
			return allocator.Result{}, err
		}
	}
	result, err := n.Decider.Do(ctx, cause, command)
	if bind, ok := command.(allocator.Bind); ok && err == nil {
		err = n.Keeper.Assign(ctx, bind.Pod, bind.Node, result.Grants)
	}
	return result, err
}

// givesUp are the addresses that a command takes from a pod. Those that are only kept are on no node: what the provider
// has of them all the same, Repair takes back. An address of another owner stays, as the command is refused.
func (n Notifying) givesUp(command allocator.Command) []*projections.Address {
	switch c := command.(type) {
	case allocator.EndPod:
		return allocator.GivesUp(n.View(), c)
	case allocator.Release:
		if a := n.View().Address(c.Address); a != nil && a.Owner == c.Owner {
			return []*projections.Address{a}
		}
	}
	return nil
}
