package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netns"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"galaxy/allocator"
	"galaxy/cmd/internal/build"
	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/ipam"
	"galaxy/kernel"
	"galaxy/nodeagent"
	"galaxy/nodeagent/cni"
	"galaxy/nodeagent/journal"
	"galaxy/nodeagent/netconf"
	"galaxy/nodeagent/proofs"
	"galaxy/plugins"
	"galaxy/plugins/builtin"
	"galaxy/proof/keyring"
	"galaxy/wire"
)

// program is the agent, wired.
type program struct {
	options    *options
	logger     *zap.Logger
	client     *clientv3.Client
	kernel     *kernel.Kernel
	networks   *networks
	pods       cni.Pods
	proofs     *proofs.Verifier
	agent      *nodeagent.Agent
	server     *cni.Server
	outgoing   *kernel.Masquerader // nil without masquerading
	forwarding *kernel.Forwarding  // for who has nft
	// masquerading is held while outgoing is compared and written.
	masquerading sync.Mutex

	overlay6       atomic.Bool   // the overlay has IPv6
	overlayChanged chan struct{} // overlay6 is another
}

func run(ctx context.Context, o *options) (err error) {
	p := &program{options: o, overlayChanged: make(chan struct{}, 1)}
	if p.logger, err = o.logging.New(); err != nil {
		return err
	}
	p.logger.Info("starting", zap.String("node", o.hostname), zap.String("version", build.Version()))
	if err := os.MkdirAll(o.stateDir, 0o700); err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	if p.networks, err = openNetworks(o.config, p.logger); err != nil {
		return err
	}
	if err := p.connect(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.client.Close()) }()
	if p.kernel, err = kernel.Open(netns.None()); err != nil {
		return err
	}
	defer p.kernel.Close()
	lock, err := holdHost()
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // it ends with the process at the latest
	local, err := journal.Open(filepath.Join(o.stateDir, "node.db"), o.hostname, p.logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	if err := p.wire(ctx, local); err != nil {
		return err
	}
	return p.serve(ctx)
}

// connect makes the clients of etcd and of the API server, and waits for neither.
func (p *program) connect(ctx context.Context) (err error) {
	p.pods = noPods{}
	if !p.options.api.Standalone {
		config, err := p.options.api.Config(p.logger)
		if err != nil {
			return err
		}
		config.QPS, config.Burst, config.UserAgent = 50, 100, "galaxy"
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return fmt.Errorf("client of the API server: %w", err)
		}
		p.pods = watchPods(ctx, client, p.options.hostname, func(ctx context.Context, podUID, proof string,
			shown []ipam.IPInfo) ([]ipam.IPInfo, error) {
			return p.proofs.Verify(ctx, podUID, proof, shown)
		})
	}
	// an etcd that is back hears of this node before its lease ends
	p.options.etcd.Reconnect = min(3*time.Second, p.options.ttl/4)
	p.client, err = p.options.etcd.Client()
	return err
}

func (p *program) wire(ctx context.Context, local *journal.Journal) error {
	machine, err := machineID(p.options.machine, p.options.stateDir)
	if err != nil {
		return err
	}
	addresses := openAnnounced(p.options.addresses, p.options.stateDir, p.kernel.HostAddresses, p.logger).addresses
	p.agent = nodeagent.New(nodeagent.Config{
		Node: p.options.hostname, Machine: machine, Boot: bootID(), HostAddresses: addresses,
		Prefix: p.options.etcd.Prefix,
		Client: p.client, Open: p.openLog, Local: local, Kept: journal.Kept(filepath.Join(p.options.stateDir, "nodes")),
		TTL: p.options.ttl, Grace: p.options.grace, Backend: p.options.backend,
		Rules: allocator.Rules{ReuseDelay: p.options.reuseDelay}, Settled: p.settled, Now: time.Now, Log: p.logger,
		Routes: &nodeagent.Routes{
			Node: p.options.hostname, Addresses: addresses, Kernel: p.kernel, Tick: p.options.tick, Log: p.logger,
			Config: kernel.Config{Backend: kernel.Backend(p.options.backend), MTU: p.options.mtu},
		},
	})
	p.proofs = proofs.New(proofs.Config{
		Keyring: keyring.Keyring{Client: p.client, Prefix: keyring.Prefix(p.options.etcd.Prefix)},
		Node:    p.options.hostname, Generation: p.agent.Generation,
		File: filepath.Join(p.options.stateDir, "keys.json"), Log: p.logger,
	})
	p.server = cni.NewServer(cni.Config{
		Builtin: builtin.Plugins(), Host: plugins.Host{IPAM: p.agent.Addresses, Log: p.logger}, Dir: p.options.cniDir,
		Notes: wire.Notes{Dir: p.options.notesDir}, Pods: p.pods,
		Networks: p.networks.newest, Lookup: p.lookup, Path: p.options.cniPaths, Lost: p.agent.Addresses.Lost,
		Held: p.agent.Addresses.Held, Release: p.agent.Addresses.Release, ExemptChanged: p.exempt,
		Settle: p.agent.Await, Defaults: p.defaults, Ready: p.agent.Ready, Log: p.logger,
	})
	if p.options.masquerade {
		if p.outgoing, err = kernel.OpenMasquerader(netns.None()); err != nil {
			return fmt.Errorf("masquerading: %w; install nftables, or say --masquerade=false", err)
		}
		p.forwarding = kernel.OpenForwarding(netns.None())
		if p.agent.Outside, err = kernel.WatchNFTables(ctx, netns.None()); err != nil {
			return err
		}
	}
	return nil
}

// openLog opens the log in etcd, which galaxy-ipam begins.
func (p *program) openLog(ctx context.Context) (eventlog.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, p.options.etcd.Timeout)
	defer cancel()
	options := p.options.etcd.Options()
	options.MustExist = true
	log, err := etcdlog.Open(ctx, p.client, options)
	if err != nil {
		return nil, p.options.etcd.Explain(err)
	}
	return log, nil
}

func (p *program) lookup(name string) (*netconf.Network, error) {
	return netconf.Lookup(p.options.networkDir, name, func(file string, err error) {
		p.logger.Warn("network configuration skipped", zap.String("file", file), zap.Error(err))
	})
}

// defaults gives interfaces the MTU that fits through the tunnels.
func (p *program) defaults(plugin string) map[string]any {
	if mtu := p.agent.PodMTU(); mtu > 0 && (plugin == "galaxy-veth" || plugin == "galaxy-bridge") {
		return map[string]any{"mtu": mtu}
	}
	return nil
}

// serve runs everything until ctx ends or a part fails.
func (p *program) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.agent.Run(ctx) })
	group.Go(func() error { return p.listen(ctx) })
	group.Go(func() error { return p.server.CatchUp(ctx) })
	group.Go(func() error { return p.proofs.Run(ctx) })
	group.Go(func() error { return p.keepSettings(ctx) })
	group.Go(func() error { return p.keepPods(ctx) })
	group.Go(func() error { return p.collectGarbage(ctx) })
	err := group.Wait()
	if err == nil {
		p.logger.Info("stopped; routes and pods stay as they are")
	}
	return err
}
