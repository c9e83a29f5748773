package log

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/eventlog"
	"galaxy/ipam"
)

// told is an event in the words of a table.
type told struct {
	what  string
	owner string
	node  string
}

// tell says what an event is about.
func tell(data eventlog.Data) told {
	switch d := data.(type) {
	case *eventlog.SubnetsConfigured:
		return told{what: tellConfig(d)}
	case *eventlog.AddressAllocated:
		what := because(fmt.Sprintf("%s of %s", d.Address, d.Subnet), d.Reason)
		if d.ContainerID != "" {
			what += fmt.Sprintf(" for %s of container %s", d.IfName, short(d.ContainerID))
		}
		return told{what, d.Owner.String(), d.Node}
	case *eventlog.AddressBound:
		return told{d.Address.String(), d.Owner.String(), d.Node}
	case *eventlog.AddressReserved:
		return told{because(d.Address.String(), d.Reason), d.Owner.String(), ""}
	case *eventlog.AddressReleased:
		return told{because(d.Address.String(), d.Reason), d.Owner.String(), ""}
	case *eventlog.AddressAssigned:
		return told{what: d.Address.String() + " by the cloud provider", node: d.Node}
	case *eventlog.AddressUnassigned:
		return told{what: d.Address.String() + " by the cloud provider", node: d.Node}
	case *eventlog.PoolSized:
		what := fmt.Sprintf("pool %s may hold %d", d.Pool, d.Size)
		if d.PreAllocate {
			what += ", reserved in advance"
		}
		return told{what: what}
	case *eventlog.PoolDeleted:
		return told{what: "pool " + d.Pool}
	default:
		return tellNode(data)
	}
}

// tellNode says what an event of the stream nodes is about.
func tellNode(data eventlog.Data) told {
	switch d := data.(type) {
	case *eventlog.OverlayConfigured:
		var networks []string
		for _, n := range d.Networks {
			networks = append(networks, fmt.Sprintf("%s in /%d", n.CIDR, n.NodePrefix))
		}
		return told{what: fmt.Sprintf("%d overlay networks from %s: %s", len(networks), d.Source, strings.Join(networks, ", "))}
	case *eventlog.NodeJoined:
		return told{what: "at " + output.List(d.Addresses), node: d.Node}
	case *eventlog.NodeAddressChanged:
		return told{what: "now at " + output.List(d.Addresses), node: d.Node}
	case *eventlog.NodeLost:
		return told{what: d.Reason, node: d.Node}
	case *eventlog.NodeSubnetAssigned:
		return told{what: d.Subnet.String(), node: d.Node}
	case *eventlog.NodeSubnetReleased:
		return told{what: because(d.Subnet.String(), d.Reason), node: d.Node}
	case *eventlog.NodeForgotten:
		return told{what: d.Reason, node: d.Node}
	default:
		return told{what: string(data.Type())}
	}
}

func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + " (" + reason + ")"
}

func tellConfig(d *eventlog.SubnetsConfigured) string {
	prefixes := make([]string, 0, len(d.Subnets))
	for _, s := range d.Subnets {
		prefixes = append(prefixes, s.Prefix.String())
	}
	what := fmt.Sprintf("%d subnets from %s: %s", len(d.Subnets), d.Source, strings.Join(prefixes, ", "))
	if d.Drains > 0 {
		what += fmt.Sprintf("; %d addresses drain", d.Drains)
	}
	return what
}

// owners are those whom an event names.
func owners(data eventlog.Data) []ipam.Owner {
	switch d := data.(type) {
	case *eventlog.SubnetsConfigured:
		named := make([]ipam.Owner, len(d.Draining))
		for i, drained := range d.Draining {
			named[i] = drained.Owner
		}
		return named
	case *eventlog.AddressAllocated:
		return []ipam.Owner{d.Owner}
	case *eventlog.AddressBound:
		return []ipam.Owner{d.Owner}
	case *eventlog.AddressReserved:
		return []ipam.Owner{d.Owner}
	case *eventlog.AddressReleased:
		return []ipam.Owner{d.Owner}
	case *eventlog.PoolSized:
		return []ipam.Owner{{Pool: d.Pool}}
	case *eventlog.PoolDeleted:
		return []ipam.Owner{{Pool: d.Pool}}
	default:
		return nil
	}
}

// concerns reports whether an event is about an address.
func concerns(data eventlog.Data, addr netip.Addr) bool {
	if d, ok := data.(*eventlog.SubnetsConfigured); ok {
		return slices.ContainsFunc(d.Draining, func(drained eventlog.Drained) bool { return drained.Address == addr })
	}
	about, _ := eventlog.About(data)
	return about == addr
}
