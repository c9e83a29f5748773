package allocator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// MaxPoolSize bounds a pool, so that a slip of the finger does not reserve a whole network.
const MaxPoolSize = 1_000_000

func (c SizePool) decide(d *decision) error {
	if c.Pool == "" {
		return errors.New("pool: the name is empty")
	}
	if c.Size < 0 || c.Size > MaxPoolSize {
		return fmt.Errorf("pool %s: size %d is not within 0 and %d", c.Pool, c.Size, MaxPoolSize)
	}
	if old := d.view.Pool(c.Pool); old == nil || old.Size != c.Size || old.PreAllocate != c.PreAllocate {
		d.emit(&eventlog.PoolSized{Pool: c.Pool, Size: c.Size, PreAllocate: c.PreAllocate})
	}
	owner := ipam.Owner{Pool: c.Pool}
	share := d.view.Share(owner)
	d.result.Held = share.Held
	if surplus := min(share.Held-c.Size, share.Reserved); surplus > 0 {
		d.result.Held -= d.giveUp(owner, surplus, ReasonPoolFull)
	}
	if c.PreAllocate {
		d.result.Held += d.reserveFree(owner, c.Size-d.result.Held)
	}
	return nil
}

// giveUp releases the longest reserved addresses of a pool, and returns how many.
func (d *decision) giveUp(pool ipam.Owner, n int, reason string) int {
	var reserved []*projections.Address
	for a := range d.view.Reserved(pool) {
		if !a.Labelled {
			reserved = append(reserved, a)
		}
	}
	released := 0
	for _, a := range slices.Backward(reserved) {
		if released == n || d.full() {
			break
		}
		d.release(a, reason)
		released++
	}
	return released
}

// reserveFree reserves up to n free addresses of any subnet for a pool, and returns how many.
func (d *decision) reserveFree(pool ipam.Owner, n int) int {
	room := d.env.MaxEvents - len(d.events)
	if n <= 0 {
		return 0
	}
	if room <= 0 {
		d.result.More = true
		return 0
	}
	subnets := make([]int, len(d.view.Config().Subnets))
	for i := range subnets {
		subnets[i] = i
	}
	picks := choose(d.view, subnets, min(n, room), d.env)
	for _, p := range picks {
		d.reserve(p, pool, ReasonPreAllocated, false)
	}
	d.result.More = n > room && len(picks) == room
	return len(picks)
}

func (c DeletePool) decide(d *decision) error {
	owner := ipam.Owner{Pool: c.Pool}
	if d.view.Pool(c.Pool) == nil {
		return fmt.Errorf("pool %s: %w", c.Pool, ErrNoPool)
	}
	// The limit goes last, so that a repetition still finds the pool.
	d.giveUp(owner, d.view.Share(owner).Reserved, ReasonPoolDeleted)
	if !d.full() {
		d.emit(&eventlog.PoolDeleted{Pool: c.Pool})
	}
	return nil
}

func (c Reserve) decide(d *decision) error {
	subnet, ok := d.view.Config().SubnetOf(c.Address)
	if !ok {
		return &UnknownAddressError{Address: c.Address}
	}
	if c.Owner.IsZero() {
		return fmt.Errorf("%w: reserve %s: no owner; name a pool, an app or a pod", ErrUnsupported, c.Address)
	}
	if a := d.view.Address(c.Address); a != nil {
		switch {
		case a.Owner != c.Owner:
			return &HolderError{Address: c.Address, Holder: a.Owner}
		case c.Labelled && !a.Labelled && inUse(a):
			return &HolderError{Address: c.Address, Holder: a.Owner}
		case c.Labelled && !a.Labelled: // what the owner has already is made the label's, in two steps
			d.release(a, ReasonLabelled)
			d.result.More = true
			return nil
		}
		d.grant(c.Address)
		return nil
	}
	d.reserve(d.free(c.Address, subnet), c.Owner, c.Reason, c.Labelled)
	d.grant(c.Address)
	return nil
}

// free is a certain address that nobody holds, as a pick.
func (d *decision) free(addr netip.Addr, subnet int) pick {
	p := pick{addr: addr, subnet: subnet}
	if r := d.view.Released(addr); r != nil {
		p.after = r.Seq
	}
	return p
}

func (c Release) decide(d *decision) error {
	a := d.view.Address(c.Address)
	switch {
	case a == nil:
		return nil
	case a.Owner != c.Owner:
		return &HolderError{Address: c.Address, Holder: a.Owner}
	case c.Labelled && !a.Labelled:
		return nil // the label's reservation has ended already
	case a.Labelled && !c.Labelled:
		return &LabelledError{Address: c.Address}
	}
	d.release(a, c.Reason)
	return nil
}
