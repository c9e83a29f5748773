package nodeagent

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"galaxy/ipam"
)

// The file of flannel's form has the node's own address in its subnet, one subnet a family, and is not written again
// without a reason.
func TestSubnetFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flannel", "subnet.env")
	networks := []ipam.OverlayNetwork{{CIDR: netip.MustParsePrefix("10.244.0.0/16"), NodePrefix: 24}}
	write := func(want string, subnets ...string) os.FileInfo {
		t.Helper()
		var all []netip.Prefix
		for _, s := range subnets {
			all = append(all, netip.MustParsePrefix(s))
		}
		if err := WriteSubnetFile(path, networks, all, 1480); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil || string(text) != want {
			t.Errorf("%q: %v\n%s", subnets, err, text)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	const four = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.7.1/24\n"
	const rest = "FLANNEL_MTU=1480\nFLANNEL_IPMASQ=false\n"
	first := write(four+rest, "10.244.7.0/24", "10.244.9.0/24")
	if again := write(four+rest, "10.244.7.0/24"); !again.ModTime().Equal(first.ModTime()) ||
		!os.SameFile(first, again) {
		t.Error("a file that says the same is written again")
	}
	write(four+"FLANNEL_IPV6_NETWORK=fd00:1::/64\nFLANNEL_IPV6_SUBNET=fd00:1::1/64\n"+rest, "fd00:1::/64",
		"10.244.7.0/24")
	write("")
	if first.Mode().Perm() != 0o644 {
		t.Errorf("its mode is %s", first.Mode())
	}
}
