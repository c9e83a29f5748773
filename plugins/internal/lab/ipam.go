package lab

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"galaxy/plugins"
)

// IPAM gives addresses from memory, in order.
type IPAM struct {
	// Prefixes are what one interface gets: the first is its address, and that of the next interface comes after it.
	Prefixes []netip.Prefix
	// Gateway is put into the results if it is valid.
	Gateway netip.Addr
	// Routes are put into the results.
	Routes []*types.Route
	// Fail, if not nil, is the response to Add.
	Fail error

	mu   sync.Mutex
	next int
	held map[string]int
}

var _ plugins.IPAM = (*IPAM)(nil)

// Type is the ipam.type of its configurations.
func (m *IPAM) Type() string { return "lab" }

// Add takes the next address of every prefix, or those that the interface has.
func (m *IPAM) Add(_ context.Context, args *skel.CmdArgs) (*types100.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Fail != nil {
		return nil, m.Fail
	}
	key := args.ContainerID + "/" + args.IfName
	if m.held == nil {
		m.held = map[string]int{}
	}
	number, again := m.held[key]
	if !again {
		number = m.next
		m.next++
		m.held[key] = number
	}
	result := &types100.Result{CNIVersion: types100.ImplementedSpecVersion, Routes: m.Routes}
	for _, p := range m.Prefixes {
		a := p.Addr()
		for range number {
			a = a.Next()
		}
		ip := &types100.IPConfig{Address: *plugins.IPNet(netip.PrefixFrom(a, p.Bits()))}
		if m.Gateway.IsValid() && m.Gateway.BitLen() == a.BitLen() {
			ip.Gateway = m.Gateway.AsSlice()
		}
		result.IPs = append(result.IPs, ip)
	}
	return result, nil
}

// Del gives back what an interface has.
func (m *IPAM) Del(_ context.Context, args *skel.CmdArgs) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, args.ContainerID+"/"+args.IfName)
	return nil
}

// Check says whether an interface has something.
func (m *IPAM) Check(_ context.Context, args *skel.CmdArgs) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.held[args.ContainerID+"/"+args.IfName]; !ok {
		return fmt.Errorf("%s of %s has no address", args.IfName, args.ContainerID)
	}
	return nil
}

// Held is how many interfaces have addresses.
func (m *IPAM) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.held)
}
