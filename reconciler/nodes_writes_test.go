package reconciler

import (
	"slices"
	"testing"
	"time"
)

// A node that writes as nodes do is never reported of; one that floods is, once, until it has been quiet; and nothing
// is remembered of nodes that are quiet.
func TestNodeWrites(t *testing.T) {
	var n NodeWrites
	now := time.Unix(0, 0)
	for range 3600 { // fifty containers a second, for an hour
		now = now.Add(time.Second)
		if n.Note("busy", 100*800, now) {
			t.Fatal("a busy node is taken for one that floods")
		}
	}
	reported := 0
	for range 40 {
		if n.Note("bad", 1<<20, now) {
			reported++
		}
	}
	if reported != 1 || !slices.Equal(n.Loud(now), []string{"bad"}) {
		t.Errorf("reported %d times, loud %v", reported, n.Loud(now))
	}
	now = now.Add(10 * time.Minute)
	if loud := n.Loud(now); len(loud) != 0 || len(n.nodes) != 0 {
		t.Errorf("after 10 minutes: loud %v, remembered %v", loud, n.nodes)
	}
	if n.Note("bad", writesBurst, now) || !n.Note("bad", 1, now) {
		t.Error("it floods again, and that is no news")
	}
}
