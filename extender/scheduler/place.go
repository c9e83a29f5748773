package scheduler

import (
	"net/netip"
	"sync"

	"galaxy/kube"
	"galaxy/projections"
)

// A place is the index of a node's network in Config.NodeNetworks, or one of these.
type place int32

const (
	placeUnknown place = -1 // the node has no address that we know
	placeNone    place = -2 // the configuration has no subnet for it
)

// maxPlaces bounds the memory of node addresses; a cluster has fewer nodes.
const maxPlaces = 1 << 17

// places remembers the node network of each node address under one configuration. It is keyed by the address itself, so a
// node that is made anew under its old name is never taken for the one before.
type places struct {
	config *projections.Config

	mu   sync.RWMutex
	byIP map[netip.Addr]place
}

func newPlaces(config *projections.Config) *places {
	return &places{config: config, byIP: map[netip.Addr]place{}}
}

// of is the place of a node: of the first of its addresses that has one.
func (p *places) of(node *kube.Node) place {
	if node == nil || len(node.IPs) == 0 {
		return placeUnknown
	}
	for _, ip := range node.IPs {
		if at := p.ofIP(ip); at >= 0 {
			return at
		}
	}
	return placeNone
}

func (p *places) ofIP(ip netip.Addr) place {
	p.mu.RLock()
	at, known := p.byIP[ip]
	p.mu.RUnlock()
	if known {
		return at
	}
	at = placeNone
	if i, ok := p.config.NodeNetworkOf(ip); ok {
		at = place(i)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byIP) >= maxPlaces {
		clear(p.byIP)
	}
	p.byIP[ip] = at
	return at
}

// network is the node network of a place; the zero Prefix for none.
func (p *places) network(at place) netip.Prefix {
	if at < 0 {
		return netip.Prefix{}
	}
	return p.config.NodeNetworks()[at]
}
