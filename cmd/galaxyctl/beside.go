package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/cmd/internal/apiserver"
	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/kube/live"
	"galaxy/reconciler"
)

// beside is a replica of the log and a view of the cluster, beside a galaxy-ipam that may run or not. One that writes decides for
// itself; the log sees to it that no two do at once.
type beside struct {
	clients    live.Clients
	cluster    *live.Cluster
	replica    *allocator.Replica
	reconciler *reconciler.Reconciler
	end        func()
}

// beside reads the log and the cluster; writes says whether it may also decide.
func (g *globals) beside(ctx context.Context, api *apiserver.Flags, writes bool) (*beside, error) {
	config, err := api.Config()
	if errors.Is(err, apiserver.ErrNone) {
		return nil, misuse("%v", err)
	}
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	b := &beside{}
	if b.clients, err = live.NewClients(config); err != nil {
		return nil, err
	}
	client, err := g.etcd.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.start(ctx, g, client, writes); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return b, nil
}

func (b *beside) start(ctx context.Context, g *globals, client *clientv3.Client, writes bool) error {
	log, err := etcdlog.Open(ctx, client, g.etcd.Options())
	if err != nil {
		return g.etcd.Explain(err)
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	rules := reconciler.DefaultRules()
	quiet := zap.NewNop()
	b.cluster = live.New(live.Config{Clients: b.clients, Log: quiet, ConfigNamespace: rules.ConfigNamespace, ConfigName: rules.ConfigName, Actor: "galaxyctl"})
	b.replica, err = allocator.NewReplica(ctx, allocator.Config{
		Log: log, Actor: fmt.Sprintf("galaxyctl_%s_%d", host, os.Getpid()), Now: time.Now, Rules: allocator.Rules{ReuseDelay: allocator.DefaultReuseDelay},
		Sightings: func() allocator.Sightings { return b.cluster.Set() },
	}, nil)
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{}, 2)
	go func() {
		_ = b.cluster.Run(running) // it ends with running
		ended <- struct{}{}
	}()
	go func() {
		if writes {
			_ = b.replica.Lead(running, eventlog.Fence{}) // its end is the end of running, or is told by what it refuses
		}
		ended <- struct{}{}
	}()
	b.end = func() {
		cancel()
		<-ended
		<-ended
		_ = client.Close() // what was written is acknowledged
	}
	b.reconciler = reconciler.New(reconciler.Config{Replica: b.replica, Source: b.cluster, Cluster: b.cluster, Rules: rules, Log: quiet})
	if err := b.cluster.WaitForSync(ctx); err != nil {
		cancel()
		<-ended
		<-ended
		return fmt.Errorf("read the cluster: %w", err)
	}
	for writes && !b.replica.Leading() && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}
