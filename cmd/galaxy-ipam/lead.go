package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/lease"
	"galaxy/pause"
	"galaxy/projections"
)

// lead follows the log until this process is elected, leads until it is deposed, and begins again; until ctx ends.
func (p *program) lead(ctx context.Context) error {
	for ctx.Err() == nil {
		term, err := p.elected(ctx)
		if err != nil || term == nil {
			return err
		}
		err = p.govern(ctx, term)
		if final(err) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			p.logger.Warn("no longer leading", zap.Error(err))
			_ = pause.For(ctx, time.Second) // the loop sees that ctx has ended
		}
	}
	return nil
}

// final errors mean that the log is not to be trusted, or not to be understood: going on would make it worse.
func final(err error) bool {
	var version *eventlog.VersionError
	var unknown *eventlog.UnknownTypeError
	return errors.Is(err, eventlog.ErrCorrupt) || errors.Is(err, eventlog.ErrGeneration) ||
		errors.Is(err, projections.ErrImpossible) ||
		errors.As(err, &version) || errors.As(err, &unknown)
}

// term is a term of leadership: what fences its writes, and how it ends.
type term struct {
	fence  eventlog.Fence
	lost   <-chan struct{}
	resign func(context.Context) error
}

// elected follows the log until this process leads. A nil term means that ctx ended.
func (p *program) elected(ctx context.Context) (*term, error) {
	if !p.options.leaderElect {
		return &term{resign: func(context.Context) error { return nil }}, nil
	}
	waiting, won := context.WithCancel(ctx)
	defer won()
	var leadership *lease.Leadership
	group, waiting := errgroup.WithContext(waiting)
	for _, replica := range []*allocator.Replica{p.replica, p.nodes} {
		group.Go(func() error { return p.follow(waiting, replica) })
	}
	group.Go(func() (err error) {
		defer won()
		leadership, err = lease.Elect(waiting, p.client, lease.Candidate{
			Key: lease.LeaderKey(p.options.etcd.Prefix), ID: p.identity, Address: p.address, REST: p.restAddr,
			TTL: p.options.leaseDuration, Note: p.noteElection,
		})
		return err
	})
	err := group.Wait()
	switch {
	case leadership == nil && ctx.Err() != nil:
		return nil, nil
	case leadership == nil:
		return nil, fmt.Errorf("elect a leader: %w", err)
	case err != nil:
		return nil, errors.Join(err, leadership.Resign(context.WithoutCancel(ctx)))
	}
	return &term{
		fence:  eventlog.Fence{Key: leadership.Key, Revision: leadership.Revision},
		lost:   leadership.Lost(),
		resign: leadership.Resign,
	}, nil
}

// follow keeps a view new while another leads. Trouble with etcd passes; a log that is not to be trusted does not.
func (p *program) follow(ctx context.Context, replica *allocator.Replica) error {
	for ctx.Err() == nil {
		err := replica.Follow(ctx)
		if final(err) {
			return err
		}
		if err != nil {
			p.logger.Warn("log watch failed; retrying", zap.Error(err))
			_ = pause.For(ctx, time.Second) // the loop sees that ctx has ended
		}
	}
	return nil
}

// resignTimeout bounds what is said to etcd at the end; what it misses, the leases do.
const resignTimeout = 2 * time.Second

// govern leads for one term.
func (p *program) govern(ctx context.Context, t *term) error {
	governing, cancel := context.WithCancel(ctx)
	defer cancel()
	group, governing := errgroup.WithContext(governing)
	group.Go(func() error {
		select {
		case <-t.lost:
			return eventlog.ErrFenced
		case <-governing.Done():
			return nil
		}
	})
	group.Go(func() error {
		defer cancel()
		p.logger.Info("leading", zap.Uint64("event", p.replica.View().Position().Head.Seq))
		return p.replica.Lead(governing, t.fence)
	})
	group.Go(func() error {
		defer cancel()
		return p.nodes.Lead(governing, t.fence)
	})
	group.Go(func() error {
		if p.former != nil {
			if p.former.Detect(governing) != nil {
				return nil // governing has ended
			}
			group.Go(func() error { return p.former.Run(governing) })
		}
		p.configure(governing)
		if p.reconciler == nil {
			return nil
		}
		if err := p.reconciler.Run(governing); err != nil && governing.Err() == nil {
			return err
		}
		return nil
	})
	for _, run := range p.governors() {
		group.Go(func() error { return run(governing) })
	}
	err := group.Wait()
	resigning, done := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer done()
	if failed := t.resign(resigning); failed != nil {
		p.logger.Warn("the leader's key is left to its lease", zap.Error(failed))
	}
	return err
}

// configure puts the subnets of the config file in force. A refusal is not fatal: those in the log stay.
func (p *program) configure(ctx context.Context) {
	if p.settings.subnets == nil {
		return
	}
	command := allocator.Configure{Source: "file " + p.options.config, Subnets: p.settings.subnets,
		Force: p.options.forceConfig}
	for {
		_, err := p.replica.Do(ctx, "start", command)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, allocator.ErrNotLeader): // not yet
			_ = pause.For(ctx, 10*time.Millisecond) // the loop sees that ctx has ended
		case err != nil:
			p.logger.Error("the subnets of the config file were refused; those in force stay",
				zap.String("file", p.options.config), zap.Error(err))
			return
		default:
			return
		}
	}
}
