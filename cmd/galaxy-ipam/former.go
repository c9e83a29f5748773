package main

import (
	"context"

	"galaxy/migrations/galaxy"
)

// Reasons of the events about a former system's objects, on the ConfigMap of the subnets.
const (
	eventMigrationAwaited  = "MigrationAwaited"
	eventMigrationResolved = "MigrationResolved"
)

// newFormer makes what sees to it that nothing is given out over the head of a former system; nil without a cluster.
func (p *program) newFormer() *galaxy.Resolver {
	if p.cluster == nil {
		return nil
	}
	return &galaxy.Resolver{
		Replica: p.replica,
		Read:    func(ctx context.Context) (galaxy.Objects, error) { return galaxy.Read(ctx, p.clients.Dynamic) },
		Cluster: func() galaxy.Cluster { return p.cluster.Set() },
		Pools:   p.options.poolNamespaces,
		Choice:  galaxy.Choice(p.options.formerObjects),
		Log:     p.logger,
		Waits: func(reason string) {
			p.metrics.Waits("migration", reason != "")
			if reason == "" {
				p.cluster.ReportConfig(false, eventMigrationResolved,
					"what a former system has left is resolved: addresses are given out")
				return
			}
			p.cluster.ReportConfig(true, eventMigrationAwaited, reason)
		},
	}
}
