package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netns"
	"go.uber.org/zap"

	"galaxy/ipam"
	"galaxy/nodeagent"
	"galaxy/nodeagent/kernel"
)

// settingsEvery is how often the kernel's settings are compared, as other programs change them.
const settingsEvery = time.Minute

// keepSettings keeps the kernel's settings (contract section 12), and says what was another.
func (p *program) keepSettings(ctx context.Context) error {
	want := kernel.NodeSettings{Forward: p.options.ipForward, BridgeNF: p.options.bridgeNF, IPv6: true}.Settings()
	keeper := kernel.KeepSettings(netns.None(), "", want)
	told := ""
	for {
		report, err := keeper.Keep()
		for _, c := range report.Changed {
			p.logger.Info("changed a setting of the kernel", zap.String("setting", c.Path), zap.String("from", c.From), zap.String("to", c.To))
		}
		if err != nil && err.Error() != told {
			told = err.Error()
			p.logger.Warn("a setting of the kernel is not as it should be", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settingsEvery):
		}
	}
}

// settled makes what depends on the networks and the nodes follow them: the subnet file, and what is masqueraded.
func (p *program) settled(ctx context.Context, networks []ipam.OverlayNetwork, nodes nodeagent.Nodes, subnets []netip.Prefix, mtu int) error {
	var failed error
	if p.options.subnetFile != "" && len(subnets) > 0 {
		if err := nodeagent.WriteSubnetFile(p.options.subnetFile, networks, subnets, mtu); err != nil {
			failed = fmt.Errorf("the subnet file is not written: %w", err)
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
		p.logger.Info("changed what is masqueraded", zap.Bool("rebuilt", report.Rebuilt), zap.Int("added", report.Added), zap.Int("removed", report.Removed))
	}
	return failed
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
		p.logger.Info("changed which pods are not masqueraded", zap.Int("added", report.Added), zap.Int("removed", report.Removed))
	}
	return err
}
