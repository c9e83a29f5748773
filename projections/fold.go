package projections

import (
	"errors"
	"fmt"
	"net/netip"

	"galaxy/eventlog"
	"galaxy/ipam"
)

// ErrImpossible is an event that contradicts what the log said before it: an address allocated twice, one outside its
// subnet, a release of what another holds. Whoever reads such a log must stop.
var ErrImpossible = errors.New("the event contradicts the log before it")

// Fold applies the next event. It decides nothing: it remembers what happened, and refuses what cannot have happened.
func (t *Txn) Fold(e eventlog.Event, hash eventlog.Hash) error {
	if err := t.fold(e); err != nil {
		return fmt.Errorf("fold event %d, %s: %w", e.Seq, e.Data.Type(), err)
	}
	t.position.Head.Seq, t.position.Head.Hash, t.position.Time = e.Seq, hash, e.Time
	return nil
}

// FoldRecord reads the record that comes next, checks it against the log before it, and folds it.
func (t *Txn) FoldRecord(r eventlog.Record) (eventlog.Event, error) {
	cursor := t.Cursor()
	e, err := cursor.Read(r)
	if err != nil {
		return eventlog.Event{}, err
	}
	return e, t.Fold(e, cursor.Head.Hash)
}

func (t *Txn) fold(e eventlog.Event) error {
	switch d := e.Data.(type) {
	case *eventlog.SubnetsConfigured:
		t.configure(newConfig(d.Source, e.Seq, e.Time, d.Subnets))
		return nil
	case *eventlog.AddressAllocated:
		return t.allocate(e, d)
	case *eventlog.AddressBound:
		return t.hold(e, d.Address, d.After, func(a *Address) error {
			if !mayUse(d.Owner, a.Owner) {
				return fmt.Errorf("%w: %s is held for %q, and bound by %q", ErrImpossible, d.Address, a.Owner, d.Owner)
			}
			a.Owner, a.PodUID, a.Node, a.Policy, a.Fresh, a.Labelled = d.Owner, d.PodUID, d.Node, d.Policy, false, false
			return nil
		})
	case *eventlog.AddressReserved:
		return t.hold(e, d.Address, d.After, func(a *Address) error {
			if a.Owner.Scope() != d.Owner.Scope() {
				return fmt.Errorf("%w: %s is held for %q, and reserved for %q", ErrImpossible, d.Address, a.Owner,
					d.Owner)
			}
			a.Owner, a.PodUID, a.Node, a.Policy, a.Fresh = d.Owner, d.PodUID, "", d.Policy, false
			return nil
		})
	case *eventlog.AddressReleased:
		return t.release(e, d)
	case *eventlog.AddressAssigned:
		return t.hold(e, d.Address, d.After, func(a *Address) error {
			a.Assigned = d.Node
			return nil
		})
	case *eventlog.AddressUnassigned:
		return t.hold(e, d.Address, d.After, func(a *Address) error {
			if a.Assigned != "" && a.Assigned != d.Node {
				return fmt.Errorf("%w: %s is assigned to node %q, and unassigned from %q", ErrImpossible, d.Address,
					a.Assigned, d.Node)
			}
			a.Assigned = ""
			return nil
		})
	case *eventlog.PoolSized:
		t.insert(tablePools, &Pool{Name: d.Pool, Size: d.Size, PreAllocate: d.PreAllocate, Seq: e.Seq})
		return nil
	case *eventlog.PoolDeleted:
		t.delete(tablePools, &Pool{Name: d.Pool})
		return nil
	default:
		if known, err := t.foldOrigin(e); known {
			return err
		}
		if known, err := t.foldNode(e); known {
			return err
		}
		return &eventlog.UnknownTypeError{Seq: e.Seq, Type: e.Data.Type(), Version: eventlog.Version}
	}
}

// mayUse reports whether a pod may use an address that is held for holder: its own, or one reserved for its app or
// pool.
func mayUse(pod, holder ipam.Owner) bool {
	return pod == holder || holder == pod.Scope()
}

func (t *Txn) allocate(e eventlog.Event, d *eventlog.AddressAllocated) error {
	subnet, ok := t.config.SubnetOf(d.Address)
	if !ok {
		return fmt.Errorf("%w: %s is in no subnet", ErrImpossible, d.Address)
	}
	if prefix := t.config.Subnets[subnet].Prefix; prefix != d.Subnet {
		return fmt.Errorf("%w: %s is of subnet %s, not %s", ErrImpossible, d.Address, prefix, d.Subnet)
	}
	_, bit := blockOf(d.Address)
	s := t.segment(subnet, d.Address)
	if s.held.has(bit) {
		return fmt.Errorf("%w: %s is held by %q already, and allocated to %q", ErrImpossible, d.Address,
			t.Address(d.Address).Owner, d.Owner)
	}
	var last uint64
	if s.released.has(bit) {
		r := t.Released(d.Address)
		last = r.Seq
		t.takeBack(r)
	}
	if last != d.After {
		return fmt.Errorf("%w: %s was last changed by event %d, not %d", ErrImpossible, d.Address, last, d.After)
	}
	t.setHeld(subnet, d.Address, true)
	t.ownSubnet(subnet).Held++
	t.putAddress(&Address{
		Addr: d.Address, Owner: canonical(d.Owner), PodUID: d.PodUID, Node: shared(d.Node), Policy: d.Policy,
		Fresh: d.PodUID != "" && d.Node == "", Labelled: d.Labelled, Seq: e.Seq, Changed: e.Time.UnixNano(),
		Attachment: attachment(d.ContainerID, d.IfName),
	})
	t.count(d.Owner, 1)
	return nil
}

// hold changes a held address.
func (t *Txn) hold(e eventlog.Event, addr netip.Addr, after uint64, edit func(*Address) error) error {
	old, err := t.heldAt(addr, after)
	if err != nil {
		return err
	}
	row := *old
	if err := edit(&row); err != nil {
		return err
	}
	row.Owner, row.Node, row.Assigned = canonical(row.Owner), shared(row.Node), shared(row.Assigned)
	row.Seq, row.Changed = e.Seq, e.Time.UnixNano()
	t.putAddress(&row)
	if row.Owner != old.Owner {
		t.count(old.Owner, -1)
		t.count(row.Owner, 1)
	}
	return nil
}

func (t *Txn) heldAt(addr netip.Addr, after uint64) (*Address, error) {
	a := t.Address(addr)
	if a == nil {
		return nil, fmt.Errorf("%w: nobody holds %s", ErrImpossible, addr)
	}
	if a.Seq != after {
		return nil, fmt.Errorf("%w: %s was last changed by event %d, not %d", ErrImpossible, addr, a.Seq, after)
	}
	return a, nil
}

func (t *Txn) release(e eventlog.Event, d *eventlog.AddressReleased) error {
	a, err := t.heldAt(d.Address, d.After)
	if err != nil {
		return err
	}
	if a.Owner != d.Owner {
		return fmt.Errorf("%w: %s is held for %q, and released by %q", ErrImpossible, d.Address, a.Owner, d.Owner)
	}
	t.dropAddress(a)
	t.count(a.Owner, -1)
	subnet, configured := t.config.SubnetOf(d.Address)
	if !configured {
		t.forgot(e.Seq)
		return nil
	}
	t.setHeld(subnet, d.Address, false)
	t.ownSubnet(subnet).Held--
	t.remember(&Released{Addr: d.Address, Subnet: subnet, Seq: e.Seq, At: wholeSecond(e.Time)})
	return nil
}

// forgot notes that the release at seq is remembered no more. From there on, an address that says it has no past may
// have had one: its history must be read from the log.
func (t *Txn) forgot(seq uint64) {
	if t.position.FirstForget == 0 || seq < t.position.FirstForget {
		t.position.FirstForget = seq
	}
}

// canonical shares the memory of names that stand in many rows.
func canonical(o ipam.Owner) ipam.Owner {
	o.Kind, o.Namespace, o.App, o.Pool = shared(o.Kind), shared(o.Namespace), shared(o.App), shared(o.Pool)
	return o
}
