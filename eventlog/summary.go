package eventlog

import (
	"fmt"
	"net/netip"
	"strings"
)

// Summary says for how many subnets the configuration is, and how many addresses drain.
func (d *SubnetsConfigured) Summary() string {
	prefixes := make([]string, 0, len(d.Subnets))
	for _, s := range d.Subnets {
		prefixes = append(prefixes, s.Prefix.String())
	}
	text := fmt.Sprintf("%d subnets from %s: %s", len(d.Subnets), d.Source, strings.Join(prefixes, ", "))
	if d.Drains > 0 {
		text += fmt.Sprintf("; %d addresses drain", d.Drains)
	}
	return text
}

// Summary is the address, its subnet, and the interface that has it.
func (d *AddressAllocated) Summary() string {
	text := because(fmt.Sprintf("%s of %s", d.Address, d.Subnet), d.Reason)
	if d.ContainerID != "" {
		text += fmt.Sprintf(" for %s of container %s", d.IfName, d.ContainerID[:min(16, len(d.ContainerID))])
	}
	return text
}

// Summary is the address.
func (d *AddressBound) Summary() string { return d.Address.String() }

// Summary is the address, and why.
func (d *AddressReserved) Summary() string { return because(d.Address.String(), d.Reason) }

// Summary is the address, and why.
func (d *AddressReleased) Summary() string { return because(d.Address.String(), d.Reason) }

// Summary is the address.
func (d *AddressAssigned) Summary() string { return d.Address.String() + " by the cloud provider" }

// Summary is the address.
func (d *AddressUnassigned) Summary() string { return d.Address.String() + " by the cloud provider" }

// Summary is the pool and its size.
func (d *PoolSized) Summary() string {
	text := fmt.Sprintf("pool %s may hold %d", d.Pool, d.Size)
	if d.PreAllocate {
		text += ", reserved in advance"
	}
	return text
}

// Summary is the pool.
func (d *PoolDeleted) Summary() string { return "pool " + d.Pool }

// Summary says how many addresses were recorded.
func (d *RunningPodsAdopted) Summary() string {
	return fmt.Sprintf("%d addresses of running pods", d.Pods)
}

// Summary says how many objects there are, and whose.
func (d *FormerObjectsFound) Summary() string {
	return fmt.Sprintf("%d objects of %s", d.Objects, d.Source)
}

// Summary says what has become of them.
func (d *FormerObjectsResolved) Summary() string {
	text := fmt.Sprintf("%s: %d objects of %s", d.Outcome, d.Objects, d.Source)
	if d.Left > 0 {
		text += fmt.Sprintf("; %d were not taken over", d.Left)
	}
	return text
}

// Summary is the networks.
func (d *OverlayConfigured) Summary() string {
	var networks []string
	for _, n := range d.Networks {
		networks = append(networks, fmt.Sprintf("%s in /%d", n.CIDR, n.NodePrefix))
	}
	return fmt.Sprintf("%d overlay networks from %s: %s", len(networks), d.Source, strings.Join(networks, ", "))
}

// Summary is where the node is reached.
func (d *NodeJoined) Summary() string { return "at " + addressesText(d.Addresses) }

// Summary is where the node is reached.
func (d *NodeAddressChanged) Summary() string { return "now at " + addressesText(d.Addresses) }

// Summary is why.
func (d *NodeLost) Summary() string { return d.Reason }

// Summary is the subnet.
func (d *NodeSubnetAssigned) Summary() string { return d.Subnet.String() }

// Summary is the subnet, and why.
func (d *NodeSubnetReleased) Summary() string { return because(d.Subnet.String(), d.Reason) }

// Summary is why.
func (d *NodeForgotten) Summary() string { return d.Reason }

func addressesText(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + " (" + reason + ")"
}
