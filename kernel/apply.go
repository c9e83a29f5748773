//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Report is what became of Changes.
type Report struct {
	Applied  int // changes that are in the kernel now
	Writes   int // netlink messages that asked the kernel to change something: 0 on a node that has what it wants
	Sends    int // system calls that carried them
	Failures []Failure
}

// Failure is a change that the kernel refused. The others are applied nevertheless.
type Failure struct {
	Change Change
	// Conflict is true when somebody else has a route for the same destination. It is left alone.
	Conflict bool
	Err      error
}

func (f Failure) Error() string { return fmt.Sprintf("%s: %v", f.Change, f.Err) }

func (f Failure) Unwrap() error { return f.Err }

// Err is nil if nothing failed.
func (r Report) Err() error {
	var all []error
	for _, f := range r.Failures {
		all = append(all, f)
	}
	return errors.Join(all...)
}

// Apply writes the changes in their order, as many routes in one send as may be. A change that fails stands in the
// report and stops nothing; the error is for what stops everything, as an end of ctx. To read, diff and apply again
// repairs what failed for a reason that has passed.
func (k *Kernel) Apply(ctx context.Context, changes Changes) (Report, error) {
	k.apply.Lock()
	defer k.apply.Unlock()
	a := applying{Kernel: k, links: map[string]netlink.Link{}}
	for len(changes) > 0 {
		if err := ctx.Err(); err != nil {
			return a.report, err
		}
		n := 0
		for n < len(changes) && !changes[n].ofTunnel() {
			n++
		}
		if n > 0 {
			if err := a.writeRoutes(ctx, changes[:n]); err != nil {
				return a.report, err
			}
			changes = changes[n:]
			continue
		}
		a.tunnel(ctx, changes[0])
		changes = changes[1:]
	}
	return a.report, nil
}

// applying is one Apply.
type applying struct {
	*Kernel
	report Report
	links  map[string]netlink.Link // by name; nil for one that is not there
}

// tunnel writes a change of a tunnel, each write in a send of its own.
func (a *applying) tunnel(ctx context.Context, c Change) {
	writes := 0
	err := a.writeTunnel(ctx, c, &writes)
	a.report.Writes += writes
	a.report.Sends += writes
	clear(a.links) // what we knew of the links is old
	if err != nil {
		a.report.Failures = append(a.report.Failures, Failure{Change: c, Err: err})
		return
	}
	a.report.Applied++
}

// writeRoutes writes changes of routes. A route that somebody deleted under our hands cannot be replaced; it is added.
func (a *applying) writeRoutes(ctx context.Context, changes Changes) error {
	refused, err := a.batch(ctx, changes)
	if err != nil {
		return err
	}
	var gone Changes
	var failed []Failure
	for _, f := range refused {
		if f.Change.Op == ReplaceRoute && (errors.Is(f.Err, unix.ENOENT) || errors.Is(f.Err, unix.ESRCH)) {
			gone = append(gone, Change{Op: AddRoute, Route: f.Change.Route})
			continue
		}
		failed = append(failed, f)
	}
	if len(gone) > 0 {
		again, err := a.batch(ctx, gone)
		if err != nil {
			return err
		}
		failed = append(failed, again...)
	}
	if err := a.explain(ctx, failed); err != nil {
		return err
	}
	a.report.Failures = append(a.report.Failures, failed...)
	return nil
}

// batch writes changes of routes and returns those that were refused, with the bare error.
func (a *applying) batch(ctx context.Context, changes Changes) (refused []Failure, err error) {
	sent := make(Changes, 0, len(changes))
	indexes := make([]int, 0, len(changes))
	for _, c := range changes {
		index, err := a.link(c.Route.Link)
		if err != nil && c.Op != DeleteRoute {
			refused = append(refused, Failure{Change: c, Err: err})
			continue
		}
		sent, indexes = append(sent, c), append(indexes, index)
	}
	errs, sends, err := a.routes.send(ctx, len(sent), func(b []byte, i int) []byte {
		a.report.Writes++
		switch c := sent[i]; c.Op {
		case DeleteRoute:
			return appendDelete(b, c.Route, indexes[i])
		case ReplaceRoute:
			return appendWrite(b, c.Route, indexes[i], unix.NLM_F_REPLACE)
		default:
			// Exclusive, so that the kernel says when somebody else has a route there.
			return appendWrite(b, c.Route, indexes[i], unix.NLM_F_CREATE|unix.NLM_F_EXCL)
		}
	})
	a.report.Sends += sends
	if err != nil {
		return nil, fmt.Errorf("write %d changes of routes: %w", len(sent), err)
	}
	for i, c := range sent {
		why := errs[i]
		if c.Op == DeleteRoute && errors.Is(why, unix.ESRCH) {
			why = nil // somebody was faster
		}
		if why != nil {
			refused = append(refused, Failure{Change: c, Err: why})
			continue
		}
		a.report.Applied++
	}
	return refused, nil
}

// link is the index of a link.
func (a *applying) link(name string) (int, error) {
	link, known := a.links[name]
	if !known {
		var err error
		link, err = a.handle.LinkByName(name)
		if err != nil && !errors.As(err, &netlink.LinkNotFoundError{}) {
			return 0, fmt.Errorf("find link %q: %w", name, err)
		}
		a.links[name] = link
	}
	if link == nil {
		return 0, fmt.Errorf("there is no link %q; it was deleted or renamed, or could not be created", name)
	}
	return link.Attrs().Index, nil
}

// explain turns the bare errors of the kernel into words that say how to repair them.
func (a *applying) explain(ctx context.Context, failures []Failure) error {
	foreign := map[uint8]map[netip.Prefix]read{}
	for i := range failures {
		f := &failures[i]
		r := f.Change.Route
		switch {
		case errors.Is(f.Err, unix.EEXIST):
			family := familyNumber(r.Dst.Addr())
			if foreign[family] == nil {
				var err error
				if foreign[family], err = a.foreign(ctx, family); err != nil {
					return err
				}
			}
			other, found := foreign[family][r.Dst]
			if !found {
				f.Err = fmt.Errorf("the route appeared meanwhile; read the state again: %w", f.Err)
				continue
			}
			f.Conflict = true
			if other.protocol == unix.RTPROT_KERNEL {
				f.Err = fmt.Errorf("an address of this node on %s covers it, as a subnet leaves it that the node had "+
					"before; when no pod uses it any more, take it away (ip addr show dev %s): %w",
					other.Link, other.Link, f.Err)
				continue
			}
			f.Err = fmt.Errorf("another route for it, %s (protocol %d), is not ours and is kept; delete it, or take "+
				"the subnet from the node: %w",
				other.Route, other.protocol, f.Err)
		case errors.Is(f.Err, unix.ENETDOWN), a.isDown(r.Link):
			f.Err = fmt.Errorf("link %s is down; set it up (ip link set %s up): %w", r.Link, r.Link, f.Err)
		case errors.Is(f.Err, unix.ENETUNREACH), errors.Is(f.Err, unix.EHOSTUNREACH):
			f.Err = fmt.Errorf("%s is not reached directly through link %s; check the addresses of the link: %w", r.Via,
				r.Link, f.Err)
		case errors.Is(f.Err, unix.EPERM):
			f.Err = fmt.Errorf("this process may not change routes; it needs CAP_NET_ADMIN: %w", f.Err)
		}
	}
	return nil
}

// foreign are the routes of others with the metric of ours.
func (a *applying) foreign(ctx context.Context, family uint8) (map[netip.Prefix]read, error) {
	found, err := a.list(ctx, family, 0)
	if err != nil {
		return nil, err
	}
	others, names := map[netip.Prefix]read{}, map[int]string{}
	for _, r := range found {
		if r.protocol == Protocol || r.Metric != 0 {
			continue
		}
		if r.Link, err = a.linkName(r.link, names); err != nil {
			return nil, err
		}
		others[r.Dst] = r
	}
	return others, nil
}

func (a *applying) isDown(name string) bool {
	link := a.links[name]
	return link != nil && link.Attrs().Flags&net.FlagUp == 0
}
