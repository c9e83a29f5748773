//go:build linux

package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
)

// neighbours are nodes on one link, each with a subnet of its own.
func neighbours(n int, six bool) (self Node, peers []Node) {
	first, link, pods := netip.MustParseAddr("10.0.0.1"), netip.MustParsePrefix("10.0.0.0/16"),
		netip.MustParseAddr("100.64.0.0")
	bits, at := 24, 2
	if six {
		first, link, pods = netip.MustParseAddr("fd00::1"), netip.MustParsePrefix("fd00::/64"),
			netip.MustParseAddr("fd44::")
		bits, at = 64, 6
	}
	self = Node{Name: "self", Addresses: []netip.Addr{first},
		Networks: []LocalNetwork{{Link: "eth0", MTU: 1500, Address: first, Prefix: link}}}
	for i := range n {
		address, subnet := first.AsSlice(), pods.AsSlice()
		binary.BigEndian.PutUint16(address[len(address)-2:], uint16(i+2))
		binary.BigEndian.PutUint16(subnet[at-1:], uint16(i)+64<<8)
		a, _ := netip.AddrFromSlice(address)
		p, _ := netip.AddrFromSlice(subnet)
		peers = append(peers, Node{
			Name: fmt.Sprintf("node-%05d", i), Addresses: []netip.Addr{a},
			Subnets: []netip.Prefix{netip.PrefixFrom(p, bits)},
		})
	}
	return self, peers
}

// BenchmarkConverge is a whole round of a node: decide, read, compare, write. "empty" begins without a route, as after
// a boot, "empty6" too, with IPv6; "converged" has all of them, as on every tick. The metric x-1000 is the cost of a
// route as a multiple of that with 1,000 nodes: 1 is linear.
//
// "empty" is not: Linux keeps the next hops of IPv4 routes in a hash that leaves their gateways out, so that each new
// neighbour on a link is compared with all others (ip -batch takes as long). IPv6 has no such list.
func BenchmarkConverge(b *testing.B) {
	perRoute := map[string]float64{}
	for _, n := range []int{100, 1000, 10000} {
		for _, start := range []string{"empty", "empty6", "converged"} {
			b.Run(fmt.Sprintf("nodes=%d/%s", n, start), func(b *testing.B) {
				cost := benchConverge(b, n, start != "converged", start == "empty6")
				if n == 1000 {
					perRoute[start] = cost
				}
				if small := perRoute[start]; small > 0 {
					b.ReportMetric(cost/small, "x-1000")
				}
			})
		}
	}
}

func benchConverge(b *testing.B, n int, empty, six bool) (perRoute float64) {
	h, far := newHost(b), newHost(b)
	h.sysctl("net/ipv6/route/max_size", "1000000") // older kernels stop at 4,096
	wire(h, "eth0", far, "eth0")
	h.address("eth0", "10.0.0.1/16", "fd00::1/64")
	k := h.open()
	self, peers := neighbours(n, six)
	round := func() (State, Report) {
		want, problems := Want(self, peers, Config{})
		have, err := k.Read(b.Context())
		check(b, err)
		report, err := k.Apply(b.Context(), Diff(want, have))
		check(b, err)
		if err := report.Err(); err != nil || len(problems) > 0 {
			b.Fatal(err, problems)
		}
		return want, report
	}
	round()
	var report Report
	b.ReportAllocs()
	for b.Loop() {
		if empty {
			b.StopTimer()
			have, err := k.Read(b.Context())
			check(b, err)
			_, err = k.Apply(b.Context(), Diff(State{}, have))
			check(b, err)
			b.StartTimer()
		}
		_, report = round()
	}
	if want := map[bool]int{true: n, false: 0}[empty]; report.Writes != want {
		b.Fatalf("%d writes, want %d", report.Writes, want)
	}
	b.StopTimer()
	perRoute = float64(b.Elapsed().Nanoseconds()) / float64(b.N) / float64(n)
	b.ReportMetric(perRoute, "ns/route")
	b.ReportMetric(float64(report.Writes), "writes")
	b.ReportMetric(float64(report.Sends), "sends")
	b.ReportMetric(heldBy(round), "heap-B")
	return perRoute
}

// heldBy is how much memory the wanted state keeps.
func heldBy(round func() (State, Report)) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one finalizes
	runtime.ReadMemStats(&before)
	state, _ := round()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(state)
	return float64(after.HeapAlloc) - float64(before.HeapAlloc)
}
