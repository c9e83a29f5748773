package logtest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"galaxy/eventlog"
)

func emptyStream(t *testing.T, rig Rig) {
	h := head(t, rig.Log)
	if h.Seq != 0 || !h.Hash.IsZero() || h.Generation == "" {
		t.Fatalf("head of an empty stream: %+v", h)
	}
	if got := readAll(t, rig.Log, 0, 0); len(got) != 0 {
		t.Fatalf("read %d records from an empty stream", len(got))
	}
	if _, _, err := rig.Log.LoadSnapshot(background(t), stream, 0); !errors.Is(err, eventlog.ErrNoSnapshot) {
		t.Fatalf("snapshot of an empty stream: %v", err)
	}
}

func appendAndRead(t *testing.T, rig Rig) {
	var all []eventlog.Record
	at := head(t, rig.Log)
	for _, n := range []int{1, 2, 10, rig.Log.Limits().Events} {
		var made []eventlog.Record
		at, made = extend(t, rig.Log, at, n)
		all = append(all, made...)
		last := made[n-1]
		if at.Seq != last.Seq || at.Hash != last.Hash() {
			t.Fatalf("appending returned the head %+v after event %d of hash %s", at, last.Seq, last.Hash())
		}
		if read := head(t, rig.Second); read != at {
			t.Fatalf("the head is %+v, appending returned %+v", read, at)
		}
	}
	equal(t, readAll(t, rig.Second, 0, 0), all)
}

func bytesAreKept(t *testing.T, rig Rig) {
	made := []eventlog.Record{
		{Seq: 1, Bytes: []byte("{ \"spaces\" :  1 }\n\n")},
		{Seq: 2, Bytes: []byte("\x00\xff\xfe not even text \x00")},
		{Seq: 3, Bytes: []byte("日本 \u2028 <&>")},
	}
	want := make([]eventlog.Record, len(made))
	for i, r := range made {
		want[i] = eventlog.Record{Seq: r.Seq, Bytes: append([]byte(nil), r.Bytes...)}
	}
	if _, err := rig.Log.Append(background(t), stream, head(t, rig.Log), made, eventlog.Fence{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range made {
		clear(r.Bytes) // the caller may use its memory again
	}
	equal(t, readAll(t, rig.Log, 0, 0), want)
}

func streamsAreApart(t *testing.T, rig Rig) {
	ctx := background(t)
	_, made := extend(t, rig.Log, head(t, rig.Log), 3)
	for _, other := range []string{"nodes", "node-ipam", "ipam-2", "node-10.example.org"} {
		h, err := rig.Log.Head(ctx, other)
		if rig.Lone {
			if err == nil {
				t.Errorf("the head of stream %s: %+v, of a log with one stream", other, h)
			}
			if _, err := rig.Log.Append(ctx, other, eventlog.Head{Generation: made[0].Hash().String()}, records(0, 2),
				eventlog.Fence{}); err == nil {
				t.Errorf("stream %s is taken by a log with one stream", other)
			}
			continue
		}
		if err != nil || h.Seq != 0 {
			t.Fatalf("head of stream %s: %+v, %v", other, h, err)
		}
		if _, err := rig.Log.Append(ctx, other, h, records(0, 2), eventlog.Fence{}); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, readAll(t, rig.Log, 0, 0), made)
	for _, bad := range []string{"", "a/b"} {
		if _, err := rig.Log.Head(ctx, bad); err == nil {
			t.Errorf("stream %q is accepted", bad)
		}
	}
}

func badAppend(t *testing.T, rig Rig) {
	ctx := background(t)
	at, made := extend(t, rig.Log, head(t, rig.Log), 2)
	for name, bad := range map[string][]eventlog.Record{
		"none":   nil,
		"behind": {{Seq: 2}},
		"beyond": {{Seq: 4}},
		"hole":   {{Seq: 3}, {Seq: 5}},
	} {
		if _, err := rig.Log.Append(ctx, stream, at, bad, eventlog.Fence{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	equal(t, readAll(t, rig.Log, 0, 0), made)
}

func conflict(t *testing.T, rig Rig) {
	ctx := background(t)
	empty := head(t, rig.Log)
	first, made := extend(t, rig.Log, empty, 2)
	_, more := extend(t, rig.Log, first, 1)
	for _, after := range []eventlog.Head{empty, first} {
		if _, err := rig.Second.Append(ctx, stream, after, records(after.Seq, 1), eventlog.Fence{}); !errors.Is(err,
			eventlog.ErrConflict) {
			t.Fatalf("append after event %d when the head is at 3: %v", after.Seq, err)
		}
	}
	forged := head(t, rig.Log)
	forged.Hash[0] ^= 1
	if _, err := rig.Log.Append(ctx, stream, forged, records(3, 1), eventlog.Fence{}); !errors.Is(err,
		eventlog.ErrConflict) {
		t.Fatalf("append after a head of another hash: %v", err)
	}
	equal(t, readAll(t, rig.Log, 0, 0), append(made, more...))
}

func fence(t *testing.T, rig Rig) {
	ctx := background(t)
	held := rig.Elect(t)
	at, err := rig.Log.Append(ctx, stream, head(t, rig.Log), records(0, 1), held)
	if err != nil {
		t.Fatal(err)
	}
	another := held
	another.Revision++
	if _, err := rig.Log.Append(ctx, stream, at, records(1, 1), another); !errors.Is(err, eventlog.ErrFenced) {
		t.Fatalf("append under another's leadership: %v", err)
	}
	rig.Depose(t, held)
	if _, err := rig.Log.Append(ctx, stream, at, records(1, 1), held); !errors.Is(err, eventlog.ErrFenced) {
		t.Fatalf("append by a deposed leader: %v", err)
	}
	if renewed := rig.Elect(t); renewed == held {
		t.Fatal("the rig gave the same fence twice")
	}
	if _, err := rig.Log.Append(ctx, stream, at, records(1, 1), held); !errors.Is(err, eventlog.ErrFenced) {
		t.Fatalf("append by a deposed leader under its successor: %v", err)
	}
	if now := head(t, rig.Log); now != at {
		t.Fatalf("the head moved to %+v", now)
	}
	// A deposed leader that has missed an event as well must hear that it is deposed: it has nothing left to retry.
	extend(t, rig.Second, at, 1)
	if _, err := rig.Log.Append(ctx, stream, at, records(1, 1), held); !errors.Is(err, eventlog.ErrFenced) {
		t.Fatalf("append by a deposed leader after an old head: %v", err)
	}
}

func generation(t *testing.T, rig Rig) {
	ctx := background(t)
	at, made := extend(t, rig.Log, head(t, rig.Log), 2)
	rig.Regenerate(t)
	if _, err := rig.Log.Append(ctx, stream, at, records(2, 1), eventlog.Fence{}); !errors.Is(err,
		eventlog.ErrGeneration) {
		t.Fatalf("append to a log of another generation: %v", err)
	}
	now := head(t, rig.Log)
	if now.Generation == at.Generation || now.Seq != at.Seq || now.Hash != at.Hash {
		t.Fatalf("head is %+v, before the restore it was %+v", now, at)
	}
	_, more := extend(t, rig.Log, now, 1)
	equal(t, readAll(t, rig.Log, 0, 0), append(made, more...))
	if rig.Lone {
		return
	}
	unknown := eventlog.Head{Generation: "unknown"}
	if _, err := rig.Log.Append(ctx, "nodes", unknown, records(0, 1), eventlog.Fence{}); !errors.Is(err,
		eventlog.ErrGeneration) {
		t.Fatalf("append to an empty stream of another generation: %v", err)
	}
}

// A writer that read an empty stream before a restore is refused, though number and hash are the same.
func emptyStreamNewGeneration(t *testing.T, rig Rig) {
	ctx := background(t)
	old := head(t, rig.Log)
	rig.Regenerate(t)
	for _, log := range []eventlog.Log{rig.Log, rig.Second} {
		if _, err := log.Append(ctx, stream, old, records(0, 1), eventlog.Fence{}); !errors.Is(err,
			eventlog.ErrGeneration) {
			t.Fatalf("append to an empty stream of another generation: %v", err)
		}
	}
	if got := readAll(t, rig.Log, 0, 0); len(got) != 0 {
		t.Fatalf("%d records of another generation were written", len(got))
	}
	_, made := extend(t, rig.Log, head(t, rig.Log), 1)
	equal(t, readAll(t, rig.Second, 0, 0), made)
}

// A writer that was away while others wrote changes nothing, whatever it brings: the very bytes that are there, an
// event instead of another, or a batch that reaches beyond the head.
func staleWriter(t *testing.T, rig Rig) {
	ctx := background(t)
	empty := head(t, rig.Log)
	first, made := extend(t, rig.Log, empty, 1)
	now, more := extend(t, rig.Second, first, 2)
	all := append(made, more...)
	for name, stale := range map[string]struct {
		after   eventlog.Head
		records []eventlog.Record
	}{
		"the same bytes":     {first, more},
		"another event":      {first, records(1, 1)},
		"beyond the head":    {first, records(1, 5)},
		"from the beginning": {empty, records(0, 4)},
		"the number of a new head": {eventlog.Head{Seq: now.Seq, Hash: first.Hash, Generation: now.Generation},
			records(now.Seq, 1)},
		"a head of the future": {eventlog.Head{Seq: now.Seq + 1, Hash: now.Hash, Generation: now.Generation},
			records(now.Seq+1, 1)},
	} {
		if _, err := rig.Log.Append(ctx, stream, stale.after, stale.records, eventlog.Fence{}); !errors.Is(err,
			eventlog.ErrConflict) {
			t.Errorf("%s: append after event %d when the head is at %d: %v", name, stale.after.Seq, now.Seq, err)
		}
	}
	rig.Regenerate(t)
	if _, err := rig.Log.Append(ctx, stream, first, records(1, 1), eventlog.Fence{}); !errors.Is(err,
		eventlog.ErrGeneration) {
		t.Errorf("append after an old head of another generation: %v", err)
	}
	equal(t, readAll(t, rig.Log, 0, 0), all)
	if at := head(t, rig.Log); at.Seq != now.Seq || at.Hash != now.Hash {
		t.Errorf("the head is at %+v, and was at %+v", at, now)
	}
}

func tooLarge(t *testing.T, rig Rig) {
	ctx := background(t)
	limits, at := rig.Log.Limits(), head(t, rig.Log)
	if _, err := rig.Log.Append(ctx, stream, at, records(0, limits.Events+1), eventlog.Fence{}); !errors.Is(err,
		eventlog.ErrTooLarge) {
		t.Fatalf("append of %d records: %v", limits.Events+1, err)
	}
	large := []eventlog.Record{{Seq: 1, Bytes: make([]byte, limits.Bytes+1)}}
	if _, err := rig.Log.Append(ctx, stream, at, large, eventlog.Fence{}); !errors.Is(err, eventlog.ErrTooLarge) {
		t.Fatalf("append of %d bytes: %v", limits.Bytes+1, err)
	}
	large[0].Bytes = large[0].Bytes[:limits.Bytes]
	at, err := rig.Log.Append(ctx, stream, at, large, eventlog.Fence{})
	if err != nil {
		t.Fatalf("append of as many bytes as allowed: %v", err)
	}
	full := records(1, limits.Events)
	for i := range full {
		full[i].Bytes = make([]byte, limits.Bytes/limits.Events)
	}
	if _, err := rig.Log.Append(ctx, stream, at, full, eventlog.Fence{}); err != nil {
		t.Fatalf("append of as many records and bytes as allowed: %v", err)
	}
}

func twoWriters(t *testing.T, rig Rig) {
	const each = 50
	var mu sync.Mutex
	landed, lost := map[string]bool{}, 0
	write := func(log eventlog.Log) error {
		at, err := log.Head(background(t), stream)
		for done := 0; err == nil && done < each; {
			made := records(at.Seq, 3)
			var next eventlog.Head
			next, err = log.Append(background(t), stream, at, made, eventlog.Fence{})
			mu.Lock()
			if errors.Is(err, eventlog.ErrConflict) {
				lost++
				mu.Unlock()
				at, err = log.Head(background(t), stream)
				continue
			}
			for _, r := range made {
				landed[string(r.Bytes)] = err == nil
			}
			mu.Unlock()
			at, done = next, done+1
		}
		return err
	}
	errs := make(chan error, 2)
	for _, log := range []eventlog.Log{rig.Log, rig.Second} {
		go func() { errs <- write(log) }()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	all := readAll(t, rig.Log, 0, 0)
	if len(all) != 2*each*3 {
		t.Errorf("%d events in the log, %d were acknowledged", len(all), 2*each*3)
	}
	for _, r := range all {
		if !landed[string(r.Bytes)] {
			t.Fatalf("event %d was never acknowledged, or stands there twice", r.Seq)
		}
		delete(landed, string(r.Bytes))
	}
	t.Logf("%d appends lost the race", lost)
}

func endedContext(t *testing.T, rig Rig) {
	at, _ := extend(t, rig.Log, head(t, rig.Log), 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := rig.Log.Head(ctx, stream); !errors.Is(err, context.Canceled) {
		t.Errorf("head: %v", err)
	}
	_, err := rig.Log.Append(ctx, stream, at, records(1, 1), eventlog.Fence{})
	if !errors.Is(err, context.Canceled) || errors.Is(err, eventlog.ErrOutcomeUnknown) {
		t.Errorf("append: %v", err)
	}
	if now := head(t, rig.Log); now != at {
		t.Errorf("an append whose context had ended was written: %+v", now)
	}
	for _, err := range rig.Log.Read(ctx, stream, 0, 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("read: %v", err)
		}
	}
	for _, err := range rig.Log.Follow(ctx, stream, at) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("follow: %v", err)
		}
	}
}
