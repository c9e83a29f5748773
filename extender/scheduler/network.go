package scheduler

import (
	"net/netip"
	"sync"

	"galaxy/kube"
	"galaxy/projections"
)

// A networkIndex is the index of a node's network in Config.NodeNetworks, or one of these.
type networkIndex int32

const (
	networkUnknown networkIndex = -1 // the node has no address that we know
	networkNone    networkIndex = -2 // the configuration has no subnet for it
)

// maxPlaces bounds the memory of node addresses; a cluster has fewer nodes.
const maxPlaces = 1 << 17

// nodeNetworks remembers the node network of each node address under one configuration. It is keyed by the address
// itself, so a node that is made anew under its old name is never taken for the one before.
type nodeNetworks struct {
	config *projections.Config

	mu   sync.RWMutex
	byIP map[netip.Addr]networkIndex
}

func newNodeNetworks(config *projections.Config) *nodeNetworks {
	return &nodeNetworks{config: config, byIP: map[netip.Addr]networkIndex{}}
}

// of is the network of a node: of the first of its addresses that has one.
func (p *nodeNetworks) of(node *kube.Node) networkIndex {
	if node == nil || len(node.IPs) == 0 {
		return networkUnknown
	}
	for _, ip := range node.IPs {
		if at := p.ofIP(ip); at >= 0 {
			return at
		}
	}
	return networkNone
}

func (p *nodeNetworks) ofIP(ip netip.Addr) networkIndex {
	p.mu.RLock()
	at, known := p.byIP[ip]
	p.mu.RUnlock()
	if known {
		return at
	}
	at = networkNone
	if i, ok := p.config.NodeNetworkOf(ip); ok {
		at = networkIndex(i)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byIP) >= maxPlaces {
		clear(p.byIP)
	}
	p.byIP[ip] = at
	return at
}

// network is the node network of an index; the zero Prefix for none.
func (p *nodeNetworks) network(at networkIndex) netip.Prefix {
	if at < 0 {
		return netip.Prefix{}
	}
	return p.config.NodeNetworks()[at]
}
