package main

import (
	"context"
	"encoding/json"

	"go.uber.org/zap"

	"galaxy/extender/api"
	"galaxy/lease"
	"galaxy/projections"
	"galaxy/reconciler"
)

// newAudit compares this replica's state with that of the others.
func (p *program) newAudit() *reconciler.Audit {
	a := reconciler.NewAudit()
	a.Identity, a.Log, a.Differs = p.identity, p.logger, p.metrics.DigestDiffers
	a.View = func() *projections.View { return p.replica.View() }
	return a
}

// audit publishes this replica's digests and watches those of the others, until ctx ends.
func (p *program) audit(ctx context.Context) error {
	value, err := json.Marshal(reconciler.Published{ID: p.identity})
	if err != nil {
		return err
	}
	prefix := lease.ReplicasPrefix(p.options.etcd.Prefix)
	announced, err := lease.Announce(ctx, p.client, prefix+p.identity, value, p.options.leaseDuration)
	if err != nil {
		return nil // ctx has ended
	}
	p.auditor.Publish = announced.Update
	go func() {
		for changes, err := range lease.Watch(ctx, p.client, prefix) {
			if err != nil {
				return // ctx has ended
			}
			p.auditor.Compare(changes)
		}
	}()
	err = p.auditor.Run(ctx)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	if stopErr := announced.Stop(ending); stopErr != nil {
		p.logger.Debug("this replica's key is left to its lease", zap.Error(stopErr))
	}
	return err
}

// replicas are those that live, for people.
func (p *program) replicas() (all []api.ReplicaAt) {
	for _, r := range p.auditor.Replicas() {
		all = append(all, api.ReplicaAt{Identity: r.ID, Seq: r.Seq})
	}
	return all
}
