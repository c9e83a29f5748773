package eventlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"galaxy/eventlog"
)

// drawStream writes a stream of random events, with a clock that also goes back.
func drawStream(t *rapid.T) (eventlog.Head, []eventlog.Record) {
	var cursor eventlog.Cursor
	var records []eventlog.Record
	now := begun
	for i := range rapid.IntRange(1, 8).Draw(t, "events") {
		now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "step")))
		data := rapid.SampledFrom(everyType()).Draw(t, "data")
		before := cursor.Time
		e, r, err := cursor.Write(now, "actor", fmt.Sprint("cause ", i), data)
		if err != nil {
			t.Fatal(err)
		}
		if e.Time.Before(before) || e.Seq != uint64(i)+1 || cursor.Head.Hash != r.Hash() || cursor.Head.Seq != e.Seq {
			t.Fatalf("event %+v after %s, the cursor is at %+v", e, before, cursor)
		}
		records = append(records, r)
	}
	return cursor.Head, records
}

// read walks records from the beginning.
func read(records []eventlog.Record) (eventlog.Head, error) {
	var cursor eventlog.Cursor
	for _, r := range records {
		if _, err := cursor.Read(r); err != nil {
			return eventlog.Head{}, err
		}
	}
	return cursor.Head, nil
}

func TestCursorReadsWhatItWrote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		head, records := drawStream(t)
		got, err := read(records)
		if err != nil || got != head {
			t.Fatalf("read to %+v, %v; written to %+v", got, err, head)
		}
		// From any point on, too.
		n := rapid.IntRange(0, len(records)).Draw(t, "from")
		middle, err := read(records[:n])
		if err != nil {
			t.Fatal(err)
		}
		cursor := eventlog.Cursor{Head: middle}
		for _, r := range records[n:] {
			if _, err := cursor.Read(r); err != nil {
				t.Fatal(err)
			}
		}
		if cursor.Head != head {
			t.Fatalf("read to %+v, written to %+v", cursor.Head, head)
		}
	})
}

// No byte of a stream can be changed, no event left out, repeated or moved, without an error or another head.
func TestCursorNoticesTampering(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		head, records := drawStream(t)
		at := rapid.IntRange(0, len(records)-1).Draw(t, "event")
		changed := append([]eventlog.Record(nil), records...)
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			b := bytes.Clone(records[at].Bytes)
			b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
			changed[at].Bytes = b
		case 1:
			changed = append(changed[:at], changed[at+1:]...)
		case 2:
			changed = append(changed[:at+1], records[at:]...)
		case 3:
			other := rapid.IntRange(0, len(records)-1).Draw(t, "other")
			if other == at {
				return
			}
			changed[at].Bytes, changed[other].Bytes = records[other].Bytes, records[at].Bytes
		}
		if got, err := read(changed); err == nil && got == head {
			t.Fatalf("%d events were read to the same head", len(changed))
		}
	})
}

func TestCursorRefusesTimeGoingBack(t *testing.T) {
	var cursor eventlog.Cursor
	_, first, err := cursor.Write(begun, "a", "", &eventlog.PoolDeleted{Pool: "blue"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := eventlog.Encode(eventlog.Event{Seq: 2, Time: begun.Add(-time.Nanosecond), Actor: "a",
		Prev: first.Hash(), Data: &eventlog.PoolDeleted{Pool: "red"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read([]eventlog.Record{first, second}); !errors.Is(err, eventlog.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestCursorStaysAtAnError(t *testing.T) {
	var cursor eventlog.Cursor
	_, first, err := cursor.Write(begun, "a", "", &eventlog.PoolDeleted{Pool: "blue"})
	if err != nil {
		t.Fatal(err)
	}
	before := cursor
	for _, bad := range []eventlog.Record{{Seq: 1, Bytes: first.Bytes}, {Seq: 3, Bytes: first.Bytes},
		{Seq: 2, Bytes: first.Bytes}, {Seq: 2}} {
		if _, err := cursor.Read(bad); !errors.Is(err, eventlog.ErrCorrupt) || cursor != before {
			t.Errorf("event %d: %v, the cursor is at %+v", bad.Seq, err, cursor)
		}
	}
}

func TestHashText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h, back eventlog.Hash
		copy(h[:], rapid.SliceOfN(rapid.Byte(), len(h), len(h)).Draw(t, "hash"))
		text, err := h.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := back.UnmarshalText(text); err != nil || back != h {
			t.Fatalf("%s becomes %s, %v", h, back, err)
		}
	})
}

// A number is never left out, though the hashes fit: an event that was taken out takes its number with it.
func TestCursorRefusesAHole(t *testing.T) {
	var w eventlog.Cursor
	if _, _, err := w.Write(time.Unix(1, 0), "test", "", &eventlog.PoolDeleted{Pool: "a"}); err != nil {
		t.Fatal(err)
	}
	read := w
	w.Head.Seq++
	_, r, err := w.Write(time.Unix(2, 0), "test", "", &eventlog.PoolDeleted{Pool: "c"})
	if err != nil {
		t.Fatal(err)
	}
	before := read
	if _, err := read.Read(r); !errors.Is(err, eventlog.ErrCorrupt) || read != before {
		t.Errorf("after event 1 comes event %d: %v, the cursor is at %d", r.Seq, err, read.Head.Seq)
	}
}
