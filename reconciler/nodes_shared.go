package reconciler

import (
	"fmt"
	"net/netip"
	"strings"

	"go.uber.org/zap"

	"galaxy/ipam"
)

// eventAddressShared is the reason of an event on a node that announces what another node announces, too.
const eventAddressShared = "NodeAddressShared"

// sharedAddresses are the nodes that announce an address which another one announces, too, each with the addresses and
// one other node. What is sent to pods of one of them reaches the other: the log cannot say which of them is right.
func sharedAddresses(announced map[string]ipam.Announcement) map[string]string {
	first, second := map[netip.Addr]string{}, map[netip.Addr]string{} // of the nodes that announce an address
	names := sortedNames(announced)
	for _, name := range names {
		for _, addr := range announced[name].Addresses {
			switch {
			case first[addr] == "":
				first[addr] = name
			case first[addr] != name && second[addr] == "":
				second[addr] = name
			}
		}
	}
	shared := map[string]string{}
	for _, name := range names {
		var all []string
		for _, addr := range announced[name].Addresses {
			other := first[addr]
			if other == name {
				other = second[addr]
			}
			if other != "" {
				all = append(all, fmt.Sprintf("%s (also node %s)", addr, other))
			}
		}
		if len(all) > 0 {
			shared[name] = strings.Join(all, ", ")
		}
	}
	return shared
}

// showShared reports nodes that announce addresses of one another, each once.
func (n *Nodes) showShared(shared map[string]string) {
	now := map[string]string{}
	for name, addrs := range shared {
		now[name] = fmt.Sprintf("the galaxy agent of this node announces %s: what is sent to pods of one of them may "+
			"reach the other; give each node an address of its own, or name it with --node-ip of the agent", addrs)
	}
	for name, message := range news(n.shared, now) {
		n.countError("node")
		n.Log.Warn("node address announced by another node, too", zap.String("node", name),
			zap.String("addresses", shared[name]))
		n.report(name, eventAddressShared, message)
	}
	n.shared = now
}
