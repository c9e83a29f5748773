package allocator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"galaxy/eventlog"
)

// Snapshots says when a leader saves its state, so that the next start need not replay the whole log.
type Snapshots struct {
	Every uint64        // events between two snapshots
	Poll  time.Duration // how often it is checked
	// Report is called for each snapshot: where it stands, and what went wrong with it. A snapshot that fails is no
	// harm.
	Report func(at eventlog.Head, err error)
}

// Keep saves snapshots until ctx ends.
func (s Snapshots) Keep(ctx context.Context, r *Replica) {
	saved, err := s.newest(ctx, r.config.Log, r.config.Stream)
	if err != nil {
		s.Report(eventlog.Head{}, err)
	}
	tick := time.NewTicker(s.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		view := r.View()
		head := view.Position().Head
		if !r.Leading() || head.Seq < saved+s.Every {
			continue
		}
		err := r.config.Log.SaveSnapshot(ctx, r.config.Stream, head, view.Save)
		if err == nil {
			saved = head.Seq
		}
		if ctx.Err() == nil {
			s.Report(head, err)
		}
	}
}

func (s Snapshots) newest(ctx context.Context, log eventlog.Log, stream string) (uint64, error) {
	head, saved, err := log.LoadSnapshot(ctx, stream, 0)
	if errors.Is(err, eventlog.ErrNoSnapshot) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find the newest snapshot: %w", err)
	}
	return head.Seq, saved.Close()
}
