package allocator

import (
	"fmt"
	"net/netip"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// The commands about what was there before the log.

// MarkAdopted records that all running pods have been compared with the log in its present generation.
type MarkAdopted struct{ Pods int }

// FindFormer records that a former system has left objects, so that nothing is given out until ResolveFormer.
type FindFormer struct {
	Source  string // the former system, as "galaxy"
	Objects int
}

// ResolveFormer records what has become of a former system's objects. It may be repeated: a later import may take what
// an earlier one could not.
type ResolveFormer struct {
	Source  string
	Outcome eventlog.FormerOutcome
	Objects int
	Left    int // of them, how many the log did not take over
}

// Import takes over an address as a former system has kept it. Asking again changes nothing. It fails with a
// *HolderError if another holds the address by now, and with a *OccupiedError if another pod runs with it.
type Import struct {
	Address  netip.Addr
	Owner    ipam.Owner
	PodUID   string // of the pod that used it, if it is still in use
	Node     string
	Policy   ipam.Policy
	Labelled bool
}

// ReasonImported stands in the log where an address was taken over from a former system.
const ReasonImported = "imported"

// FormerError says that nothing is given out yet, as somebody has to say what becomes of a former system's objects.
type FormerError struct {
	Source  string
	Objects int
}

func (e *FormerError) Error() string {
	return fmt.Sprintf("no address is given out yet: %d objects of a former system are there, and the log knows "+
		"nothing of what they hold; "+
		"run 'galaxyctl migrate %s --dry-run' and then --apply, or --discard", e.Objects, e.Source)
}

// mayGive fails while a former system's objects wait for somebody to say what becomes of them: what they hold looks
// free.
func mayGive(view *projections.View) error {
	if o := view.Origin(); o.Awaits() {
		return &FormerError{Source: o.Source, Objects: o.Objects}
	}
	return nil
}

func (c MarkAdopted) decide(d *decision) error {
	if generation := d.view.Position().Head.Generation; d.view.Origin().Adopted != generation {
		d.emit(&eventlog.RunningPodsAdopted{Generation: generation, Pods: c.Pods})
	}
	return nil
}

func (c FindFormer) decide(d *decision) error {
	switch o := d.view.Origin(); {
	case o.Outcome != "":
		return fmt.Errorf("%w: the objects of %s are resolved already: %s", ErrUnsupported, o.Source, o.Outcome)
	case o.Source == c.Source && o.Objects == c.Objects:
		return nil
	}
	d.emit(&eventlog.FormerObjectsFound{Source: c.Source, Objects: c.Objects})
	return nil
}

func (c ResolveFormer) decide(d *decision) error {
	o := d.view.Origin()
	if o.Source == c.Source && o.Outcome == c.Outcome && o.Objects == c.Objects && o.Left == c.Left {
		return nil
	}
	d.emit(&eventlog.FormerObjectsResolved{Source: c.Source, Outcome: c.Outcome, Objects: c.Objects, Left: c.Left})
	return nil
}

func (c Import) decide(d *decision) error {
	if err := checkNames(c.Owner, c.PodUID, c.Node); err != nil {
		return fmt.Errorf("import %s: %w", c.Address, err)
	}
	if a := d.view.Address(c.Address); a != nil {
		if a.Owner != c.Owner || a.Labelled != c.Labelled {
			return &HolderError{Address: c.Address, Holder: a.Owner}
		}
		d.grant(c.Address)
		return nil
	}
	subnet, ok := d.view.Config().SubnetOf(c.Address)
	if !ok {
		return &UnknownAddressError{Address: c.Address}
	}
	if err := d.unseen(c.Address, c.PodUID, false); err != nil {
		return err
	}
	p := d.free(c.Address, subnet)
	d.emit(&eventlog.AddressAllocated{
		Address: p.addr, Subnet: d.prefix(p), Owner: c.Owner, PodUID: c.PodUID, Node: c.Node, Policy: c.Policy,
		Reason: ReasonImported, Labelled: c.Labelled, After: p.after,
	})
	d.grant(c.Address)
	return nil
}
