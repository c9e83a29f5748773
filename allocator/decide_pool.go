package allocator

import (
	"cmp"
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
	if err := ipam.CheckName(c.Pool); err != nil {
		return fmt.Errorf("%w: pool: %w", ErrUnsupported, err)
	}
	if c.Size < 0 || c.Size > MaxPoolSize {
		return fmt.Errorf("pool %s: size %d is not within 0 and %d", c.Pool, c.Size, MaxPoolSize)
	}
	if old := d.view.Pool(c.Pool); old == nil || old.Size != c.Size || old.PreAllocate != c.PreAllocate {
		d.emit(&eventlog.PoolSized{Pool: c.Pool, Size: c.Size, PreAllocate: c.PreAllocate})
	}
	if err := mayGive(d.view); err != nil {
		return err
	}
	owner := ipam.Owner{Pool: c.Pool}
	scope := d.view.Scope(owner)
	d.result.Held = scope.Held
	if surplus := min(scope.Held-c.Size, scope.Reserved); surplus > 0 {
		d.result.Held -= d.giveUp(owner, surplus, ReasonPoolFull)
	}
	if c.PreAllocate {
		d.result.Held += d.reserveFree(owner, c.Size-d.result.Held)
	}
	return nil
}

// giveUp releases the longest reserved addresses of a pool, and returns how many. Where all of them go, their order is
// of no matter, and no more of them are looked at than one batch takes: else a pool of N addresses would cost N².
func (d *decision) giveUp(pool ipam.Owner, n int, reason string) int {
	all, room := n >= d.view.Scope(pool).Reserved, d.env.MaxEvents-len(d.events)
	var reserved []*projections.Address
	for a := range d.view.Reserved(pool) {
		if a.Labelled {
			continue
		}
		reserved = append(reserved, a)
		if all && len(reserved) > room {
			break
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

// reserveFree reserves up to n free addresses of any subnet for a pool, and returns how many. Of each subnet the share
// is left that Rules.PoolShare does not give to pools.
func (d *decision) reserveFree(pool ipam.Owner, n int) int {
	room := d.env.MaxEvents - len(d.events)
	if n <= 0 {
		return 0
	}
	if room <= 0 {
		d.result.More = true
		return 0
	}
	want := min(n, room)
	var picks []pick
	for i := range d.view.Config().Subnets {
		if may := d.mayReserve(i); may > 0 {
			picks = append(picks, choose(d.view, []int{i}, min(want, may), d.env, "")...)
		}
	}
	slices.SortStableFunc(picks, inOrder)
	picks = picks[:min(want, len(picks))]
	for _, p := range picks {
		d.reserve(p, pool, ReasonPreAllocated, false)
	}
	d.result.More = n > room && len(picks) == room
	return len(picks)
}

// inOrder is the order of choose: those that nobody has held, lowest first, and then the longest unused.
func inOrder(a, b pick) int {
	if a.after == 0 && b.after == 0 {
		return a.addr.Compare(b.addr)
	}
	return cmp.Compare(a.after, b.after)
}

// mayReserve is how many addresses of a subnet pools may reserve now.
func (d *decision) mayReserve(subnet int) int {
	share := uint64(d.env.Rules.PoolShare)
	if share == 0 {
		share = 100
	}
	unheld := d.view.Unheld(subnet)
	total := d.view.Config().Subnets[subnet].Len()
	left := total - total/100*share - total%100*share/100
	if unheld <= left {
		return 0
	}
	return int(min(unheld-left, MaxPoolSize))
}

func (c DeletePool) decide(d *decision) error {
	owner := ipam.Owner{Pool: c.Pool}
	if d.view.Pool(c.Pool) == nil {
		return fmt.Errorf("pool %s: %w", c.Pool, ErrNoPool)
	}
	// The limit goes last, so that a repetition still finds the pool.
	d.giveUp(owner, d.view.Scope(owner).Reserved, ReasonPoolDeleted)
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
	if err := checkNames(c.Owner, "", ""); err != nil {
		return fmt.Errorf("reserve %s: %w", c.Address, err)
	}
	if err := mayGive(d.view); err != nil {
		return err
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
	if err := d.unseen(c.Address, "", false); err != nil {
		return err
	}
	if pool := d.view.Pool(c.Owner.Pool); pool != nil && !c.Labelled &&
		d.view.Scope(ipam.Owner{Pool: pool.Name}).Held >= pool.Size {
		return &PoolFullError{Pool: pool.Name, Size: pool.Size}
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
