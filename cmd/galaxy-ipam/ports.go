package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"galaxy/cloud"
	"galaxy/cmd/internal/build"
	"galaxy/extender"
	"galaxy/extender/forward"
	"galaxy/extender/httpserver"
	"galaxy/extender/rest"
	"galaxy/extender/scheduler"
	"galaxy/kube/review"
	"galaxy/lease"
)

// listen opens both ports; requests wait until serve.
func (p *program) listen() error {
	secure, err := p.certificates()
	if err != nil {
		return err
	}
	replica := p.served()
	forward := p.forwarder(replica, secure)
	scheduling := scheduler.Config{
		Replica: replica, Cluster: p.objects(), Forward: forward, Metrics: p.metrics, Log: p.logger,
		Timeout: p.patience(),
	}
	api := rest.Config{
		Replica: replica, Cluster: p.objects(), Forward: forward, Metrics: p.metrics.Handler(), Log: p.logger,
		Events: p.log, Version: build.Version(),
		Identity: p.identity, Todo: p.todo, Replicas: p.replicas,
	}
	if p.cluster != nil {
		scheduling.Binder, scheduling.Lookup, scheduling.Sign = p.cluster, p.cluster.Pod, p.proofs.Sign
		if p.options.authorizeWrites {
			api.Authorize, api.AuthorizeReads = review.New(review.Config{Client: p.reviews}), p.options.authorizeReads
		}
	}
	p.server = httpserver.New(p.logger)
	p.scheduling = scheduler.New(scheduling)
	scheduler, err := p.openPort(p.options.port, p.scheduling.Handler(), secure, httpserver.Clients{})
	if err != nil {
		return fmt.Errorf("--port: %w", err)
	}
	rest, err := p.openPort(p.options.apiPort, rest.New(api).Handler(), secure,
		httpserver.Clients{Without: p.options.authorizeReads})
	if err != nil {
		return errors.Join(fmt.Errorf("--api-port: %w", err), p.server.Close())
	}
	if p.address, err = p.advertised(scheduler); err == nil {
		p.restAddr, err = p.advertised(rest)
	}
	if err != nil {
		return errors.Join(err, p.server.Close())
	}
	switch {
	case p.options.exposed():
		p.logger.Warn("whoever reaches the scheduler's port may bind pods, and tokens may be read on their way: give "+
			"--tls-client-ca, or keep the ports to the control plane's network", zap.Stringer("scheduler", scheduler))
	case p.options.tls.ClientCA == "" && !p.options.api.Standalone:
		p.logger.Warn("only this host reaches the ports: give --tls-cert, --tls-key and --tls-client-ca (galaxyctl "+
			"certs makes them), or say --insecure-ports", zap.Stringer("scheduler", scheduler))
	}
	p.logger.Info("listening", zap.Stringer("scheduler", scheduler), zap.Stringer("rest", rest),
		zap.Bool("tls", secure != nil))
	return nil
}

// served is the replica as requests have it: it gives no address out before the running pods are recorded, and a cloud
// provider is notified.
func (p *program) served() extender.Replica {
	replica := gated{p.replica, p}
	if p.cloud == nil {
		return replica
	}
	return cloud.Notifying{Decider: replica, Keeper: p.cloud}
}

// patience is how long a decision may wait for a leader: one that has died is waited for twice at most.
func (p *program) patience() time.Duration {
	return max(scheduler.DefaultTimeout, 2*p.options.leaseDuration+scheduler.DefaultTimeout/2)
}

// certificates are those of the ports; nil without TLS.
func (p *program) certificates() (*httpserver.Certificates, error) {
	if p.options.tls.Cert == "" {
		return nil, nil
	}
	return p.options.tls.Load(p.logger)
}

func (p *program) openPort(port int, handler http.Handler, secure *httpserver.Certificates,
	clients httpserver.Clients) (net.Addr, error) {
	at := net.JoinHostPort(p.options.bind, strconv.Itoa(port))
	if secure == nil {
		return p.server.Listen(at, handler)
	}
	if len(p.options.clientNames) > 0 {
		clients.Names = append(slices.Clone(p.options.clientNames), secure.Name())
	}
	return p.server.ListenTLS(at, handler, secure.Server(), clients)
}

// forwarder passes decisions to the leader; nil where there is no election.
func (p *program) forwarder(replica extender.Replica, secure *httpserver.Certificates) *forward.Forwarder {
	if !p.options.leaderElect {
		return nil
	}
	var peers *tls.Config
	if secure != nil {
		peers = secure.Peer("")
	}
	return forward.New(forward.Config{Replica: replica, Identity: p.identity, Leader: p.leader, TLS: peers,
		Log: p.logger, Passed: p.metrics.PassedOn})
}

// leader reads who leads.
func (p *program) leader(ctx context.Context) (forward.Peer, error) {
	if why := p.etcd.trouble(); why != "" {
		return forward.Peer{}, errors.New(why) // whoever led may not any more
	}
	holder, err := lease.Leader(ctx, p.client, lease.LeaderKey(p.options.etcd.Prefix))
	if err == nil && holder.Address == p.address && !p.replica.Leading() {
		// It would ask itself. Its key is there before it leads, and for a while after it ended without a word.
		return forward.Peer{}, errors.New("this replica is named as the leader, and does not lead yet")
	}
	if why := p.noElection(); errors.Is(err, lease.ErrNoLeader) && why != "" {
		err = fmt.Errorf("%w: %s", err, why)
	}
	return forward.Peer{Scheduler: holder.Address, REST: holder.REST}, err
}
