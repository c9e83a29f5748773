package main

import (
	"galaxy/proof/keyring"
	"galaxy/reconciler/proofs"
)

// newProofs is what signs the addresses of pods; nil without a cluster whose pods could show them.
func (p *program) newProofs() *proofs.Keeper {
	if p.cluster == nil {
		return nil
	}
	return &proofs.Keeper{
		Replica: p.replica, Source: p.cluster, Known: func() bool { return p.cluster.Unread() == "" },
		Keys:  keyring.Keyring{Client: p.client, Prefix: keyring.Prefix(p.options.etcd.Prefix)},
		Prove: p.cluster.Prove, Actor: p.identity, Lifetime: p.options.keyLifetime, Log: p.logger,
		Explain: p.options.etcd.Explain,
	}
}
