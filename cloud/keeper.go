package cloud

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"galaxy/allocator"
	"galaxy/projections"
)

// Assigner is a cloud provider; *Provider is one.
type Assigner interface {
	Assign(ctx context.Context, node string, addr netip.Addr) error
	Unassign(ctx context.Context, node string, addr netip.Addr) error
}

// Replica is what is asked of the allocator; *allocator.Replica is one.
type Replica interface {
	Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error)
	View() *projections.View
}

// Keeper keeps the provider in step with the log. Before an address is put to use on a node it is assigned to it, and
// before it is given up it is unassigned; each is recorded once the provider has confirmed it.
type Keeper struct {
	Provider Assigner
	Replica  Replica
	Observe  func(call string, took time.Duration) // called for each call that succeeded, for metrics; may be nil
}

// Assign assigns the addresses that a pod has been granted on a node. It may be repeated. One that is assigned
// elsewhere still, as its pod moved while the provider could not be reached, is taken from there first.
func (k *Keeper) Assign(ctx context.Context, pod allocator.Pod, node string, grants []allocator.Grant) error {
	for _, g := range grants {
		a := k.Replica.View().Address(g.Address)
		if a == nil || a.Assigned == node {
			continue
		}
		if err := k.assign(ctx, pod.UID, node, a); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) assign(ctx context.Context, cause, node string, a *projections.Address) error {
	if a.Assigned != "" && a.Assigned != node {
		if err := k.unassign(ctx, a, a.Assigned); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := k.Provider.Assign(ctx, node, a.Addr); err != nil {
		return err
	}
	k.observe("assign", start)
	_, err := k.Replica.Do(ctx, cause, allocator.MarkAssigned{Address: a.Addr, Node: node})
	return err
}

// Unassign takes an address from the node that it is, or may be, assigned to. An address that is in use and not
// recorded as assigned may be so all the same: its recording may have failed.
func (k *Keeper) Unassign(ctx context.Context, a *projections.Address) error {
	node := a.Assigned
	if node == "" {
		node = a.Node
	}
	if node == "" {
		return nil
	}
	return k.unassign(ctx, a, node)
}

func (k *Keeper) unassign(ctx context.Context, a *projections.Address, node string) error {
	start := time.Now()
	if err := k.Provider.Unassign(ctx, node, a.Addr); err != nil {
		return err
	}
	k.observe("unassign", start)
	if a.Assigned == "" {
		return nil
	}
	_, err := k.Replica.Do(ctx, a.PodUID, allocator.MarkUnassigned{Address: a.Addr, Node: node})
	return err
}

func (k *Keeper) observe(call string, start time.Time) {
	if k.Observe != nil {
		k.Observe(call, time.Since(start))
	}
}

// Repair brings the provider in step where something has stopped half-way: it assigns what is in use and not assigned
// to its node, and takes back what is assigned and not in use there. It goes on after a failure, and returns all of
// them.
func (k *Keeper) Repair(ctx context.Context) error {
	var errs []error
	for a := range k.Replica.View().Addresses(netip.Addr{}) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case a.Node == a.Assigned:
		case a.Node != "":
			errs = append(errs, k.assign(ctx, a.PodUID, a.Node, a))
		default:
			errs = append(errs, k.unassign(ctx, a, a.Assigned))
		}
	}
	return errors.Join(errs...)
}
