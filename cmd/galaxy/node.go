package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	"go.uber.org/zap"

	"galaxy/ipam"
	"galaxy/kernel"
	"galaxy/nodeagent"
	"galaxy/pause"
)

// settingsEvery is how often the kernel's settings are compared, as other programs change them.
const settingsEvery = time.Minute

// keepSettings keeps the kernel's settings (contract section 12), and says what was another. Those of IPv6 are nobody's
// business before the overlay has IPv6.
func (p *program) keepSettings(ctx context.Context) error {
	reported := ""
	for {
		err := p.keepSettingsOnce()
		if err != nil && err.Error() != reported {
			reported = err.Error()
			p.logger.Warn("sysctl differs from what is needed", zap.Error(err))
		}
		p.agent.Block("settings", err)
		select {
		case <-ctx.Done():
			return nil
		case <-p.overlayChanged:
		case <-time.After(settingsEvery):
		}
	}
}

func (p *program) keepSettingsOnce() error {
	want := kernel.NodeSettings{Forward: p.options.ipForward, BridgeNF: p.options.bridgeNF, IPv6: p.overlay6.Load()}
	if want.IPv6 {
		var err error
		if want.Advertised, err = kernel.AdvertisedLinks(netns.None()); err != nil {
			return err // else the host would lose what it has learned
		}
	}
	report, err := kernel.KeepSettings(netns.None(), "", want.Settings()).Keep()
	for _, c := range report.Changed {
		p.logger.Info("sysctl changed", zap.String("setting", c.Path), zap.String("from", c.From),
			zap.String("to", c.To))
	}
	return err
}

// repairPause bounds how often the interfaces of all pods are looked at because of what changes on the host.
const repairPause = time.Second

// keepPods makes again what this host loses of its pods' interfaces, and says what it cannot.
func (p *program) keepPods(ctx context.Context) error {
	changed, err := p.kernel.WatchPods(ctx)
	if err != nil {
		return err
	}
	for {
		err := p.server.Repair(ctx)
		if p.agent.NotePods(err) && err != nil && ctx.Err() == nil {
			p.logger.Warn("not all that the host has lost of its pods' interfaces can be made again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(p.options.tick):
		}
		if pause.For(ctx, repairPause) != nil {
			return nil
		}
	}
}

// noteOverlay notes whether the overlay has IPv6.
func (p *program) noteOverlay(networks []ipam.OverlayNetwork) {
	six := slices.ContainsFunc(networks, func(n ipam.OverlayNetwork) bool { return n.CIDR.Addr().Is6() })
	if p.overlay6.Swap(six) != six {
		select {
		case p.overlayChanged <- struct{}{}:
		default:
		}
	}
}

// settled makes what depends on the networks and the nodes follow them: the subnet file, and what is masqueraded.
func (p *program) settled(ctx context.Context, networks []ipam.OverlayNetwork, nodes nodeagent.Nodes,
	subnets []netip.Prefix, mtu int) error {
	var failed error
	p.noteOverlay(networks)
	if err := p.forward(ctx, networks, nodes); err != nil {
		failed = err
	}
	if p.options.subnetFile != "" && len(subnets) > 0 {
		if err := nodeagent.WriteSubnetFile(p.options.subnetFile, networks, subnets, mtu); err != nil {
			failed = errors.Join(failed, fmt.Errorf("the subnet file is not written: %w", err))
		}
	}
	if p.outgoing == nil || len(networks) == 0 {
		return failed
	}
	want := kernel.Masquerade{Nodes: p.options.outside}
	for _, n := range networks {
		want.Overlays = append(want.Overlays, n.CIDR)
	}
	for n := range nodes.View().Nodes() {
		for _, a := range n.Addresses {
			want.Nodes = append(want.Nodes, netip.PrefixFrom(a, a.BitLen()))
		}
		want.Overlays = append(want.Overlays, n.Subnets...) // also those that the configuration no longer has
	}
	p.masquerading.Lock()
	defer p.masquerading.Unlock()
	want.Exempt = p.server.Exempt()
	report, err := p.outgoing.Set(ctx, want)
	if err != nil {
		failed = errors.Join(failed, fmt.Errorf("masquerading does not follow the nodes: %w", err))
	} else if report.Changed() {
		p.logger.Info("changed what is masqueraded", zap.Bool("rebuilt", report.Rebuilt),
			zap.Int("added", report.Added), zap.Int("removed", report.Removed))
	}
	return failed
}

// forward lets packets of pods through the host's firewall. One that it cannot get past keeps the node from taking
// pods.
func (p *program) forward(ctx context.Context, networks []ipam.OverlayNetwork, nodes nodeagent.Nodes) error {
	if !p.options.ipForward || p.outgoing == nil {
		return nil
	}
	var overlays []netip.Prefix
	for _, n := range networks {
		overlays = append(overlays, n.CIDR)
	}
	if self := nodes.View().Node(p.options.hostname); self != nil {
		overlays = append(overlays, self.Subnets...) // also those that the configuration no longer has
	}
	report, err := p.forwarding.Set(ctx, kernel.Widest(overlays))
	if report.Added+report.Removed > 0 {
		p.logger.Info("changed which packets of pods the host's firewall lets through", zap.Int("added", report.Added),
			zap.Int("removed", report.Removed))
	}
	if err == nil && len(report.Blocked) > 0 {
		blocked := fmt.Errorf("the chain %s of the host's firewall drops what it does not accept, packets of pods "+
			"among it: accept what comes from and goes to the overlay there", strings.Join(report.Blocked, ", "))
		if p.agent.Block("forwarding", blocked) {
			p.logger.Error("pod packets dropped by the host's firewall", zap.Error(blocked))
		}
		return nil
	}
	p.agent.Block("forwarding", err)
	return err
}

// exempt makes what is masqueraded follow the pods of this node.
func (p *program) exempt(ctx context.Context) error {
	if p.outgoing == nil {
		return nil
	}
	p.masquerading.Lock()
	defer p.masquerading.Unlock()
	report, err := p.outgoing.SetExempt(ctx, p.server.Exempt())
	if report.Changed() {
		p.logger.Info("changed which pods are not masqueraded", zap.Int("added", report.Added),
			zap.Int("removed", report.Removed))
	}
	return err
}
