package reconciler

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.uber.org/zap"

	"galaxy/ipam"
)

// eventAddressShared is the reason of an event on a node that announces what another node announces, too.
const eventAddressShared = "NodeAddressShared"

// sharedAddresses are the nodes that announce an address which another one announces, too, each with the addresses and
// the others. What is sent to pods of one of them reaches the other: the log cannot say which of them is right.
func sharedAddresses(alive map[string]ipam.Announcement) map[string]string {
	at := map[netip.Addr][]string{}
	for _, name := range sortedNames(alive) {
		for _, addr := range alive[name].Addresses {
			if !slices.Contains(at[addr], name) {
				at[addr] = append(at[addr], name)
			}
		}
	}
	shared := map[string]string{}
	for _, name := range sortedNames(alive) {
		var all []string
		for _, addr := range alive[name].Addresses {
			if others := slices.DeleteFunc(slices.Clone(at[addr]),
				func(n string) bool { return n == name }); len(others) > 0 {
				all = append(all, fmt.Sprintf("%s (also node %s)", addr, strings.Join(others, ", ")))
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
