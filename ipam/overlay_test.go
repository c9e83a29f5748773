package ipam

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseOverlay(t *testing.T) {
	networks, err := ParseOverlay([]byte(`[{"cidr":"fd00::/48"},{"cidr":"10.244.0.0/16","nodePrefix":26}]`))
	if err != nil || len(networks) != 2 || networks[0].CIDR.String() != "10.244.0.0/16" ||
		networks[1].NodePrefix != 64 {
		t.Fatalf("%v: %v", networks, err)
	}
	if n := networks[0].Subnets(); n != 1024 {
		t.Errorf("a /16 has %d subnets of /26", n)
	}
	if s := networks[1].Subnet(0x1f).String(); s != "fd00:0:0:1f::/64" {
		t.Errorf("subnet 31 is %s", s)
	}
	for text, want := range map[string]string{
		`{}`:                         "want [{",
		`[{"cidr":"10.0.0.0"}]`:      "want a network",
		`[{"cidr":"10.244.0.1/16"}]`: "say 10.244.0.0/16",
		`[{"cidr":"10.244.0.0/16","nodePrefix":12}]`:      "say 24",
		`[{"cidr":"10.244.0.0/16","nodePrefix":30}]`:      "at most 29",
		`[{"cidr":"fd00::/16","nodePrefix":64}]`:          "say at most 40",
		`[{"cidr":"224.0.0.0/8"}]`:                        "no network for hosts",
		`[{"cidr":"126.0.0.0/7"}]`:                        "no network for hosts", // it has 127.0.0.0/8 in it
		`[{"cidr":"10.0.0.0/8"},{"cidr":"10.1.0.0/16"}]`:  "overlap",
		`[{"cidr":"10.0.0.0/8","CIDR":"10.1.0.0/16"}]`:    "cidr stands more than once",
		`[{"cidr":"bad"},{"cidr":"1.2.3.4/33"}]`:          "overlay network 2",
		`[{"cidr":"10.244.0.0/16","nodePrefix":"small"}]`: "want [{",
	} {
		if _, err := ParseOverlay([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// Every index is the place of its subnet, and no two subnets share an address.
func TestOverlaySubnets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SampledFrom([]string{"10.128.0.0/9", "192.168.0.0/16", "fd00:1::/40", "2001:db8::/112"}).Draw(t,
			"network")
		cidr := netip.MustParsePrefix(base)
		longest := longestNodePrefix4
		if cidr.Addr().Is6() {
			longest = longestNodePrefix6
		}
		n := OverlayNetwork{CIDR: cidr, NodePrefix: rapid.IntRange(cidr.Bits(),
			min(longest, cidr.Bits()+mostNodeBits)).Draw(t, "node prefix")}
		i := rapid.IntRange(0, n.Subnets()-1).Draw(t, "i")
		j := rapid.IntRange(0, n.Subnets()-1).Draw(t, "j")
		a, b := n.Subnet(i), n.Subnet(j)
		if at, ok := n.Index(a); !ok || at != i {
			t.Fatalf("subnet %d of %v is %s, which is subnet %d, %v", i, n, a, at, ok)
		}
		if i != j && a.Overlaps(b) {
			t.Fatalf("%s and %s overlap", a, b)
		}
		pool := NodePool(a)
		if pool.Ranges[0].First.Compare(pool.Ranges[0].Last) > 0 || !a.Contains(pool.Ranges[0].Last) ||
			pool.Ranges[0].Contains(pool.Gateway) {
			t.Fatalf("pods of %s get %v, the gateway is %s", a, pool.Ranges, pool.Gateway)
		}
	})
}

func FuzzOverlay(f *testing.F) {
	f.Add([]byte(`[{"cidr":"10.244.0.0/16","nodePrefix":24},{"cidr":"fd00::/48"}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		networks, err := ParseOverlay(text)
		if err != nil {
			return
		}
		for _, n := range networks {
			if last := n.Subnet(n.Subnets() - 1); !n.CIDR.Contains(last.Addr()) {
				t.Errorf("the last subnet of %v is %s", n, last)
			}
		}
	})
}
