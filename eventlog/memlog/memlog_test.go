package memlog_test

import (
	"context"
	"errors"
	"testing"

	"galaxy/eventlog"
	"galaxy/eventlog/logtest"
	"galaxy/eventlog/memlog"
)

func TestLog(t *testing.T) {
	logtest.Run(t, func(*testing.T) logtest.Rig {
		log, elections := memlog.New(), int64(0)
		return logtest.Rig{
			Log: log, Second: log,
			Elect: func(*testing.T) eventlog.Fence {
				elections++
				log.SetFence("leader", elections)
				return eventlog.Fence{Key: "leader", Revision: elections}
			},
			Depose:     func(_ *testing.T, f eventlog.Fence) { log.DropFence(f.Key) },
			Regenerate: func(*testing.T) { log.Regenerate() },
		}
	})
}

func TestFaults(t *testing.T) {
	ctx, log, broken := context.Background(), memlog.New(), errors.New("broken")
	at, err := log.Head(ctx, "ipam")
	if err != nil {
		t.Fatal(err)
	}
	record := []eventlog.Record{{Seq: 1, Bytes: []byte("{}")}}
	log.SetFault(func(string, eventlog.Head) memlog.Fault { return memlog.Fault{Err: broken} })
	if _, err := log.Append(ctx, "ipam", at, record, eventlog.Fence{}); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if now, err := log.Head(ctx, "ipam"); err != nil || now != at {
		t.Fatalf("an append that was to fail was written: %+v, %v", now, err)
	}
	log.SetFault(func(string, eventlog.Head) memlog.Fault {
		return memlog.Fault{Err: eventlog.ErrOutcomeUnknown, Landed: true}
	})
	if _, err := log.Append(ctx, "ipam", at, record, eventlog.Fence{}); !errors.Is(err, eventlog.ErrOutcomeUnknown) {
		t.Fatalf("got %v", err)
	}
	if now, err := log.Head(ctx, "ipam"); err != nil || now.Seq != 1 {
		t.Fatalf("an append that was to land was not written: %+v, %v", now, err)
	}
}
