package reconciler

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"galaxy/lease"
	"galaxy/projections"
)

// Audit compares the states of the replicas. Each publishes the digests of its state at sequence numbers that are the
// same for all, and at the one at which it rests while nothing happens; equal logs must give equal states, so a
// difference is a defect or a damaged memory, and is reported loudly.
type Audit struct {
	Identity string
	View     func() *projections.View
	Publish  func(ctx context.Context, value []byte) error // under a key that vanishes with this process
	Log      *zap.Logger
	Differs  func() // called for each difference, for metrics
	Rest     time.Duration

	views    chan *projections.View
	mu       sync.Mutex
	mine     []Digest // oldest first
	alive    map[string]Published
	reported map[string]bool
}

// Digest is that of a replica's state after an event.
type Digest struct {
	Generation string `json:"generation"`
	Seq        uint64 `json:"seq"`
	Digest     string `json:"digest"` // see projections.View.Digest
}

// Published is what a replica says of itself.
type Published struct {
	ID      string   `json:"id"`
	Seq     uint64   `json:"seq"`     // how far it has followed the log, as of half a minute ago at most
	Digests []Digest `json:"digests"` // oldest first
}

const (
	// DefaultRest is how long nothing must have happened until the state at rest is published.
	DefaultRest = 30 * time.Second

	keptDigests = 8
)

// NewAudit makes an Audit; the exported fields may be set until Run.
func NewAudit() *Audit {
	return &Audit{Rest: DefaultRest, views: make(chan *projections.View, 1), reported: map[string]bool{}}
}

// Checkpoint takes a view to be digested. While another is being digested, it is let go: there will be more.
func (a *Audit) Checkpoint(view *projections.View) {
	select {
	case a.views <- view:
	default:
	}
}

// Run digests and publishes until ctx ends.
func (a *Audit) Run(ctx context.Context) error {
	tick := time.NewTicker(a.Rest)
	defer tick.Stop()
	var before, digested uint64
	for {
		view := (*projections.View)(nil)
		select {
		case <-ctx.Done():
			return nil
		case view = <-a.views:
		case <-tick.C:
			resting := a.View()
			seq := resting.Position().Head.Seq
			if seq == before && seq != digested {
				view = resting
			}
			before = seq
		}
		if view != nil {
			digested = view.Position().Head.Seq
			a.digest(view)
		}
		if err := a.publish(ctx); err != nil && ctx.Err() == nil {
			a.Log.Warn("replica state not published", zap.Error(err))
		}
	}
}

// digest adds the digest of a view to those that are published.
func (a *Audit) digest(view *projections.View) {
	head := view.Position().Head
	digest := Digest{Generation: head.Generation, Seq: head.Seq, Digest: view.Digest()}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mine = append(a.mine, digest)
	if len(a.mine) > keptDigests {
		a.mine = a.mine[1:]
	}
}

func (a *Audit) publish(ctx context.Context) error {
	a.mu.Lock()
	value, err := json.Marshal(Published{ID: a.Identity, Seq: a.View().Position().Head.Seq, Digests: a.mine})
	a.mu.Unlock()
	if err != nil {
		return err
	}
	return a.Publish(ctx, value)
}

// Replicas are those that live, by what they have published last, this one included.
func (a *Audit) Replicas() []Published {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.Collect(maps.Values(a.alive))
	all = append(all, Published{ID: a.Identity, Seq: a.View().Position().Head.Seq})
	slices.SortFunc(all, func(x, y Published) int { return cmp.Compare(x.ID, y.ID) })
	return all
}

// note remembers who lives.
func (a *Audit) note(key string, other Published, gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.alive == nil {
		a.alive = map[string]Published{}
	}
	if gone {
		delete(a.alive, key)
	} else {
		a.alive[key] = other
	}
}

// Compare takes what replicas publish, as lease.Watch yields it, and reports each state that is not ours at the same
// event.
func (a *Audit) Compare(changes []lease.Change) {
	for _, c := range changes {
		var other Published
		if c.Gone {
			a.note(c.Key, other, true)
			continue
		}
		if json.Unmarshal(c.Value, &other) != nil || other.ID == a.Identity {
			continue
		}
		a.note(c.Key, other, false)
		for _, theirs := range other.Digests {
			if ours, both := a.at(theirs); both && ours != theirs.Digest {
				a.differ(other.ID, theirs, ours)
			}
		}
	}
}

func (a *Audit) at(other Digest) (digest string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, mine := range a.mine {
		if mine.Seq == other.Seq && mine.Generation == other.Generation {
			return mine.Digest, true
		}
	}
	return "", false
}

func (a *Audit) differ(id string, theirs Digest, ours string) {
	if key := id + theirs.Digest; !a.reported[key] {
		a.reported[key] = true
		if a.Differs != nil {
			a.Differs()
		}
		a.Log.Error("state digest mismatch with another replica: one of the two is wrong; compare both with "+
			"galaxyctl log verify, and restart the wrong one",
			zap.String("replica", id), zap.Uint64("event", theirs.Seq), zap.String("its digest", theirs.Digest),
			zap.String("our digest", ours))
	}
}
