package projections

import (
	"net/netip"
	"testing"
	"time"

	"galaxy/ipam"
)

func TestNodeNetworkOf(t *testing.T) {
	subnets, err := ipam.ParseConfig([]byte(`[
		{"nodeSubnets":["10.49.28.0/26","10.49.29.0/24"],"ips":[],"subnet":"10.0.80.0/24","gateway":"10.0.80.1"},
		{"routableSubnet":"10.180.1.2/32","ips":[],"subnet":"10.180.154.0/24","gateway":"10.180.154.1"}]`))
	if err != nil {
		t.Fatal(err)
	}
	config := newConfig("test", 1, time.Time{}, subnets)
	for node, want := range map[string]string{
		"10.49.28.0": "10.49.28.0/26", "10.49.28.63": "10.49.28.0/26", "10.49.28.64": "", "10.49.29.7": "10.49.29.0/24",
		"10.180.1.2": "10.180.1.2/32", "10.180.1.3": "", "fd00::1": "",
	} {
		i, ok := config.NodeNetworkOf(netip.MustParseAddr(node))
		if ok != (want != "") || ok && config.NodeNetworks()[i].String() != want {
			t.Errorf("%s is in network %d, %t, want %q", node, i, ok, want)
		}
	}
}

// Node networks may overlap: a node is in the first that has it, in the order of the gateways, as in the contract
// (section 3).
func TestOverlappingNodeNetworks(t *testing.T) {
	subnets, err := ipam.ParseConfig([]byte(`[
		{"nodeSubnets":["10.49.0.0/16"],"ips":[],"subnet":"10.0.90.0/24","gateway":"10.0.90.1"},
		{"nodeSubnets":["10.49.28.0/26"],"ips":[],"subnet":"10.0.80.0/24","gateway":"10.0.80.1"},
		{"nodeSubnets":["10.49.29.0/24"],"ips":[],"subnet":"10.0.95.0/24","gateway":"10.0.95.1"}]`))
	if err != nil {
		t.Fatal(err)
	}
	config := newConfig("test", 1, time.Time{}, subnets)
	for node, want := range map[string]string{"10.49.28.1": "10.49.28.0/26", "10.49.28.64": "10.49.0.0/16",
		"10.49.29.1": "10.49.0.0/16"} {
		i, ok := config.NodeNetworkOf(netip.MustParseAddr(node))
		if !ok || config.NodeNetworks()[i].String() != want {
			t.Errorf("%s is in network %d, %t, want %s", node, i, ok, want)
		}
	}
}
