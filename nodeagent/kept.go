package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"galaxy/allocator"
	"galaxy/pause"
	"galaxy/projections"
)

// keptNodes is the stream nodes as this machine has kept it.
type keptNodes struct{ view *projections.View }

func (k keptNodes) View() *projections.View { return k.view }

func (k keptNodes) Subscribe() *allocator.Subscription { return allocator.Still() }

// keepPause is how long more changes of the nodes are waited for before they are kept.
const keepPause = time.Second

// keepNodes keeps what is known of the nodes on this machine, for a start without etcd.
func (a *Agent) keepNodes(ctx context.Context, nodes Nodes) error {
	if a.Kept == "" {
		return nil
	}
	changes := nodes.Subscribe()
	defer changes.Close()
	for {
		view := nodes.View()
		err := a.Kept.Save(view.Position().Head, view.Save)
		if a.note("kept", err) && err != nil {
			a.Log.Warn("what is known of the nodes is not kept for a start without etcd", zap.Error(err))
		}
		var again <-chan time.Time
		if err != nil {
			again = time.After(a.Routes.Tick)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes.C:
			changes.Take()
		case <-again:
		}
		_ = pause.For(ctx, keepPause)
	}
}

// followKept makes routes and what else depends on the nodes follow what this machine has kept, until end is called,
// which waits. Nothing that there is goes away meanwhile: the nodes may have changed since.
func (a *Agent) followKept(ctx context.Context) (end func(), err error) {
	if a.Kept == "" {
		return func() {}, nil
	}
	_, saved, err := a.Kept.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return func() {}, err
	}
	db, err := projections.Restore(saved)
	if err = errors.Join(err, saved.Close()); err != nil {
		return func() {}, fmt.Errorf("%s: %w", a.Kept, err)
	}
	nodes := keptNodes{view: db.View()}
	a.see(nodes, true)
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Routes.Run(ctx) })
	group.Go(func() error { return a.settle(ctx, nodes) })
	return func() {
		cancel()
		if err := group.Wait(); err != nil {
			a.Log.Warn("routes do not follow what this machine knows", zap.Error(err))
		}
	}, nil
}

// see says where the state of the stream nodes comes from, from now on.
func (a *Agent) see(nodes Nodes, kept bool) {
	a.Routes.Follow(nodes, kept)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.nodes = nodes
}
