package main

import (
	"context"

	"go.uber.org/zap"

	"galaxy/reconciler/mirror"
)

// mirror shows the log as objects, until ctx ends.
func (p *program) mirror(ctx context.Context) error {
	if err := mirror.Install(ctx, p.clients.Dynamic); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		p.logger.Warn("the custom resources are not as they should be; apply deploy/crd", zap.Error(err))
	}
	if err := mirror.AwaitInstalled(ctx, p.clients.Dynamic); err != nil {
		return nil // ctx has ended
	}
	m := mirror.New(mirror.Config{
		Replica: p.replica, Client: p.clients.Dynamic, Log: p.logger, Report: p.cluster.Report, Fault: p.metrics.Reconcile,
	})
	return m.Run(ctx)
}
