package main

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/lease"
	"galaxy/reconciler"
)

// wireNodes builds what gives nodes their subnets of the overlay: a replica of the stream nodes, and what makes it
// follow the leases of the nodes' agents.
func (p *program) wireNodes(ctx context.Context) (err error) {
	p.nodes, err = allocator.NewReplica(ctx, allocator.Config{
		Log: p.log, Stream: eventlog.StreamNodes, Actor: p.identity, Now: time.Now,
	}, p.progress())
	if err != nil {
		return err
	}
	prefix := lease.NodesPrefix(p.options.etcd.Prefix)
	p.nodeLeases = &reconciler.Nodes{
		Replica: p.nodes, Prefix: prefix, Overlay: p.settings.overlay, Source: "file " + p.options.config,
		Keep: p.settings.keepNodes,
		Alive: func(ctx context.Context) iter.Seq2[[]lease.Change,
			error] {
			return lease.Watch(ctx, p.client, prefix)
		},
		CountError: p.metrics.Reconcile, Now: time.Now, Log: p.logger,
	}
	if p.cluster != nil {
		p.nodeLeases.Deleted, p.nodeLeases.Ready, p.nodeLeases.Has, p.nodeLeases.Networks = p.nodeDeleted, p.nodeReady,
			p.nodeHas, p.settings.reach
		p.nodeLeases.Report = func(node, reason, message string) {
			p.cluster.ReportNode(node, true, reason, message)
		}
	}
	p.metrics.WatchNodes(p.nodes, p.nodeLeases.Waiting, p.nodeLeases.Silent)
	return nil
}

// nodeReady reports whether the cluster hears a node's kubelet.
func (p *program) nodeReady(name string) bool {
	node := p.cluster.Set().Node(name)
	return node != nil && node.Ready
}

// nodeHas reports whether the cluster knows a node by an address, if it knows any of it.
func (p *program) nodeHas(name string, addr netip.Addr) (has, known bool) {
	node := p.cluster.Set().Node(name)
	if node == nil || len(node.IPs)+len(node.Further) == 0 {
		return false, false
	}
	return node.Has(addr), true
}

// nodeDeleted reports whether the cluster, as far as it is known at all, has no such node.
func (p *program) nodeDeleted(name string) bool {
	select {
	case <-p.cluster.Synced():
		return p.cluster.Set().Node(name) == nil
	default:
		return false
	}
}
