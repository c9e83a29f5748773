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

// Told is a replica that tells the provider of what its commands do: a pod's addresses are assigned to its node once they are bound, and
// taken from it before they are given up. While the provider refuses that, the command fails.
type Told struct {
	Decider
	Keeper *Keeper
}

// Do is that of the replica.
func (t Told) Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error) {
	for _, a := range t.givesUp(command) {
		if err := t.Keeper.Unassign(ctx, a); err != nil {
			return allocator.Result{}, err
		}
	}
	result, err := t.Decider.Do(ctx, cause, command)
	if bind, ok := command.(allocator.Bind); ok && err == nil {
		err = t.Keeper.Assign(ctx, bind.Pod, bind.Node, result.Grants)
	}
	return result, err
}

// givesUp are the addresses that a command takes from a pod. Those that are only kept are on no node: what the provider has of them all the
// same, Repair takes back. An address of another owner stays, as the command is refused.
func (t Told) givesUp(command allocator.Command) []*projections.Address {
	switch c := command.(type) {
	case allocator.EndPod:
		return allocator.GivesUp(t.View(), c)
	case allocator.Release:
		if a := t.View().Address(c.Address); a != nil && a.Owner == c.Owner {
			return []*projections.Address{a}
		}
	}
	return nil
}
