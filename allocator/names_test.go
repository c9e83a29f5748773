package allocator

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"galaxy/ipam"
)

// No decision writes names into the log that may not stand there, whoever asks for it.
func TestNamesAreChecked(t *testing.T) {
	w := newHarness()
	subnets, err := ipam.ParseConfig([]byte(`[{"nodeSubnets":["10.1.0.0/16"],"subnet":"10.0.0.0/24","gateway":"10.0.0.1","ips":["10.0.0.2~10.0.0.9"]}]`))
	if err == nil {
		_, _, err = w.do(Configure{Source: "test", Subnets: subnets})
	}
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("10.0.0.2")
	good := ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "ns", App: "db", Pod: "db-0"}
	long := strings.Repeat("x", ipam.MaxName+1)
	bad := map[string]ipam.Owner{
		"an app of 254 bytes":     {Kind: good.Kind, Namespace: "ns", App: long, Pod: "db-0"},
		"a pod with an escape":    {Namespace: "ns", Pod: "a\x1b[31m"},
		"a kind with a C1":        {Kind: "a\u009b", Namespace: "ns", App: "a", Pod: "p"},
		"a pod of no namespace":   {Pod: "p"},
		"a pool of 254 bytes":     {Namespace: "ns", Pod: "p", Pool: long},
		"a namespace with a line": {Namespace: "n\ns", Pod: "p"},
	}
	for what, o := range bad {
		for _, cmd := range commandsOf(o, "u", "n", addr) {
			refused(t, w, what, cmd)
		}
	}
	for _, cmd := range commandsOf(good, long, "n", addr)[:5] {
		refused(t, w, "a uid of 254 bytes", cmd)
	}
	for _, cmd := range commandsOf(good, "u\x00", "n", addr)[:5] {
		refused(t, w, "a uid with a NUL", cmd)
	}
	refused(t, w, "nobody", Reserve{Address: addr})
	refused(t, w, "an app of no namespace", Reserve{Address: addr,
		Owner: ipam.Owner{Kind: ipam.KindDeployment, App: "x"}, Labelled: true})
	refused(t, w, "a kind alone", Import{Address: addr, Owner: ipam.Owner{Kind: ipam.KindDeployment, Namespace: "n"}})
	refused(t, w, "a node of 254 bytes", Import{Address: addr, Owner: good, Node: long})
	refused(t, w, "a pod on a node of 254 bytes",
		Bind{Pod: Pod{Owner: good, UID: "u"}, Node: long, NodeNetwork: netip.MustParsePrefix("10.1.0.0/16")})
	refused(t, w, "a pool of 254 bytes", SizePool{Pool: long, Size: 1})
	refused(t, w, "a pool with a line", SizePool{Pool: "a\n", Size: 1})
}

// commandsOf are the commands by which an owner, and the uid of its pod, enter the log; Reserve comes last, as it has
// no uid.
func commandsOf(o ipam.Owner, uid, node string, addr netip.Addr) []Command {
	pod := Pod{Owner: o, UID: uid}
	network := netip.MustParsePrefix("10.1.0.0/16")
	return []Command{
		Bind{Pod: pod, Node: node, NodeNetwork: network},
		Claim{Pod: pod, Candidates: []netip.Prefix{network}},
		Adopt{Pod: pod, Node: node, Address: addr},
		Import{Address: addr, Owner: o, PodUID: uid, Node: node},
		Attach{Owner: o, PodUID: uid, Node: node, ContainerID: "c", IfName: "eth0"},
		Reserve{Address: addr, Owner: o},
	}
}

func refused(t *testing.T, w *harness, what string, cmd Command) {
	t.Helper()
	if _, _, err := Decide(w.view(), cmd, Env{MaxEvents: 10}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("%T of %s: %v", cmd, what, err)
	}
}
