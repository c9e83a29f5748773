package main

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"galaxy/reconciler/mirror"
)

// mirror shows the log as objects, until ctx ends.
func (p *program) mirror(ctx context.Context) error {
	if err := mirror.Install(ctx, p.clients.Dynamic); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		p.logger.Warn("custom resource definitions outdated; apply deploy/crd", zap.Error(err))
	}
	if err := mirror.AwaitInstalled(ctx, p.clients.Dynamic); err != nil {
		return nil // ctx has ended
	}
	config := rest.CopyConfig(p.restConfig)
	config.QPS, config.Burst = p.options.mirrorQPS, max(int(p.options.mirrorQPS), 1)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client for the mirror: %w", err)
	}
	m := mirror.New(mirror.Config{
		Replica: p.replica, Client: client, Log: p.logger, Report: p.cluster.Report, CountError: p.metrics.Reconcile,
		Busy: p.scheduling.Binding, PoolNamespaces: p.options.poolNamespaces,
	})
	p.metrics.WatchMirror(m.Lag)
	return m.Run(ctx)
}
