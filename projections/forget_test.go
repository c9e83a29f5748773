package projections

import (
	"net/netip"
	"testing"
	"time"

	"galaxy/eventlog"
	"galaxy/ipam"
)

// player appends events to a log in memory and folds them.
type player struct {
	t      *testing.T
	db     *DB
	txn    *Txn
	cursor eventlog.Cursor
	now    time.Time
}

func play(t *testing.T) *player {
	db := New("g")
	return &player{t: t, db: db, txn: db.Write(), cursor: db.View().Cursor(),
		now: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
}

func (p *player) fold(data eventlog.Data) error {
	e, _, err := p.cursor.Write(p.now, "test", "", data)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.txn.Fold(e, p.cursor.Head.Hash)
}

func (p *player) must(data eventlog.Data) uint64 {
	p.t.Helper()
	if err := p.fold(data); err != nil {
		p.t.Fatal(err)
	}
	return p.cursor.Head.Seq
}

var wide = ipam.Subnet{
	NodeNetworks: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")},
	Prefix:       netip.MustParsePrefix("10.0.0.0/8"),
	Gateway:      netip.MustParseAddr("10.0.0.1"),
	Ranges:       []ipam.Range{{First: netip.MustParseAddr("10.0.0.2"), Last: netip.MustParseAddr("10.255.255.254")}},
}

func pod(name string) ipam.Owner { return ipam.Owner{Namespace: "ns", Pod: name} }

// TestForget: the memory of released addresses is bounded, and what was forgotten is as good as never held.
func TestForget(t *testing.T) {
	p := play(t)
	p.must(&eventlog.SubnetsConfigured{Subnets: []ipam.Subnet{wide}})
	const extra = 10
	var firstRelease uint64
	for i := range rememberReleased + extra {
		addr := ipam.Plus(wide.Ranges[0].First, uint64(i))
		seq := p.must(&eventlog.AddressAllocated{Address: addr, Subnet: wide.Prefix, Owner: pod("a")})
		if seq = p.must(&eventlog.AddressReleased{Address: addr, Owner: pod("a"), After: seq}); i == 0 {
			firstRelease = seq
		}
	}
	if got := p.txn.subnetState(0).Released; got != rememberReleased+extra {
		t.Fatalf("remembers %d, although none is old enough to be forgotten", got)
	}
	next, _ := p.txn.FirstFresh(0)
	if want := ipam.Plus(wide.Ranges[0].First, rememberReleased+extra); next != want {
		t.Fatalf("lowest fresh is %s, want %s", next, want)
	}

	p.now = p.now.Add(MaxReuseDelay + time.Second)
	seq := p.must(&eventlog.AddressAllocated{Address: next, Subnet: wide.Prefix, Owner: pod("a")})
	p.must(&eventlog.AddressReleased{Address: next, Owner: pod("a"), After: seq})
	if got := p.txn.subnetState(0).Released; got != rememberReleased {
		t.Fatalf("remembers %d, want %d", got, rememberReleased)
	}
	if got, _ := p.txn.FirstFresh(0); got != wide.Ranges[0].First {
		t.Fatalf("lowest fresh is %s, want %s, which was forgotten", got, wide.Ranges[0].First)
	}
	if got := p.txn.Position().FirstForget; got != firstRelease {
		t.Fatalf("first forgotten release is %d, want %d", got, firstRelease)
	}
	if u := p.txn.Usage(0, p.now, time.Minute); u.Cooling != 1 || u.Held != 0 {
		t.Fatalf("usage is %+v", u)
	}
}
