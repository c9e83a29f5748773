package projections

import (
	"iter"
	"net/netip"
	"slices"

	"galaxy/ipam"
)

// pending is what a Txn has changed and not yet written to memdb. Rows that are counted up and down many times in a
// batch are written once; and as memdb copies a table anew for writing after each read of it, addresses, which are read
// and written in turn, wait here too.
type pending struct {
	addresses map[netip.Addr]*Address // nil: no longer held
	// their keys, in the order of change: neighbours are written one after the other
	changed []netip.Addr
	byOwner map[ipam.Owner][]*Address // as they changed, by their owner
	byScope map[ipam.Owner][]*Address // as they changed, by the scope of their owner
	// of a subnet: the block below which it has no fresh address; mostly the next is in it too
	lowest   map[int]segmentID
	segments map[segmentID]*segment // our own copies; already in the table
	subnets  map[int]*subnetState
	scopes   map[ipam.Owner]*Scope
	cooling  map[coolingID]*cooling
	flush    func()
}

func newPending() *pending {
	return &pending{
		addresses: map[netip.Addr]*Address{},
		byOwner:   map[ipam.Owner][]*Address{},
		byScope:   map[ipam.Owner][]*Address{},
		lowest:    map[int]segmentID{},
		segments:  map[segmentID]*segment{},
		subnets:   map[int]*subnetState{},
		scopes:    map[ipam.Owner]*Scope{},
		cooling:   map[coolingID]*cooling{},
	}
}

// write puts what is pending into the tables.
func (t *Txn) write() {
	for _, addr := range t.pending.changed {
		if a := t.pending.addresses[addr]; a == nil {
			t.delete(tableAddresses, &Address{Addr: addr})
		} else {
			t.insert(tableAddresses, a)
		}
	}
	for _, s := range t.pending.segments {
		t.insert(tableSegments, s)
	}
	for _, s := range t.pending.subnets {
		t.insert(tableSubnets, s)
	}
	for _, s := range t.pending.scopes {
		putOrDelete(t, tableScopes, s, s.Held != 0)
	}
	for _, c := range t.pending.cooling {
		putOrDelete(t, tableCooling, c, c.Count != 0)
	}
}

// flush makes what is pending visible to reads by order, for the rare decisions that walk a whole table.
func (t *Txn) flush() {
	t.write()
	lowest := t.pending.lowest
	t.rebase()
	t.pending.lowest = lowest
}

// rebase makes the tables as they are now the state that reads by exact key see.
func (t *Txn) rebase() {
	t.base = t.txn.Snapshot()
	t.pending = newPending()
	t.pending.flush = t.flush
}

func (t *Txn) putAddress(a *Address) {
	t.setAddress(a.Addr, a)
	t.pending.byOwner[a.Owner] = append(t.pending.byOwner[a.Owner], a)
	if scope := a.Owner.Scope(); scope != a.Owner {
		t.pending.byScope[scope] = append(t.pending.byScope[scope], a)
	}
}

func (t *Txn) dropAddress(a *Address) { t.setAddress(a.Addr, nil) }

func (t *Txn) setAddress(addr netip.Addr, a *Address) {
	if _, known := t.pending.addresses[addr]; !known {
		t.pending.changed = append(t.pending.changed, addr)
	}
	t.pending.addresses[addr] = a
}

// address is the pending state of an address; known is false when this transaction has not changed it.
func (p *pending) address(addr netip.Addr) (a *Address, known bool) {
	if p == nil {
		return nil, false
	}
	a, known = p.addresses[addr]
	return a, known
}

// over yields the changed addresses that are still as they were changed and wanted, newest first, and then those of the
// table that are not superseded.
func (p *pending) over(changed []*Address, wanted func(ipam.Owner) bool, stored iter.Seq[*Address]) iter.Seq[*Address] {
	return func(yield func(*Address) bool) {
		for _, a := range slices.Backward(changed) {
			if p.addresses[a.Addr] == a && wanted(a.Owner) && !yield(a) {
				return
			}
		}
		for a := range stored {
			if _, superseded := p.addresses[a.Addr]; !superseded && !yield(a) {
				return
			}
		}
	}
}

// ownRow is the transaction's own, changeable copy of a row that is written at Commit.
func ownRow[K comparable, T any](mine map[K]*T, key K, stored func() *T, fresh func(*T)) *T {
	if row, ok := mine[key]; ok {
		return row
	}
	row := new(T)
	if old := stored(); old != nil {
		*row = *old
	} else {
		fresh(row)
	}
	mine[key] = row
	return row
}

func putOrDelete[T any](t *Txn, table string, row *T, keep bool) {
	if keep {
		t.insert(table, row)
	} else {
		t.delete(table, row)
	}
}
