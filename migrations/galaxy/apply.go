package galaxy

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"galaxy/allocator"
	"galaxy/eventlog"
)

// Replica carries commands out; *allocator.Replica is one.
type Replica interface {
	Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error)
}

// cause stands in the log at each event of a migration.
const cause = "migrate " + Source

// atOnce is how many imports share the log's transactions.
const atOnce = 64

// Apply carries a plan out: first the addresses, then the outcome, and last the pools, which may reserve more. It may
// be cut anywhere and repeated: what was taken over is known by then. An address that somebody else has got since the
// plan was made is left, and named in the plan that it returns. Progress, if not nil, is called now and then with how
// many of how many are done.
func Apply(ctx context.Context, replica Replica, plan Plan, progress func(done, of int)) (Plan, error) {
	if progress == nil {
		progress = func(int, int) {}
	}
	done := Plan{Items: append([]Item(nil), plan.Items...)}
	total := done.Count(Take)
	taken := 0
	for start := 0; start < len(done.Items); start += atOnce {
		batch := done.Items[start:min(start+atOnce, len(done.Items))]
		n, err := importAll(ctx, replica, batch)
		if taken += n; err != nil {
			return done, err
		}
		progress(taken, total)
	}
	if _, err := replica.Do(ctx, cause, outcome(done)); err != nil {
		return done, fmt.Errorf("record the outcome: %w", err)
	}
	for i := range done.Items {
		item := &done.Items[i]
		size, ok := item.command.(allocator.SizePool)
		if !ok || item.Verdict != Take {
			continue
		}
		if _, err := replica.Do(ctx, cause, size); err != nil {
			return done, fmt.Errorf("size pool %s: %w", item.Name, err)
		}
		taken++
		progress(taken, total)
	}
	return done, nil
}

func outcome(p Plan) allocator.ResolveFormer {
	objects, left := 0, 0
	for _, item := range p.Items {
		if item.Kind != "FloatingIP" {
			continue
		}
		objects++
		if item.Verdict == Leave {
			left++
		}
	}
	return allocator.ResolveFormer{Source: Source, Outcome: eventlog.FormerImported, Objects: objects, Left: left}
}

func importAll(ctx context.Context, replica Replica, items []Item) (taken int, err error) {
	var group errgroup.Group
	results := make([]error, len(items))
	for i := range items {
		if c, ok := items[i].command.(allocator.Import); ok && items[i].Verdict == Take {
			taken++
			group.Go(func() error {
				_, results[i] = replica.Do(ctx, cause, c)
				return nil
			})
		}
	}
	_ = group.Wait() // results has each
	for i, failed := range results {
		var seen *allocator.OccupiedError
		switch {
		case failed == nil:
		case allocator.Conflicts(failed), errors.As(failed, &seen):
			items[i].Verdict, items[i].Why = Leave, failed.Error()
			taken--
		default:
			return 0, fmt.Errorf("import %s: %w", items[i].Name, failed)
		}
	}
	return taken, nil
}

// Discard records that what the former system left means nothing any more. Who mirrors the log may then delete its
// objects.
func Discard(ctx context.Context, replica Replica, objects int) error {
	_, err := replica.Do(ctx, cause, allocator.ResolveFormer{Source: Source, Outcome: eventlog.FormerDiscarded,
		Objects: objects, Left: objects})
	return err
}
