package projections

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"time"

	"github.com/hashicorp/go-memdb"
)

// Released is a free address that somebody has held before: remembered so that the longest-unused goes first.
type Released struct {
	Addr   netip.Addr
	Subnet int
	Seq    uint64 // of the event that released it: orders the queue, and links its history
	At     int64  // when it was released, in Unix nanoseconds of a whole second
}

// Time is when the address was released, to the second.
func (r *Released) Time() time.Time { return time.Unix(0, r.At).UTC() }

// Cools reports whether the address is still within the reuse delay. Whole seconds count, so that choices and counts
// agree.
func (r *Released) Cools(now time.Time, delay time.Duration) bool {
	return r.At > coolSince(now, delay)
}

// coolSince is the last second whose releases are past the delay, in Unix nanoseconds.
func coolSince(now time.Time, delay time.Duration) int64 { return wholeSecond(now.Add(-delay)) }

// wholeSecond is the second of a time, in Unix nanoseconds as all times of rows. Snapshots have it in seconds.
func wholeSecond(t time.Time) int64 { return t.Unix() * int64(time.Second) }

// cooling counts the addresses of a subnet that were released in one second and are still free, so that those within
// the reuse delay can be counted without walking them.
type cooling struct {
	coolingID
	Count uint64
}

type coolingID struct {
	Subnet int
	At     int64 // as Released.At
}

func (id coolingID) key() []byte {
	return binary.BigEndian.AppendUint64(subnetKey(id.Subnet), uint64(id.At))
}

const (
	tableReleased = "released"
	tableCooling  = "cooling"
	indexQueue    = "queue" // of one subnet, longest unused first
)

// The memory of released addresses is bounded: an address counts as never used again once it has been free for
// forgetAfter and its subnet remembers more than rememberReleased younger ones.
const (
	rememberReleased = 1 << 16
	forgetAfter      = int64(MaxReuseDelay)
)

// MaxReuseDelay is the longest reuse delay that the memory of released addresses can serve.
const MaxReuseDelay = time.Hour

func releasedTable() *memdb.TableSchema {
	return tableOf(tableReleased,
		unique("id", func(r *Released) []byte { return addrKey(r.Addr) }),
		unique(indexQueue, func(r *Released) []byte {
			return binary.BigEndian.AppendUint64(subnetKey(r.Subnet), r.Seq)
		}),
	)
}

func coolingTable() *memdb.TableSchema {
	return tableOf(tableCooling, unique("id", func(c *cooling) []byte { return c.key() }))
}

// Released is the row of a free address that was held before, or nil.
func (v *View) Released(addr netip.Addr) *Released {
	return first[Released](v.txn, tableReleased, "id", addrKey(addr))
}

// ReleasedIn yields the free addresses of a subnet that were held before, the longest unused first.
func (v *View) ReleasedIn(subnet int) iter.Seq[*Released] {
	return under[Released](v.txn, tableReleased, indexQueue, subnetKey(subnet))
}

// Cooling counts the free addresses of a subnet that are within the reuse delay.
func (v *View) Cooling(subnet int, now time.Time, delay time.Duration) uint64 {
	var count uint64
	since := coolSince(now, delay) + int64(time.Second)
	for row := range from[cooling](v.base, tableCooling, "id", coolingID{subnet, since}.key()) {
		if row.Subnet != subnet {
			break
		}
		if v.pending == nil || v.pending.cooling[row.coolingID] == nil {
			count += row.Count
		}
	}
	if v.pending != nil {
		for id, row := range v.pending.cooling {
			if id.Subnet == subnet && id.At >= since {
				count += row.Count
			}
		}
	}
	return count
}

// remember puts a released address at the end of its subnet's queue.
func (t *Txn) remember(r *Released) {
	t.insert(tableReleased, r)
	t.ownCooling(coolingID{r.Subnet, r.At}).Count++
	t.setReleased(r.Subnet, r.Addr, true)
	state := t.ownSubnet(r.Subnet)
	state.Released++
	for state.Released > rememberReleased {
		oldest := firstUnder[Released](t.txn, tableReleased, indexQueue, subnetKey(r.Subnet))
		if oldest.At > r.At-forgetAfter {
			return
		}
		t.takeBack(oldest)
		t.forgot(oldest.Seq)
		delete(t.pending.lowest, r.Subnet) // it is fresh again, and may be the lowest
	}
}

// takeBack removes an address from the queue of its subnet.
func (t *Txn) takeBack(r *Released) {
	t.delete(tableReleased, r)
	t.ownCooling(coolingID{r.Subnet, r.At}).Count--
	t.setReleased(r.Subnet, r.Addr, false)
	t.ownSubnet(r.Subnet).Released--
}

func (t *Txn) ownCooling(id coolingID) *cooling {
	return ownRow(t.pending.cooling, id, func() *cooling {
		return first[cooling](t.base, tableCooling, "id", id.key())
	}, func(c *cooling) { c.coolingID = id })
}
