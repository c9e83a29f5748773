package logtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"galaxy/eventlog"
)

func readRanges(t *testing.T, rig Rig) {
	_, all := extend(t, rig.Log, head(t, rig.Log), 20)
	for _, r := range []struct{ after, through, first, last uint64 }{
		{0, 0, 1, 20}, {0, 20, 1, 20}, {0, 1, 1, 1}, {5, 5, 1, 0}, {5, 9, 6, 9}, {19, 0, 20, 20}, {20, 0, 1, 0},
		{0, 100, 1, 20}, {30, 0, 1, 0}, {9, 5, 1, 0},
	} {
		equal(t, readAll(t, rig.Log, r.after, r.through), all[r.first-1:r.last])
	}
}

func readStops(t *testing.T, rig Rig) {
	extend(t, rig.Log, head(t, rig.Log), 20)
	batches := 0
	for _, err := range rig.Log.Read(background(t), stream, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		batches++
		break
	}
	if batches != 1 {
		t.Fatalf("%d batches", batches)
	}
}

func readManyPages(t *testing.T, rig Rig) {
	var all []eventlog.Record
	at := head(t, rig.Log)
	for len(all) < 7000 {
		var made []eventlog.Record
		at, made = extend(t, rig.Log, at, rig.Log.Limits().Events)
		all = append(all, made...)
	}
	equal(t, readAll(t, rig.Log, 0, 0), all)
	equal(t, readAll(t, rig.Log, 1234, 6543), all[1234:6543])
}

// follow collects what a follower sees until it has n records.
func follow(t *testing.T, log eventlog.Log, after eventlog.Head, n int) []eventlog.Record {
	t.Helper()
	var seen []eventlog.Record
	for batch, err := range log.Follow(background(t), stream, after) {
		if err != nil {
			t.Errorf("follow, after %d records: %v", len(seen), err)
			return seen
		}
		if seen = append(seen, batch...); len(seen) >= n {
			return seen
		}
	}
	t.Errorf("the follower ended after %d records, without an error", len(seen))
	return seen
}

func followWhileAppending(t *testing.T, rig Rig) {
	const total = 600
	empty := head(t, rig.Log)
	at, all := extend(t, rig.Log, empty, 100)
	type result struct {
		after uint64
		seen  []eventlog.Record
	}
	results := make(chan result, 4)
	watch := func(log eventlog.Log, after eventlog.Head) {
		seen := follow(t, log, after, int(total-after.Seq))
		results <- result{after.Seq, seen}
	}
	go watch(rig.Second, empty)
	go watch(rig.Second, eventlog.Head{}) // whatever the generation is
	go watch(rig.Log, at)
	for n := 1; len(all) < total; n = n%7 + 1 {
		if len(all) == 400 {
			go watch(rig.Second, at)
		}
		var made []eventlog.Record
		if len(all) < 400 {
			n = min(n, 400-len(all))
		}
		at, made = extend(t, rig.Log, at, min(n, total-len(all)))
		all = append(all, made...)
	}
	for range cap(results) {
		r := <-results
		equal(t, r.seen, all[r.after:])
	}
}

func followFromTheMiddle(t *testing.T, rig Rig) {
	at, _ := extend(t, rig.Log, head(t, rig.Log), 10)
	_, more := extend(t, rig.Log, at, 10)
	equal(t, follow(t, rig.Log, at, 10), more)
}

func followAnUnknownPast(t *testing.T, rig Rig) {
	at, _ := extend(t, rig.Log, head(t, rig.Log), 5)
	edited, beyond, older := at, at, at
	edited.Hash[3] ^= 1
	beyond.Seq += 3
	older.Seq-- // the hash is that of event 5
	for name, after := range map[string]eventlog.Head{"edited": edited, "beyond the head": beyond,
		"of another event": older} {
		for _, err := range rig.Log.Follow(background(t), stream, after) {
			if !errors.Is(err, eventlog.ErrCorrupt) {
				t.Errorf("follow after a head that is %s: %v", name, err)
			}
			break
		}
	}
	foreign := at
	foreign.Generation = "another"
	for _, err := range rig.Log.Follow(background(t), stream, foreign) {
		if !errors.Is(err, eventlog.ErrGeneration) {
			t.Errorf("follow after a head of another generation: %v", err)
		}
		break
	}
}

func followStops(t *testing.T, rig Rig) {
	at, _ := extend(t, rig.Log, head(t, rig.Log), 5)
	ctx, cancel := context.WithCancel(background(t))
	ended := make(chan error, 1)
	go func() {
		var last error
		for _, err := range rig.Log.Follow(ctx, stream, at) {
			last = err
		}
		ended <- last
	}()
	time.Sleep(20 * time.Millisecond)
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("a follower whose context has ended: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("a follower goes on after the end of its context")
	}
}

func followNoticesGeneration(t *testing.T, rig Rig) {
	at, _ := extend(t, rig.Log, head(t, rig.Log), 5)
	ended := make(chan error, 1)
	go func() {
		for _, err := range rig.Second.Follow(background(t), stream, at) {
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	rig.Regenerate(t)
	if err := <-ended; !errors.Is(err, eventlog.ErrGeneration) {
		t.Fatalf("a follower of a log that was replaced: %v", err)
	}
}
