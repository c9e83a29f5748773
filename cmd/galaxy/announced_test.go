package main

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"go.uber.org/zap"

	"galaxy/kernel"
)

func TestChooseAddresses(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr
	eth4, eth6 := kernel.HostAddress{Addr: a("10.0.0.11"), Link: "eth0"},
		kernel.HostAddress{Addr: a("2001:db8:1::11"), Link: "eth0"}
	temporary := kernel.HostAddress{Addr: a("2001:db8:1::abcd"), Link: "eth0", Passing: true}
	other := kernel.HostAddress{Addr: a("10.9.0.11"), Link: "eth1"}
	docker := kernel.HostAddress{Addr: a("172.17.0.1"), Link: "docker0", Inner: true}
	bridged := kernel.HostAddress{Addr: a("10.0.0.11"), Link: "br0", Inner: true}
	for name, c := range map[string]struct {
		host          []kernel.HostAddress
		leaving, last []netip.Addr
		want          string
	}{
		"of the default routes": {host: []kernel.HostAddress{docker, other, eth4, eth6},
			leaving: []netip.Addr{eth4.Addr, eth6.Addr}, want: "[10.0.0.11 2001:db8:1::11]"},
		"no default route, never docker0": {host: []kernel.HostAddress{docker, eth4, eth6},
			want: "[10.0.0.11 2001:db8:1::11]"},
		"nothing but docker0": {host: []kernel.HostAddress{docker}, want: "[]"},
		"the nodes' network is on a bridge": {host: []kernel.HostAddress{docker, bridged},
			leaving: []netip.Addr{bridged.Addr}, want: "[10.0.0.11]"},
		"a default route of one family": {host: []kernel.HostAddress{{Addr: a("2001:db8:9::1"),
			Link: "eth1"}, eth4, eth6}, leaving: []netip.Addr{eth4.Addr}, want: "[10.0.0.11 2001:db8:1::11]"},
		"a temporary address leaves": {host: []kernel.HostAddress{eth4, temporary, eth6},
			leaving: []netip.Addr{eth4.Addr, temporary.Addr}, want: "[10.0.0.11 2001:db8:1::11]"},
		"the default route moves, the address stays": {host: []kernel.HostAddress{eth4, other},
			leaving: []netip.Addr{other.Addr}, last: []netip.Addr{eth4.Addr}, want: "[10.0.0.11]"},
		"the default route goes": {host: []kernel.HostAddress{docker, other, eth4}, last: []netip.Addr{eth4.Addr},
			want: "[10.0.0.11]"},
		"the address is gone": {host: []kernel.HostAddress{docker, other}, leaving: []netip.Addr{other.Addr},
			last: []netip.Addr{eth4.Addr}, want: "[10.9.0.11]"},
		"docker0 was announced before": {host: []kernel.HostAddress{docker, eth4}, leaving: []netip.Addr{eth4.Addr},
			last: []netip.Addr{docker.Addr}, want: "[10.0.0.11]"},
	} {
		if got := fmt.Sprint(chooseAddresses(c.host, c.leaving, c.last)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// What was announced is known again after a restart, also when the host says nothing for a moment.
func TestAnnouncedIsKept(t *testing.T) {
	t.Parallel()
	dir, host := t.TempDir(), []kernel.HostAddress{{Addr: netip.MustParseAddr("198.51.100.7"), Link: "eth0"}}
	now := func(context.Context) ([]kernel.HostAddress, error) { return host, nil }
	want := fmt.Sprint(host[0].Addr)
	if got := openAnnounced(nil, dir, now, zap.NewNop()).addresses(); fmt.Sprint(got) != "["+want+"]" {
		t.Fatalf("at first: %v", got)
	}
	host = nil // its link is down
	if got := openAnnounced(nil, dir, now, zap.NewNop()).addresses(); fmt.Sprint(got) != "["+want+"]" {
		t.Errorf("after a restart: %v", got)
	}
	given := []netip.Addr{netip.MustParseAddr("203.0.113.9")}
	if got := openAnnounced(given, dir, now, zap.NewNop()).addresses(); fmt.Sprint(got) != "[203.0.113.9]" {
		t.Errorf("--node-ip: %v", got)
	}
}
