package projections

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/ipam"
)

// story appends n allocations and releases to a log, one event a second, and returns the digest after each event.
func story(t *testing.T, log eventlog.Log, n int) (digests []string, start time.Time) {
	t.Helper()
	ctx := context.Background()
	head, err := log.Head(ctx, eventlog.StreamIPAM)
	if err != nil {
		t.Fatal(err)
	}
	db := New(head.Generation)
	start = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	cursor := eventlog.Cursor{Head: head}
	digests = append(digests, db.View().Digest())
	add := func(data eventlog.Data) uint64 {
		after := cursor.Head
		e, r, err := cursor.Write(start.Add(time.Duration(after.Seq)*time.Second), "test", "", data)
		if err == nil {
			_, err = log.Append(ctx, eventlog.StreamIPAM, after, []eventlog.Record{r}, eventlog.Fence{})
		}
		txn := db.Write()
		if err == nil {
			err = txn.Fold(e, cursor.Head.Hash)
		}
		if err != nil {
			t.Fatal(err)
		}
		txn.Commit()
		digests = append(digests, db.View().Digest())
		return e.Seq
	}
	add(&eventlog.SubnetsConfigured{Source: "test", Subnets: []ipam.Subnet{wide}})
	add(&eventlog.PoolSized{Pool: "p", Size: 3})
	for i := range n {
		addr := ipam.Plus(wide.Ranges[0].First, uint64(i))
		seq := add(&eventlog.AddressAllocated{Address: addr, Subnet: wide.Prefix, Owner: pod("a"), Node: "n",
			PodUID: "u"})
		if i%2 == 0 {
			add(&eventlog.AddressReleased{Address: addr, Owner: pod("a"), After: seq})
		}
	}
	return digests, start
}

// TestAsOf: the state at any event and at any second is the one that was there then, from snapshots or without.
func TestAsOf(t *testing.T) {
	ctx := context.Background()
	for _, snapshots := range []bool{false, true} {
		log := memlog.New()
		digests, start := story(t, log, 20)
		if snapshots {
			saveAt(t, log, 7)
			saveAt(t, log, 15)
		}
		for seq := 1; seq < len(digests); seq++ {
			at := start.Add(time.Duration(seq-1) * time.Second)
			for name, until := range map[string]Until{"seq": {Seq: uint64(seq)}, "time": {Time: at},
				"half a second later": {Time: at.Add(time.Second / 2)}} {
				db, err := Load(ctx, log, eventlog.StreamIPAM, until, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := db.View(); got.Position().Head.Seq != uint64(seq) || got.Digest() != digests[seq] {
					t.Fatalf("snapshots %t, as of %s %d: event %d, digest %.8s, want %.8s", snapshots, name, seq,
						got.Position().Head.Seq, got.Digest(), digests[seq])
				}
			}
		}
		db, err := Load(ctx, log, eventlog.StreamIPAM, Until{Time: start.Add(-time.Second)}, nil)
		if err != nil || db.View().Position().Head.Seq != 0 {
			t.Fatalf("before the first event: %v, %v", db.View().Position(), err)
		}
		if db, err = Load(ctx, log, eventlog.StreamIPAM, Until{}, nil); err != nil ||
			db.View().Digest() != digests[len(digests)-1] {
			t.Fatalf("newest: %v", err)
		}
	}
}

func saveAt(t *testing.T, log eventlog.Log, seq uint64) {
	t.Helper()
	db, err := Load(context.Background(), log, eventlog.StreamIPAM, Until{Seq: seq}, nil)
	if err == nil {
		err = log.SaveSnapshot(context.Background(), eventlog.StreamIPAM, db.View().Position().Head, db.View().Save)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestBadSnapshot: one that cannot be read, or is not of this log, is passed over: the log has it all.
func TestBadSnapshot(t *testing.T) {
	ctx := context.Background()
	for name, write := range map[string]func(io.Writer) error{
		"garbage":     func(w io.Writer) error { _, err := w.Write([]byte("garbage")); return err },
		"empty":       func(io.Writer) error { return nil },
		"cut short":   func(w io.Writer) error { _, err := w.Write([]byte(`{"v":4,"posi`)); return err },
		"another log": New("another").View().Save,
	} {
		log := memlog.New()
		digests, _ := story(t, log, 5)
		db, err := Load(ctx, log, eventlog.StreamIPAM, Until{Seq: 6}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := log.SaveSnapshot(ctx, eventlog.StreamIPAM, db.View().Position().Head, write); err != nil {
			t.Fatal(err)
		}
		if db, err = Load(ctx, log, eventlog.StreamIPAM, Until{}, nil); err != nil ||
			db.View().Digest() != digests[len(digests)-1] {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSnapshotVersion: a snapshot of another form is not read, though every line of it could be.
func TestSnapshotVersion(t *testing.T) {
	log := memlog.New()
	digests, _ := story(t, log, 5)
	db, err := Load(t.Context(), log, eventlog.StreamIPAM, Until{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var saved bytes.Buffer
	if err := db.View().Save(&saved); err != nil {
		t.Fatal(err)
	}
	ours := fmt.Appendf(nil, `{"v":%d,`, snapshotVersion)
	if _, err := Restore(bytes.NewReader(saved.Bytes())); err != nil || !bytes.HasPrefix(saved.Bytes(), ours) {
		t.Fatalf("%v; it begins with %.20q", err, saved.Bytes())
	}
	for _, version := range []string{fmt.Sprintf(`{"v":%d,`, snapshotVersion+1),
		fmt.Sprintf(`{"v":%d,`, snapshotVersion-1), `{`} {
		other := bytes.Replace(saved.Bytes(), ours, []byte(version), 1)
		// what its fields mean now, nobody knows
		other = bytes.ReplaceAll(other, []byte(`"node":"n"`), []byte(`"node":"another"`))
		if _, err := Restore(bytes.NewReader(other)); err == nil {
			t.Errorf("a snapshot that begins with %s is read", version)
		}
		err := log.SaveSnapshot(t.Context(), eventlog.StreamIPAM, db.View().Position().Head, func(w io.Writer) error {
			_, err := w.Write(other)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if read, err := Load(t.Context(), log, eventlog.StreamIPAM, Until{}, nil); err != nil ||
			read.View().Digest() != digests[len(digests)-1] {
			t.Errorf("the log is read with a snapshot that begins with %s: %v", version, err)
		}
	}
}

// TestLoadCancelled: a load that is given up says so.
func TestLoadCancelled(t *testing.T) {
	log := memlog.New()
	story(t, log, 5)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Load(ctx, log, eventlog.StreamIPAM, Until{}, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled load ends with %v", err)
	}
}

// TestImpossible: events that contradict the log before them are refused, each with its number.
func TestImpossible(t *testing.T) {
	first := wide.Ranges[0].First
	second := first.Next()
	outside := netip.MustParseAddr("192.0.2.1")
	for name, data := range map[string]eventlog.Data{
		"allocated twice":   &eventlog.AddressAllocated{Address: first, Subnet: wide.Prefix, Owner: pod("b")},
		"allocated outside": &eventlog.AddressAllocated{Address: outside, Subnet: wide.Prefix, Owner: pod("b")},
		"allocated in another net": &eventlog.AddressAllocated{Address: second,
			Subnet: netip.MustParsePrefix("10.0.0.0/9"), Owner: pod("b")},
		"allocated after nothing": &eventlog.AddressAllocated{Address: second, Subnet: wide.Prefix, Owner: pod("b"),
			After: 1},
		"bound by another":         &eventlog.AddressBound{Address: first, Owner: pod("b"), Node: "n", After: 2},
		"bound while free":         &eventlog.AddressBound{Address: second, Owner: pod("b"), Node: "n"},
		"bound on old news":        &eventlog.AddressBound{Address: first, Owner: pod("a"), Node: "n", After: 1},
		"reserved for another app": &eventlog.AddressReserved{Address: first, Owner: ipam.Owner{Pool: "p"}, After: 2},
		"released by another":      &eventlog.AddressReleased{Address: first, Owner: pod("b"), After: 2},
		"released while free":      &eventlog.AddressReleased{Address: second, Owner: pod("a")},
		"released on old news":     &eventlog.AddressReleased{Address: first, Owner: pod("a"), After: 1},
	} {
		p := play(t)
		p.must(&eventlog.SubnetsConfigured{Subnets: []ipam.Subnet{wide}})
		p.must(&eventlog.AddressAllocated{Address: first, Subnet: wide.Prefix, Owner: pod("a")})
		if err := p.fold(data); !errors.Is(err, ErrImpossible) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRestore: bytes that are no snapshot give an error, never a panic.
func FuzzRestore(f *testing.F) {
	var saved bytes.Buffer
	p := &player{db: New("g"), now: time.Unix(0, 0)}
	p.txn, p.cursor = p.db.Write(), p.db.View().Cursor()
	_ = p.fold(&eventlog.SubnetsConfigured{Subnets: []ipam.Subnet{wide}})
	_ = p.fold(&eventlog.AddressAllocated{Address: wide.Ranges[0].First, Subnet: wide.Prefix, Owner: pod("a")})
	p.txn.Commit()
	if err := p.db.View().Save(&saved); err != nil {
		f.Fatal(err)
	}
	f.Add(saved.Bytes())
	f.Add([]byte(`{"version":1,"position":{"head":{"seq":1,"hash":"","generation":"g"},"time":"2026-11-23T00:00:00Z"}}{"released":{"address":"10.0.0.1","seq":1,"at":1}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		db, err := Restore(bytes.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := db.View().Save(&again); err != nil {
			t.Fatal(err)
		}
	})
}
