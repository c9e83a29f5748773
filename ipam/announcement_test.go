package ipam_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"galaxy/ipam"
)

// What is announced goes into the log and into the kernels of all nodes, so it is bounded, and names addresses that
// nodes can reach.
func TestParseAnnouncement(t *testing.T) {
	long := strings.Repeat("m", 257)
	many := strings.Repeat(`"192.0.2.1",`, 17)
	for text, want := range map[string]string{
		`{"node":"a","machine":"m"}`:                                                                       "announces no address",
		`{"node":"A","machine":"m","addresses":["192.0.2.1"]}`:                                             "want the name of a Node object",
		`{"node":"a\u001b[2J","machine":"m","addresses":["192.0.2.1"]}`:                                    "want the name of a Node object",
		`{"node":"a/b","machine":"m","addresses":["192.0.2.1"]}`:                                           "want the name of a Node object",
		`{"node":"a","machine":"m","addresses":["240.0.0.1"]}`:                                             "cannot reach it at",
		`{"node":"a","machine":"m","addresses":["0.1.2.3"]}`:                                               "cannot reach it at",
		`{"node":"a","machine":"m","addresses":["::2"]}`:                                                   "cannot reach it at",
		`{"node":"a","machine":"m","addresses":["192.168.0.1","2001:db8::1","fd00::1"],"ttl":600}`:         "",
		`{"node":"a","machine":"m","addresses":[` + strings.TrimSuffix(many[:16*len(many)/17], ",") + `]}`: "",
		`{"node":"a","machine":"m","addresses":[` + strings.TrimSuffix(many, ",") +
			`]}`: "17 addresses, at most 16",
		`{"node":"a","machine":"m","addresses":["0.0.0.0"]}`:                 "cannot reach it at 0.0.0.0",
		`{"node":"a","machine":"m","addresses":["192.168.0.1","127.0.0.1"]}`: "cannot reach it at 127.0.0.1",
		`{"node":"a","machine":"m","addresses":["224.0.0.1"]}`:               "cannot reach it at",
		`{"node":"a","machine":"m","addresses":["255.255.255.255"]}`:         "cannot reach it at",
		`{"node":"a","machine":"m","addresses":["::1"]}`:                     "cannot reach it at",
		`{"node":"a","machine":"m","addresses":["fe80::1"]}`:                 "cannot reach it at",
		`{"node":"a","machine":"m","addresses":["169.254.0.7"]}`:             "cannot reach it at",
		`{"node":"a","machine":"m","addresses":["::ffff:192.168.0.1"]}`:      "cannot reach it at",
		`{"node":"a","machine":"m","addresses":["2001:db8::1%eth0"]}`:        "cannot reach it at",
		`{"node":"a","machine":"m","addresses":[""]}`:                        "cannot reach it at",
		`{"node":"a","machine":"m","addresses":["192.0.2.1"],"ttl":-1}`:      "its lease lasts -1 s",
		`{"node":"a","machine":"m","addresses":["192.0.2.1"],"ttl":1e-12}`: "its lease lasts 1e-12 s, want " +
			"2 to 600",
		`{"node":"a","machine":"m","addresses":["192.0.2.1"],"ttl":1e300}`:           "its lease lasts 1e+300 s",
		`{"node":"a","machine":"` + long + `","addresses":["192.0.2.1"]}`:            "257 and 0 bytes, at most 256",
		`{"node":"a","machine":"m","addresses":["192.0.2.1"],"boot":"` + long + `"}`: "1 and 257 bytes",
		`{"node":"a"}`:    "names no node, or no machine",
		`{"machine":"m"}`: "names no node, or no machine",
		`[]`:              "announcement of a node",
	} {
		a, err := ipam.ParseAnnouncement([]byte(text))
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v, want %q", text, err, want)
		}
		if err == nil && (a.Lease() < ipam.MinLease || a.Lease() > ipam.MaxLease) {
			t.Errorf("%.100s: a lease of %s", text, a.Lease())
		}
	}
}

// FuzzAnnouncement: whatever a node's user writes is refused, or is within bounds.
func FuzzAnnouncement(f *testing.F) {
	f.Add([]byte(`{"node":"a","machine":"m","addresses":["192.168.0.1"],"ttl":30,"position":7}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := ipam.ParseAnnouncement(text)
		if err != nil {
			return
		}
		if len(a.Addresses) > ipam.MaxNodeAddresses || a.Lease() < ipam.MinLease || a.Lease() > ipam.MaxLease {
			t.Fatalf("%+v", a)
		}
		again, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := ipam.ParseAnnouncement(again); err != nil || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("%+v is read back as %+v: %v", a, b, err)
		}
	})
}
