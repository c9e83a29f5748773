package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"galaxy/eventlog"
	"galaxy/pause"
)

// How often etcd is asked whether it answers, how long it may take, and after how long without a response that is said.
const (
	reachEvery   = 2 * time.Second
	reachTimeout = 3 * time.Second
	reachPatient = 8 * time.Second
)

// reach is whether etcd answers reads of its newest state. Without it nothing is decided, and no replica knows that it
// is behind.
type reach struct {
	now func() time.Time

	mu       sync.Mutex
	last     time.Time // when it has answered
	why      error     // of the newest attempt; nil if that was answered
	reported bool      // that it does not answer
}

// note takes the outcome of an attempt, and reports whether there is trouble where there was none when it was called
// before, or the other way round.
func (r *reach) note(err error) (news bool) {
	r.mu.Lock()
	if r.why = err; err == nil {
		r.last = r.now()
	}
	r.mu.Unlock()
	before := r.reported
	r.reported = r.trouble() != ""
	return before != r.reported
}

// trouble says since when etcd has not answered, and why; "" while it does, or is not missed yet.
func (r *reach) trouble() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	away := r.now().Sub(r.last)
	if r.why == nil || away < reachPatient {
		return ""
	}
	return fmt.Sprintf("etcd has not answered for %s: %v", away.Round(time.Second), r.why)
}

// noteElection takes why this process could not stand for election; nil if it could.
func (p *program) noteElection(err error) {
	text := ""
	if err != nil {
		text = "this replica cannot stand for election: " + err.Error()
	}
	if before, _ := p.election.Swap(text).(string); before != text && text != "" {
		p.logger.Error("leader election failed; retrying", zap.Error(err))
	}
	p.metrics.Waits("election", text != "")
}

// noElection says why this process cannot stand for election; "" if it can.
func (p *program) noElection() string {
	text, _ := p.election.Load().(string)
	return text
}

// keepReach asks etcd again and again until ctx ends.
func (p *program) keepReach(ctx context.Context) error {
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, reachTimeout)
		_, err := p.log.Head(asking, eventlog.StreamIPAM)
		cancel()
		if p.etcd.note(err) && ctx.Err() == nil {
			if err != nil {
				p.logger.Error("etcd unreachable; no decisions until it responds", zap.Error(err))
			} else {
				p.logger.Info("etcd reachable again")
			}
		}
		p.metrics.Waits("etcd", p.etcd.trouble() != "")
		_ = pause.For(ctx, reachEvery) // the loop sees that ctx has ended
	}
	return nil
}
