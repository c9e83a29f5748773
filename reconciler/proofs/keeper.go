// Package proofs signs what the log says of the addresses of pods, for the agents of their nodes.
package proofs

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/objects"
	"galaxy/pause"
	"galaxy/projections"
	"galaxy/proof"
	"galaxy/proof/keyring"
)

// Keys is where public keys are published; keyring.Keyring is one.
type Keys interface {
	Publish(ctx context.Context, id string, key keyring.Key) error
	Remove(ctx context.Context, id string) error
	Watch(ctx context.Context) iter.Seq2[keyring.Keys, error]
}

// Keeper signs what the log says of pods' addresses. While its replica leads it keeps a key of this process published,
// replaces it when it is old, signs anew what no published key proves, and takes away keys that nobody shows.
type Keeper struct {
	Replica interface{ View() *projections.View }
	Source  interface{ Set() *objects.Set }
	Known   func() bool // the pods of the cluster were read
	Keys    Keys
	Prove   func(ctx context.Context, pod *kube.Pod, infos []ipam.IPInfo, proof string) error
	Actor   string
	// Lifetime is how long a key signs; what it has signed stays proven until no pod shows it.
	Lifetime time.Duration
	Explain  func(error) error // adds to an error of etcd what repairs it
	Log      *zap.Logger

	signing atomic.Pointer[signing]
	trouble atomic.Pointer[string]
	unused  map[string]time.Time // see spareKeys
	seen    seen
}

// seen is what the last pass has looked at, so that the next looks only at what is new.
type seen struct {
	set        *objects.Set
	generation string
	config     uint64    // the configuration's event
	passes     int       // since everything was to be looked at
	all        time.Time // when all pods were looked at
}

// signing is a key that is published.
type signing struct {
	*proof.Signer
	since time.Time
}

// DefaultKeyLifetime is how long a key signs.
const DefaultKeyLifetime = 7 * 24 * time.Hour

const (
	proofsEvery    = 30 * time.Second
	allProofsEvery = 10 * time.Minute // as a signature takes its time to verify
	publishLimit   = 5 * time.Second
	publishWait    = time.Second
)

// ErrNoKey means that nothing can be signed yet. It passes.
var ErrNoKey = errors.New("no key is published yet to sign addresses with; try again")

// Sign makes the proof that a pod has addresses on a node as of an event.
func (p *Keeper) Sign(pod *kube.Pod, node string, infos []ipam.IPInfo, seq uint64) (string, error) {
	key := p.signing.Load()
	if key == nil {
		return "", ErrNoKey
	}
	return key.Sign(proof.Binding{Generation: p.Replica.View().Position().Head.Generation, Seq: seq, PodUID: pod.UID,
		Node: node, IPs: infos})
}

// Unready says why nothing can be signed, and so no pod with a floating address be bound; "" when it can.
func (p *Keeper) Unready() string {
	if p.signing.Load() != nil {
		return ""
	}
	if why := p.trouble.Load(); why != nil {
		return "no key to sign addresses with could be published: " + *why
	}
	return ErrNoKey.Error()
}

// Run keeps keys and proofs until ctx ends. Only the leader's should run.
func (p *Keeper) Run(ctx context.Context) error {
	p.unused = map[string]time.Time{}
	if err := p.renew(ctx); err != nil {
		return nil // ctx has ended
	}
	var keys keyring.Keys
	watched := make(chan keyring.Keys)
	go p.watch(ctx, watched)
	failed := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case keys = <-watched:
			p.seen = seen{}
		case <-time.After(proofsEvery):
		}
		if keys == nil {
			continue // not read yet
		}
		err := p.keep(ctx, keys)
		if err != nil {
			p.seen = seen{}
		}
		if err != nil && ctx.Err() == nil && err.Error() != failed {
			p.Log.Warn("not all pods prove their addresses; retrying", zap.Error(err))
			failed = err.Error()
		}
	}
}

// watch passes the keys on whenever they change.
func (p *Keeper) watch(ctx context.Context, to chan<- keyring.Keys) {
	for keys, err := range p.Keys.Watch(ctx) {
		if keys == nil {
			return
		}
		if err != nil {
			p.Log.Error("published key invalid; remove it from etcd", zap.Error(err))
		}
		select {
		case to <- keys:
		case <-ctx.Done():
			return
		}
	}
}

// renew makes a key and publishes it before anything is signed with it. It fails only when ctx ends.
func (p *Keeper) renew(ctx context.Context) error {
	failed := ""
	for {
		err := p.publish(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		err = p.Explain(err)
		if why := err.Error(); why != failed {
			p.trouble.Store(&why)
			p.Log.Error("signing key not published; no pod with a floating address is bound until it is", zap.Error(err))
			failed = why
		}
		if err := pause.For(ctx, publishWait); err != nil {
			return err
		}
	}
}

func (p *Keeper) publish(ctx context.Context) error {
	signer, err := proof.NewSigner(rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	key := keyring.Key{Key: signer.Public(), Since: now.UTC().Truncate(time.Second), By: p.Actor}
	publishing, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	if err := p.Keys.Publish(publishing, signer.ID(), key); err != nil {
		return err
	}
	p.signing.Store(&signing{signer, now})
	p.Log.Info("signing key published", zap.String("key", signer.ID()))
	return nil
}

// keep does once what Run does all the time.
func (p *Keeper) keep(ctx context.Context, keys keyring.Keys) error {
	key := p.signing.Load()
	_, there := keys[key.ID()]
	switch age := time.Since(key.since); {
	case !there && age > proofsEvery: // else it is on its way
		p.Log.Warn("signing key was taken away; signing with another", zap.String("key", key.ID()))
		return p.renew(ctx)
	case age > p.Lifetime:
		return p.renew(ctx)
	case !p.Known():
		return nil
	}
	set, view, now := p.Source.Set(), p.Replica.View(), time.Now()
	pods, all := p.toLookAt(set, view, now)
	failed := p.signAnew(ctx, unprovenPods(pods, view, keys.Ring()))
	if !all {
		return failed
	}
	for _, id := range spareKeys(keys, set.Pods(), key.ID(), p.unused, now) {
		if err := p.Keys.Remove(ctx, id); err != nil {
			return errors.Join(failed, err)
		}
		p.Log.Info("public key removed; no pod shows a proof by it", zap.String("key", id))
	}
	return failed
}

// toLookAt are the pods that have changed since the last pass; or all, when what they are held to has changed, and now
// and then. The log may say something of a pod after the pod has changed, as when a term adopts what runs, so that a
// new beginning looks at all of them several times.
func (p *Keeper) toLookAt(set *objects.Set, view *projections.View, now time.Time) (pods iter.Seq[*kube.Pod], all bool) {
	const begin = 3
	last := p.seen
	head, config := view.Position().Head, view.Config().Seq
	if last.generation != head.Generation || last.config != config {
		last.passes = 0
	}
	p.seen = seen{set: set, generation: head.Generation, config: config, passes: last.passes + 1, all: last.all}
	if last.set == nil || last.passes < begin || now.Sub(last.all) >= allProofsEvery {
		p.seen.all = now
		return set.Pods(), true
	}
	return last.set.PodsSince(set), false // those that the last set had not, or had otherwise
}

// signAnew signs what the log says of pods. It goes on after a failure, and returns all of them.
func (p *Keeper) signAnew(ctx context.Context, all []unproven) error {
	var failed []error
	for _, u := range all {
		text, err := p.Sign(u.pod, u.pod.Node, u.infos, p.Replica.View().Position().Head.Seq)
		if err == nil {
			err = p.Prove(ctx, u.pod, u.infos, text)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			p.Log.Info("addresses signed anew", zap.Stringer("pod", u.pod), zap.String("uid", u.pod.UID))
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
