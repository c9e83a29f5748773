// Package logtest is the suite that every implementation of eventlog.Log must pass.
package logtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"galaxy/eventlog"
)

// Rig is a log under test: empty, and with a handle on what happens to it from outside.
type Rig struct {
	Log    eventlog.Log
	Second eventlog.Log // the same log, as another process sees it; may be Log itself

	// Lone is a log of one stream, StreamIPAM here, with one writer: it refuses other streams, knows no fences (Elect
	// and Depose are nil), and keeps one snapshot.
	Lone bool

	Elect      func(t *testing.T) eventlog.Fence    // makes a leader's key
	Depose     func(t *testing.T, f eventlog.Fence) // removes it
	Regenerate func(t *testing.T)                   // gives the log a new generation, as a restore does
}

// Run tests the implementation whose rigs newRig makes. Every test gets a rig of its own.
func Run(t *testing.T, newRig func(t *testing.T) Rig) {
	tests := []struct {
		name string
		test func(t *testing.T, rig Rig)
	}{
		{"EmptyStream", emptyStream},
		{"AppendAndRead", appendAndRead},
		{"BytesAreKept", bytesAreKept},
		{"StreamsAreApart", streamsAreApart},
		{"BadAppend", badAppend},
		{"Conflict", conflict},
		{"Fence", fence},
		{"Generation", generation},
		{"EmptyStreamNewGeneration", emptyStreamNewGeneration},
		{"StaleWriter", staleWriter},
		{"TooLarge", tooLarge},
		{"ReadRanges", readRanges},
		{"ReadStops", readStops},
		{"ReadManyPages", readManyPages},
		{"FollowWhileAppending", followWhileAppending},
		{"FollowFromTheMiddle", followFromTheMiddle},
		{"FollowAnUnknownPast", followAnUnknownPast},
		{"FollowStops", followStops},
		{"FollowNoticesGeneration", followNoticesGeneration},
		{"TwoWriters", twoWriters},
		{"Snapshots", snapshots},
		{"SnapshotNotCompleted", snapshotNotCompleted},
		{"SnapshotGeneration", snapshotGeneration},
		{"EndedContext", endedContext},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rig := newRig(t)
			if rig.Lone && test.name == "Fence" {
				t.Skip("a log with one writer has no fences")
			}
			test.test(t, rig)
		})
	}
}

const stream = "ipam"

// background ends soon enough that a hanging test names itself.
func background(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// records makes n records after a sequence number that no other call makes again.
func records(after uint64, n int) []eventlog.Record {
	made := make([]eventlog.Record, n)
	for i := range made {
		seq := after + uint64(i) + 1
		made[i] = eventlog.Record{Seq: seq, Bytes: fmt.Appendf(nil, `{"seq":%d,"data":%q}`, seq, rand.Text())}
	}
	return made
}

func head(t *testing.T, log eventlog.Log) eventlog.Head {
	t.Helper()
	h, err := log.Head(background(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// extend appends n records after a head, or fails the test.
func extend(t *testing.T, log eventlog.Log, after eventlog.Head, n int) (eventlog.Head, []eventlog.Record) {
	t.Helper()
	made := records(after.Seq, n)
	next, err := log.Append(background(t), stream, after, made, eventlog.Fence{})
	if err != nil {
		t.Fatal(err)
	}
	return next, made
}

// readAll reads a range, or fails the test.
func readAll(t *testing.T, log eventlog.Log, after, through uint64) []eventlog.Record {
	t.Helper()
	var all []eventlog.Record
	for batch, err := range log.Read(background(t), stream, after, through) {
		if err != nil {
			t.Fatal(err)
		}
		if len(batch) == 0 {
			t.Fatal("an empty batch")
		}
		all = append(all, batch...)
	}
	return all
}

// equal fails the test unless both are the same records.
func equal(t *testing.T, got, want []eventlog.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Seq != want[i].Seq || string(got[i].Bytes) != string(want[i].Bytes) {
			t.Fatalf("record %d is %d %q, want %d %q", i, got[i].Seq, got[i].Bytes, want[i].Seq, want[i].Bytes)
		}
	}
}
