package projections

import (
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/go-memdb"

	"galaxy/ipam"
)

// Config is the configuration in force, with what is looked up in it prepared. It never changes once made.
type Config struct {
	Source  string
	Seq     uint64        // of the event that set it; 0 before the first
	Time    time.Time     // of that event
	Subnets []ipam.Subnet // a subnet is known by its index here

	networks []netip.Prefix // all node networks, in the order of the subnets
	serving  map[netip.Prefix][]int
	spans    []span // all ranges of all subnets, ascending
}

type span struct {
	ipam.Range
	subnet int
}

func newConfig(source string, seq uint64, at time.Time, subnets []ipam.Subnet) *Config {
	c := &Config{Source: source, Seq: seq, Time: at, Subnets: subnets, serving: map[netip.Prefix][]int{}}
	for i, s := range subnets {
		for _, network := range s.NodeNetworks {
			if c.serving[network] == nil {
				c.networks = append(c.networks, network)
			}
			c.serving[network] = append(c.serving[network], i)
		}
		for _, r := range s.Ranges {
			c.spans = append(c.spans, span{r, i})
		}
	}
	slices.SortFunc(c.spans, func(a, b span) int { return a.First.Compare(b.First) })
	return c
}

// SubnetOf is the index of the subnet that hands out an address; ok is false if none does.
func (c *Config) SubnetOf(addr netip.Addr) (subnet int, ok bool) {
	// The first span that ends at or after addr is the only one that can hold it.
	i, _ := slices.BinarySearchFunc(c.spans, addr, func(s span, a netip.Addr) int { return s.Last.Compare(a) })
	if i < len(c.spans) && c.spans[i].Contains(addr) {
		return c.spans[i].subnet, true
	}
	return 0, false
}

// NodeNetworks are all node networks, in the order of the subnets.
func (c *Config) NodeNetworks() []netip.Prefix { return c.networks }

// NodeNetworkOf is the index, in NodeNetworks, of the network of a node's address: the first that contains it, as the
// contract's section 3 says. ok is false when the configuration has none.
func (c *Config) NodeNetworkOf(node netip.Addr) (index int, ok bool) {
	for i, network := range c.networks {
		if network.Contains(node) {
			return i, true
		}
	}
	return 0, false
}

// Serves reports whether an address is of a subnet that serves a node network.
func (c *Config) Serves(addr netip.Addr, network netip.Prefix) bool {
	subnet, ok := c.SubnetOf(addr)
	return ok && c.Subnets[subnet].Serves(network)
}

// Serving are the indexes of the subnets that serve a node network, ascending.
func (c *Config) Serving(network netip.Prefix) []int { return c.serving[network] }

// Spans are all configured ranges, ascending.
func (c *Config) Spans(yield func(ipam.Range, int) bool) {
	for _, s := range c.spans {
		if !yield(s.Range, s.subnet) {
			return
		}
	}
}

const tableSubnets = "subnets"

// subnetState counts the addresses of a subnet.
type subnetState struct {
	Subnet   int
	Total    uint64 // math.MaxUint64 when there are more
	Held     uint64
	Released uint64
}

func subnetsTable() *memdb.TableSchema {
	return tableOf(tableSubnets, unique("id", func(s *subnetState) []byte { return subnetKey(s.Subnet) }))
}

// Usage counts the addresses of a subnet: Total = Held + Cooling + Free.
type Usage struct {
	Total   uint64 // math.MaxUint64 when there are more
	Held    uint64
	Cooling uint64 // free, but within the reuse delay
	Free    uint64 // free and past it
}

// Usage counts the addresses of a subnet by its index.
func (v *View) Usage(subnet int, now time.Time, delay time.Duration) Usage {
	s := v.subnetState(subnet)
	u := Usage{Total: s.Total, Held: s.Held, Cooling: v.Cooling(subnet, now, delay)}
	u.Free = u.Total - u.Held - u.Cooling
	return u
}

// HeldCount is how many addresses of all subnets are held.
func (v *View) HeldCount() uint64 {
	n := uint64(0)
	for i := range v.config.Subnets {
		n += v.subnetState(i).Held
	}
	return n
}

// Unheld is how many addresses of a subnet nobody holds, those within the reuse delay included.
func (v *View) Unheld(subnet int) uint64 {
	s := v.subnetState(subnet)
	return s.Total - s.Held
}

func (v *View) subnetState(subnet int) subnetState {
	if v.pending != nil {
		if s, ok := v.pending.subnets[subnet]; ok {
			return *s
		}
	}
	if s := first[subnetState](v.base, tableSubnets, "id", subnetKey(subnet)); s != nil {
		return *s
	}
	return subnetState{Subnet: subnet}
}

func (t *Txn) ownSubnet(subnet int) *subnetState {
	return ownRow(t.pending.subnets, subnet, func() *subnetState {
		return first[subnetState](t.base, tableSubnets, "id", subnetKey(subnet))
	}, func(s *subnetState) { s.Subnet = subnet })
}
