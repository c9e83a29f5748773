// Package beside reads the log and the cluster beside a galaxy-ipam, whether that runs or not.
package beside

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
	"galaxy/cmd/internal/cli"
	"galaxy/cmd/internal/etcdclient"
	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/kube/live"
	"galaxy/reconciler"
)

// Replica is a replica of the log and a view of the cluster. One that writes decides for itself; the log sees to it
// that no two do at once.
type Replica struct {
	Clients    live.Clients
	Cluster    *live.Cluster
	Log        *allocator.Replica
	Reconciler *reconciler.Reconciler
	End        func() // is to be called when it is not needed any more
}

// Start reads the log and the cluster; writes says whether it may also decide.
func Start(ctx context.Context, etcd *etcdclient.Flags, api *apiserver.Flags, writes bool) (*Replica, error) {
	config, err := api.Config()
	if errors.Is(err, apiserver.ErrNone) {
		return nil, cli.Usage("%v", err)
	}
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	b := &Replica{}
	if b.Clients, err = live.NewClients(config); err != nil {
		return nil, err
	}
	client, err := etcd.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.start(ctx, etcd, client, writes); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return b, nil
}

func (b *Replica) start(ctx context.Context, etcd *etcdclient.Flags, client *clientv3.Client, writes bool) error {
	log, err := etcdlog.Open(ctx, client, etcd.Options())
	if err != nil {
		return etcd.Explain(err)
	}
	host, err := cli.OrHostname("")
	if err != nil {
		return err
	}
	rules := reconciler.DefaultRules()
	quiet := zap.NewNop()
	b.Cluster = live.New(live.Config{Clients: b.Clients, Log: quiet, ConfigNamespace: rules.ConfigNamespace,
		ConfigName: rules.ConfigName, Actor: "galaxyctl"})
	b.Log, err = allocator.NewReplica(ctx, allocator.Config{
		Log: log, Actor: fmt.Sprintf("galaxyctl_%s_%d", host, os.Getpid()), Now: time.Now,
		Rules:     allocator.Rules{ReuseDelay: allocator.DefaultReuseDelay},
		Occupants: func() allocator.Occupants { return b.Cluster.Set() },
	}, nil)
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{}, 2)
	go func() {
		_ = b.Cluster.Run(running) // it ends with running
		ended <- struct{}{}
	}()
	go func() {
		if writes {
			_ = b.Log.Lead(running, eventlog.Fence{}) // its end is the end of running, or shows in what it refuses
		}
		ended <- struct{}{}
	}()
	b.End = func() {
		cancel()
		<-ended
		<-ended
		_ = client.Close() // what was written is acknowledged
	}
	b.Reconciler = reconciler.New(reconciler.Config{Replica: b.Log, Source: b.Cluster, Cluster: b.Cluster, Rules: rules,
		Log: quiet})
	if err := b.Cluster.WaitForSync(ctx); err != nil {
		cancel()
		<-ended
		<-ended
		return fmt.Errorf("read the cluster: %w", err)
	}
	for writes && !b.Log.Leading() && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}
