package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"galaxy/allocator"
	"galaxy/cloud"
	"galaxy/cmd/internal/build"
	"galaxy/cmd/internal/cli"
	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/embedded"
	"galaxy/extender"
	"galaxy/extender/httpserver"
	"galaxy/extender/metrics"
	"galaxy/extender/scheduler"
	"galaxy/kube/live"
	"galaxy/kube/objects"
	"galaxy/migrations/galaxy"
	"galaxy/reconciler"
	"galaxy/reconciler/proofs"
)

// program is galaxy-ipam, wired.
type program struct {
	options  *options
	settings settings
	logger   *zap.Logger
	identity string // names this process in the log and in the election

	client     *clientv3.Client
	log        *etcdlog.Log
	store      *objects.Store       // nil without --objects
	reviews    kubernetes.Interface // asks about tokens; nil with --standalone
	clients    live.Clients         // of the API server; none with --standalone
	restConfig *rest.Config
	cluster    *live.Cluster // nil with --standalone
	provider   *cloud.Provider
	cloud      *cloud.Keeper // nil without a cloud provider
	metrics    *metrics.Metrics
	auditor    *reconciler.Audit
	replica    *allocator.Replica // of the stream ipam
	nodes      *allocator.Replica // of the stream nodes
	nodeLeases *reconciler.Nodes
	writes     reconciler.NodeWrites
	etcd       reach
	full       fullness
	badObjects atomic.Value     // string: why --objects was not read again
	embedded   *embedded.Server // nil without an etcd of this process
	election   atomic.Value     // string, see noElection
	server     *httpserver.Server
	scheduling *scheduler.Scheduler   // behind the scheduler's port
	reconciler *reconciler.Reconciler // nil without a cluster or --objects
	former     *galaxy.Resolver       // nil without a cluster
	proofs     *proofs.Keeper         // nil without a cluster
	address    string                 // of the scheduler's port, for other replicas
	restAddr   string                 // of the REST port
}

func run(ctx context.Context, o *options) (err error) {
	p := &program{options: o, etcd: reach{now: time.Now, last: time.Now()}}
	if p.settings, err = readSettings(o.config); err != nil {
		return err
	}
	if p.logger, err = o.logging.New(); err != nil {
		return err
	}
	if p.identity, err = newIdentity(); err != nil {
		return err
	}
	p.logger.Info("starting", zap.String("identity", p.identity), zap.String("version", build.Version()))
	if o.embeddedDir != "" {
		stop, err := p.startEtcd()
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := p.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.client.Close()) }()
	defer func() {
		if p.provider != nil {
			err = errors.Join(err, p.provider.Close())
		}
	}()
	if err := p.succeed(ctx); err != nil {
		return err
	}
	if err := p.wire(ctx); err != nil {
		return err
	}
	return p.serve(ctx)
}

// startEtcd runs an etcd inside this process.
func (p *program) startEtcd() (stop func(), err error) {
	level := zap.NewAtomicLevelAt(zap.ErrorLevel)
	config := embedded.Config{
		Dir: p.options.embeddedDir, ClientURL: p.options.embeddedClientURL,
		Logger: p.logger.Named("etcd").WithOptions(zap.IncreaseLevel(level)),
	}
	if len(p.options.embeddedMembers) > 0 {
		if config.Name, err = p.options.member(); err != nil {
			return nil, err
		}
		config.PeerURL, config.Members, config.PeerTLS = p.options.embeddedPeerURL, p.options.embeddedMembers,
			p.options.embeddedTLS
		p.logger.Info("waiting for most members of etcd", zap.String("member", config.Name),
			zap.Any("members", config.Members))
	}
	etcd, err := embedded.Start(config)
	if err != nil {
		return nil, fmt.Errorf("--embedded-etcd %s: %w", p.options.embeddedDir, err)
	}
	p.options.etcd.Endpoints, p.embedded = etcd.Endpoints(), etcd
	return func() {
		level.SetLevel(zap.FatalLevel) // it takes its own closed ports for errors
		etcd.Close()
	}, nil
}

// newIdentity is the host's name and a random part: no two processes ever share it.
func newIdentity() (string, error) {
	host, err := cli.OrHostname("")
	if err != nil {
		return "", err
	}
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("random identity: %w", err)
	}
	return host + "_" + hex.EncodeToString(random[:]), nil
}

// open connects to etcd and reads the objects: what must be there before anything else.
func (p *program) open(ctx context.Context) (err error) {
	if p.options.objects != "" {
		if p.store, err = objects.Open(p.options.objects); err != nil {
			return fmt.Errorf("--objects: %w", err)
		}
	}
	if !p.options.api.Standalone {
		if err := p.connectCluster(); err != nil {
			return err
		}
	}
	if p.client, err = p.options.etcd.Connect(ctx); err != nil {
		return err
	}
	first, cancel := context.WithTimeout(ctx, p.patienceWithEtcd())
	defer cancel()
	if p.log, err = etcdlog.Open(first, p.client, p.options.etcd.Options()); err != nil {
		return errors.Join(p.options.etcd.Explain(err), p.client.Close())
	}
	return nil
}

// embeddedPatience is how long a start waits for the etcd in this process: on a busy machine that takes a while, and to
// end does not help it.
const embeddedPatience = time.Minute

// patienceWithEtcd is how long a start waits for etcd's first response.
func (p *program) patienceWithEtcd() time.Duration {
	if p.options.embeddedDir != "" {
		return max(p.options.etcd.Timeout, embeddedPatience)
	}
	return p.options.etcd.Timeout
}

// wire builds the parts, from the log up to the ports.
func (p *program) wire(ctx context.Context) (err error) {
	p.metrics = metrics.New(nil)
	p.auditor = p.newAudit()
	start := time.Now()
	p.replica, err = allocator.NewReplica(ctx, allocator.Config{
		Log: p.log, Actor: p.identity, Now: time.Now, Observer: p.metrics, Checkpoint: p.auditor.Checkpoint,
		Rules: allocator.Rules{ReuseDelay: p.options.reuseDelay, StrictReuse: p.options.reuseStrict,
			PoolShare: p.options.poolShare},
		Occupants: p.occupants(),
	}, p.progress())
	if err != nil {
		return err
	}
	if err := p.wireNodes(ctx); err != nil {
		return err
	}
	if p.settings.cloud != "" {
		if p.provider, err = cloud.Dial(p.settings.cloud); err != nil {
			return err
		}
		p.cloud = &cloud.Keeper{Provider: p.provider, Replica: p.replica, Observe: p.metrics.CloudCall}
	}
	p.metrics.Watch(p.replica)
	p.metrics.Replayed(time.Since(start))
	head := p.replica.View().Position().Head
	p.logger.Info("replayed the log", zap.Uint64("event", head.Seq), zap.String("generation", head.Generation),
		zap.Duration("took", time.Since(start)))
	p.settings.rules.ForceConfig = p.options.forceConfig
	reconcile := reconciler.Config{
		Replica: p.replica, Rules: p.settings.rules, Log: p.logger, Interval: p.settings.interval,
		CountError: p.metrics.Reconcile,
	}
	if p.cloud != nil {
		reconcile.Unassigner = p.cloud
	}
	switch {
	case p.cluster != nil:
		reconcile.Source, reconcile.Cluster = p.cluster, p.cluster
		p.reconciler = reconciler.New(reconcile)
	case p.store != nil:
		reconcile.Source = p.store
		p.reconciler = reconciler.New(reconcile)
	}
	if p.reconciler != nil {
		p.metrics.WatchGate(func() bool {
			open, _ := p.reconciler.Gate().State()
			return open && p.replica.Leading()
		})
	}
	p.former = p.newFormer()
	p.proofs = p.newProofs()
	return p.listen()
}

// progress reports a long replay now and then.
func (p *program) progress() func(uint64) {
	next := time.Now().Add(2 * time.Second)
	return func(seq uint64) {
		if time.Now().After(next) {
			next = next.Add(2 * time.Second)
			p.logger.Info("replaying the log", zap.Uint64("event", seq))
		}
	}
}

// occupants is what decisions know of running pods; nil when nothing is known of a cluster.
func (p *program) occupants() func() allocator.Occupants {
	switch {
	case p.cluster != nil:
		return func() allocator.Occupants { return p.cluster.Set() }
	case p.store != nil:
		return func() allocator.Occupants { return p.store.Set() }
	default:
		return nil
	}
}

// objects is where the ports learn of the cluster; nil when nothing is known of one.
func (p *program) objects() func() extender.Cluster {
	switch {
	case p.cluster != nil:
		return func() extender.Cluster { return p.cluster.Set() }
	case p.store != nil:
		return func() extender.Cluster { return p.store.Set() }
	default:
		return nil
	}
}

// serve runs everything until ctx ends or a part fails. At the end the ports are drained first, so that the requests in
// hand still find a leader; then the term is given up.
func (p *program) serve(ctx context.Context) error {
	leading, endTerm := context.WithCancel(context.WithoutCancel(ctx))
	defer endTerm()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer endTerm()
		return p.server.Run(ctx)
	})
	group.Go(func() error { return p.lead(leading) })
	group.Go(func() error { return p.keepReach(ctx) })
	group.Go(func() error { return p.audit(ctx) })
	group.Go(func() error { return p.keepExpiry(ctx) })
	group.Go(func() error { return p.keepSizes(ctx) })
	if p.embedded != nil {
		group.Go(func() error { return p.keepRoom(ctx) })
	}
	if p.cluster != nil {
		group.Go(func() error { return p.mirror(ctx) })
		group.Go(func() error { return p.cluster.Run(ctx) })
		group.Go(func() error { return p.reportSync(ctx) })
	}
	if p.store != nil {
		group.Go(func() error {
			p.store.Watch(ctx, time.Second, p.reportObjects)
			return nil
		})
	}
	if p.options.snapshotEvery > 0 {
		snapshots := allocator.Snapshots{Every: p.options.snapshotEvery, Poll: 10 * time.Second,
			Report: p.reportSnapshot}
		for _, replica := range []*allocator.Replica{p.replica, p.nodes} {
			group.Go(func() error {
				snapshots.Keep(ctx, replica)
				return nil
			})
		}
	}
	err := group.Wait()
	if err == nil {
		p.logger.Info("stopped")
	}
	return err
}

func (p *program) reportObjects(err error) {
	if err != nil {
		p.badObjects.Store("the objects of --objects are bad, and those read before stay in force: " + err.Error())
		p.metrics.Reconcile("objects")
		p.logger.Error("objects file invalid; keeping the previous objects", zap.String("file", p.options.objects),
			zap.Error(err))
		return
	}
	p.badObjects.Store("")
	p.logger.Info("objects file loaded", zap.String("file", p.options.objects))
}

func (p *program) reportSnapshot(at eventlog.Head, err error) {
	if err != nil {
		p.logger.Warn("snapshot failed; the next start replays more events", zap.Error(err))
		return
	}
	p.logger.Info("snapshot saved", zap.Uint64("event", at.Seq))
}
