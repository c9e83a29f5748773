package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"galaxy/allocator"
	"galaxy/extender"
	"galaxy/kube/live"
	"galaxy/lease"
	"galaxy/reconciler"
)

// reviewQPS is how many tokens and permissions the API server is asked about in a second, beside what else it is asked.
const reviewQPS = 100

// connectCluster makes the clients of the API server, from the flags or from the pod that this process runs in.
func (p *program) connectCluster() error {
	config, err := p.options.api.Config(p.logger)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = p.options.kubeQPS, 2*int(p.options.kubeQPS)
	config.UserAgent = "galaxy-ipam"
	if p.clients, err = live.NewClients(config); err != nil {
		return err
	}
	p.restConfig = rest.CopyConfig(config)
	// Strangers can have tokens asked about; what that costs must not delay binds, so it has a limiter of its own.
	asking := rest.CopyConfig(config)
	asking.QPS, asking.Burst = reviewQPS, 2*reviewQPS
	if p.reviews, err = kubernetes.NewForConfig(asking); err != nil {
		return fmt.Errorf("client of the API server: %w", err)
	}
	p.cluster = live.New(live.Config{
		Clients: p.clients, Log: p.logger, Actor: p.identity,
		ConfigNamespace: p.settings.rules.ConfigNamespace, ConfigName: p.settings.rules.ConfigName,
	})
	return nil
}

// governors are what runs beside the decisions of a leader.
func (p *program) governors() []func(context.Context) error {
	claims := &reconciler.Claims{
		Replica: p.replica, Log: p.logger, Expired: p.metrics.ClaimExpired,
		Deadlines: lease.Deadlines{Client: p.client, Prefix: lease.ClaimsPrefix(p.options.etcd.Prefix),
			TTL: p.options.claimTTL},
	}
	all := []func(context.Context) error{claims.Run, p.nodeLeases.Run, p.watchNodeWrites}
	if p.cluster == nil {
		return all
	}
	all = append(all, p.proofs.Run)
	if p.options.publishCapacity && p.cloud == nil { // a cloud provider knows how many addresses a node can take
		capacity := &reconciler.Capacity{Replica: p.replica, Source: p.cluster, Publish: p.cluster.PublishCapacity,
			Log: p.logger}
		all = append(all, capacity.Run)
	}
	return all
}

// gated is the replica as the ports see it: it is ready when the cluster is known too, and allocates nothing before the
// term has found the running pods.
type gated struct {
	*allocator.Replica
	program *program
}

func (g gated) Unready() string {
	if why := cmp.Or(g.program.full.refusing(), g.program.etcd.trouble(), g.program.noElection()); why != "" {
		return why
	}
	if cluster := g.program.cluster; cluster != nil {
		if why := cluster.Unread(); why != "" {
			return why
		}
	}
	if why := g.Replica.Unready(); why != "" {
		return why
	}
	return g.withheld()
}

// withheld says why no address is given out; "" while they are. A replica that follows passes decisions on, and knows
// from the log what the leader waits for.
func (g gated) withheld() string {
	p := g.program
	if origin := g.View().Origin(); origin.Awaits() {
		return (&allocator.FormerError{Source: origin.Source, Objects: origin.Objects}).Error()
	}
	if p.reconciler != nil && g.Leading() {
		if _, reason := p.reconciler.Gate().State(); reason != "" {
			return reason
		}
	}
	if p.proofs != nil && g.Leading() {
		return p.proofs.Unready()
	}
	return ""
}

// noSubnets says that no pod gets a floating address, and what to do about it.
func (p *program) noSubnets() string {
	where := fmt.Sprintf(`"schedule_plugin.floatingips" in --config %s`, p.options.config)
	if p.cluster != nil || p.store != nil {
		where += fmt.Sprintf(", or the ConfigMap %s/%s with the key %s", p.settings.rules.ConfigNamespace,
			p.settings.rules.ConfigName, p.settings.rules.ConfigKey)
	}
	return "no subnets are in force, so that no pod gets a floating address: they come from " + where
}

// todo is what a person has to do before all goes on.
func (p *program) todo() []string {
	var all []string
	if len(p.replica.View().Config().Subnets) == 0 && len(p.settings.overlay) == 0 {
		all = append(all, p.noSubnets())
	}
	if origin := p.replica.View().Origin(); origin.Awaits() {
		all = append(all, (&allocator.FormerError{Source: origin.Source, Objects: origin.Objects}).Error())
	}
	if p.reconciler != nil && p.replica.Leading() && p.reconciler.Refused() != "" {
		all = append(all, p.reconciler.Refused())
	}
	if why, _ := p.badObjects.Load().(string); why != "" {
		all = append(all, why)
	}
	all = append(all, p.full.todo()...)
	for _, node := range p.writes.Loud(time.Now()) {
		all = append(all, floods(node))
	}
	return append(all, overdue(p.options.certificates(), time.Now())...)
}

func (g gated) Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error) {
	if g.program.reconciler == nil {
		return g.Replica.Do(ctx, cause, command)
	}
	return g.program.reconciler.Gate().Do(ctx, g.Replica, cause, command)
}

var _ extender.Replica = gated{}

// advertised is where other replicas reach a port of this one.
func (p *program) advertised(listening net.Addr) (string, error) {
	_, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return "", err
	}
	host := p.options.advertise
	if host == "" {
		host = os.Getenv("POD_IP")
	}
	if bound := net.ParseIP(p.options.bind); host == "" && bound != nil && !bound.IsUnspecified() {
		host = bound.String()
	}
	if host == "" {
		if host, err = firstAddress(); err != nil {
			return "", err
		}
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

// firstAddress is the first address of this host that others may reach.
func firstAddress() (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("addresses of this host: %w", err)
	}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && network.IP.IsGlobalUnicast() {
			return network.IP.String(), nil
		}
	}
	return "", errors.New("this host has no address that others can reach; give --advertise-address")
}

// reportSync logs when the cluster is known.
func (p *program) reportSync(ctx context.Context) error {
	if err := p.cluster.WaitForSync(ctx); err != nil {
		return nil
	}
	set := p.cluster.Set()
	p.logger.Info("cluster caches synced", zap.Int("objects", set.Len()))
	return nil
}
