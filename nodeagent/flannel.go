package nodeagent

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"galaxy/durable"
	"galaxy/ipam"
)

// subnetEnv is what others read who want to know the node's subnet: the file that flannel writes, with the node's own
// address in its subnet. Masquerading is the agent's own work, so it says false.
func subnetEnv(networks []ipam.OverlayNetwork, subnets []netip.Prefix, mtu int) []byte {
	var out bytes.Buffer
	for _, is4 := range []bool{true, false} {
		prefix := "FLANNEL_"
		if !is4 {
			prefix = "FLANNEL_IPV6_"
		}
		for _, s := range subnets {
			if s.Addr().Is4() != is4 {
				continue
			}
			network := s // also where the configuration no longer has its network, so that the file always has both
			for _, n := range networks {
				if n.CIDR.Overlaps(s) {
					network = n.CIDR
				}
			}
			fmt.Fprintf(&out, "%sNETWORK=%s\n", prefix, network)
			fmt.Fprintf(&out, "%sSUBNET=%s\n", prefix, netip.PrefixFrom(s.Addr().Next(), s.Bits()))
			break
		}
	}
	if out.Len() == 0 {
		return nil
	}
	fmt.Fprintf(&out, "FLANNEL_MTU=%d\nFLANNEL_IPMASQ=false\n", mtu)
	return out.Bytes()
}

// WriteSubnetFile says the node's subnets and the MTU of its pods in a file, for others. A file that says so already is
// left alone.
func WriteSubnetFile(path string, networks []ipam.OverlayNetwork, subnets []netip.Prefix, mtu int) error {
	text := subnetEnv(networks, subnets, mtu)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("subnet file: %w", err)
	}
	if err := durable.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("subnet file: %w", err)
	}
	return nil
}
