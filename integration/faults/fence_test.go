package faults

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/lease"
)

// The fence of an append is the key of a real election.
func TestFenceIsAnElection(t *testing.T) {
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	log := open(t, client)
	candidate := lease.Candidate{Key: lease.LeaderKey("/galaxy"), ID: "a", TTL: 2 * time.Second}
	first, err := lease.Elect(ctx, client, candidate)
	if err != nil {
		t.Fatal(err)
	}
	head, err := log.Head(ctx, eventlog.StreamIPAM)
	if err != nil {
		t.Fatal(err)
	}
	old := eventlog.Fence{Key: first.Key, Revision: first.Revision}
	if head, err = log.Append(ctx, eventlog.StreamIPAM, head, event(1), old); err != nil {
		t.Fatal(err)
	}
	if err := first.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	for _, successor := range []string{"", "b"} {
		if successor != "" {
			second, err := lease.Elect(ctx, client, candidate)
			if err != nil {
				t.Fatal(err)
			}
			defer second.Resign(ctx) //nolint:errcheck // etcd ends with the test
		}
		if _, err := log.Append(ctx, eventlog.StreamIPAM, head, event(2), old); !errors.Is(err, eventlog.ErrFenced) {
			t.Errorf("append by a deposed leader, successor %q: %v", successor, err)
		}
	}
}

func event(seq uint64) []eventlog.Record {
	return []eventlog.Record{{Seq: seq, Bytes: fmt.Appendf(nil, `{"seq":%d}`, seq)}}
}
