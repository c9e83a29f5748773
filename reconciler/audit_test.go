package reconciler

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/lease"
	"galaxy/projections"
)

func emptyView(t *testing.T) *projections.View {
	t.Helper()
	db, err := projections.Load(t.Context(), memlog.New(), eventlog.StreamIPAM, projections.Until{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return db.View()
}

func published(t *testing.T, p Published) lease.Change {
	t.Helper()
	value, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return lease.Change{Key: "replica/" + p.ID, Value: value}
}

// A replica publishes the digest of its state at rest, reports another one that has another state at the same event,
// and knows who lives.
func TestAudit(t *testing.T) {
	view, said := emptyView(t), make(chan Published, 100)
	a := NewAudit()
	core, seen := observer.New(zap.ErrorLevel)
	differs := 0
	a.Identity, a.Log, a.Differs, a.Rest = "me", zap.New(core), func() { differs++ }, time.Millisecond
	a.View = func() *projections.View { return view }
	a.Publish = func(_ context.Context, value []byte) error {
		var p Published
		if err := json.Unmarshal(value, &p); err != nil {
			t.Error(err)
		}
		select {
		case said <- p:
		default:
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = a.Run(ctx)
	}()
	a.Checkpoint(view)
	var mine Published
	for deadline := time.After(10 * time.Second); len(mine.Digests) == 0; {
		select {
		case mine = <-said:
		case <-deadline:
			t.Fatal("no digest is published")
		}
	}
	cancel()
	<-ended
	if mine.ID != "me" || mine.Digests[0].Digest != view.Digest() {
		t.Errorf("%+v", mine)
	}
	wrong := mine.Digests[0]
	wrong.Digest = "another"
	a.Compare([]lease.Change{published(t, mine), published(t, Published{ID: "good", Seq: 7, Digests: mine.Digests})})
	if differs != 0 {
		t.Error("equal states are taken for different ones")
	}
	for range 2 {
		a.Compare([]lease.Change{published(t, Published{ID: "bad", Seq: 9, Digests: []Digest{wrong}})})
	}
	if differs != 1 {
		t.Errorf("reported %d times a replica with another state, want once", differs)
	}
	if lines := seen.FilterMessageSnippet("state digest mismatch").All(); len(lines) != 1 ||
		lines[0].Level != zap.ErrorLevel || lines[0].ContextMap()["replica"] != "bad" {
		t.Errorf("the log says %v", lines)
	}
	for _, other := range []Digest{{"another life", wrong.Seq, "of another life"},
		{wrong.Generation, wrong.Seq + 1, "of another event"}} {
		a.Compare([]lease.Change{published(t, Published{ID: "bad", Digests: []Digest{other}})})
	}
	if differs != 1 {
		t.Error("states of other events, or of another log, are compared")
	}
	names := func() (all []string) {
		for _, r := range a.Replicas() {
			all = append(all, r.ID)
		}
		return all
	}
	if got := names(); len(got) != 3 || got[0] != "bad" || got[1] != "good" || got[2] != "me" ||
		a.Replicas()[1].Seq != 7 {
		t.Errorf("%v", a.Replicas())
	}
	a.Compare([]lease.Change{{Key: "replica/bad", Gone: true}})
	if got := names(); len(got) != 2 {
		t.Errorf("one is gone: %v", got)
	}
}
