package kernel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Op is what a Change does.
type Op string

// The operations.
const (
	AddTunnel    Op = "add tunnel"
	SetTunnel    Op = "set tunnel" // change a tunnel in place; its routes stay
	DeleteTunnel Op = "delete tunnel"
	AddRoute     Op = "add route"
	ReplaceRoute Op = "replace route" // in place: at every moment the old or the new one is there
	DeleteRoute  Op = "delete route"
)

// Change is one thing to write. Its Route or its Tunnel is set, as the Op says.
type Change struct {
	Op     Op
	Route  Route
	Tunnel Tunnel
}

// Changes are applied from first to last.
type Changes []Change

func (c Change) String() string {
	if c.ofTunnel() {
		if c.Op == DeleteTunnel {
			return fmt.Sprintf("%s %s", c.Op, c.Tunnel.Name)
		}
		return fmt.Sprintf("%s %s", c.Op, c.Tunnel)
	}
	return fmt.Sprintf("%s %s", c.Op, c.Route)
}

func (c Change) ofTunnel() bool {
	return c.Op == AddTunnel || c.Op == SetTunnel || c.Op == DeleteTunnel
}

// String has a line for each change.
func (c Changes) String() string {
	var b strings.Builder
	for _, change := range c {
		fmt.Fprintln(&b, change)
	}
	return b.String()
}

// Diff is what leads from what there is to what is wanted, and nothing beyond. What is needed comes before what needs
// it: tunnels before the routes through them. What goes away comes last, routes before their tunnel, so that a subnet
// that moves from one way to another is reachable all the time. The same states give the same changes in the same
// order.
func Diff(want, have State) Changes {
	var changes Changes
	remade, bared := map[string]bool{}, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(want.Tunnels)) {
		wanted := want.Tunnels[name]
		old, exists := have.Tunnels[name]
		switch {
		case !exists:
			changes = append(changes, Change{Op: AddTunnel, Tunnel: wanted})
		case old.Mode != wanted.Mode:
			// The kernel cannot turn one into the other, and takes the routes away with the device.
			remade[name] = true
			changes = append(changes, deletedRoutes(have, name)...)
			changes = append(changes, Change{Op: DeleteTunnel, Tunnel: old}, Change{Op: AddTunnel, Tunnel: wanted})
		case old != wanted:
			// With the last address of a device the kernel takes the routes through it away, silently.
			bared[name] = old.Addr.IsValid() && !wanted.Addr.IsValid()
			changes = append(changes, Change{Op: SetTunnel, Tunnel: wanted})
		}
	}
	for _, dst := range sortedPrefixes(want.Routes) {
		wanted := want.Routes[dst]
		old, exists := have.Routes[dst]
		switch {
		case !exists || remade[old.Link]:
			changes = append(changes, Change{Op: AddRoute, Route: wanted})
		case old != wanted || bared[old.Link]:
			changes = append(changes, Change{Op: ReplaceRoute, Route: wanted})
		}
	}
	for _, dst := range sortedPrefixes(have.Routes) {
		old := have.Routes[dst]
		if _, wanted := want.Routes[dst]; !wanted && !remade[old.Link] {
			changes = append(changes, Change{Op: DeleteRoute, Route: old})
		}
	}
	for _, stray := range sortedRoutes(have.Strays) {
		changes = append(changes, Change{Op: DeleteRoute, Route: stray})
	}
	for _, name := range slices.Sorted(maps.Keys(have.Tunnels)) {
		if _, wanted := want.Tunnels[name]; !wanted {
			changes = append(changes, Change{Op: DeleteTunnel, Tunnel: have.Tunnels[name]})
		}
	}
	return changes
}

// deletedRoutes deletes the routes through a link.
func deletedRoutes(have State, link string) Changes {
	var changes Changes
	for _, dst := range sortedPrefixes(have.Routes) {
		if r := have.Routes[dst]; r.Link == link {
			changes = append(changes, Change{Op: DeleteRoute, Route: r})
		}
	}
	return changes
}
