package overlay

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nft prints a set of the node's own table.
func (n *node) set(name string) string {
	n.t.Helper()
	var out []byte
	n.in(func() (err error) {
		out, err = exec.Command("nft", "list", "set", "inet", "galaxy", name).CombinedOutput()
		return err
	})
	return string(out)
}

// networks replaces the node's configuration of networks, which its agent reads with the next ADD.
func (n *node) networks(text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.state, "galaxy.json"), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// Pods of a network that is not masqueraded are seen outside with their own addresses, over IPv4 and IPv6, from their
// first packet to their last; others beside them are hidden. A restart of the agent forgets nothing and writes nothing,
// and a DEL leaves nothing.
func TestExemptPods(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil && os.Getenv("CI") == "" {
		t.Skip("NOT RUN: there is no nft here; install nftables")
	}
	l := newHarness(t, 1)
	n := l.nodes[0]
	l.converged(0, n)
	l.wires.echo()
	s, err := n.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, subnet := range s.Subnets {
		via := near.address(10, 24)
		if subnet.Addr().Is6() {
			via = near.address6(16, 64)
		}
		l.wires.ip("route", "add", subnet.String(), "via", bare(via))
	}
	outside := []netip.Addr{netip.MustParseAddr(control), netip.MustParseAddr("fd99::1")}
	seen := func(p *pod, want ...string) {
		t.Helper()
		for i, to := range outside {
			if got := p.reach(to); got.String() != want[i] {
				t.Errorf("outside, %s is seen as %s, want %s", p.name, got, want[i])
			}
		}
	}
	own := func(p *pod) []string { return []string{p.addresses[0].String(), p.addresses[1].String()} }
	node := []string{"10.99.0.10", "fd99::10"}

	hidden := n.addPod("hidden")
	seen(hidden, node...)
	n.networks(`{"NetworkConf":[{"name":"galaxy","type":"galaxy-veth","masquerade":false,"ipam":{"type":"galaxy-ipam"}}],"DefaultNetworks":["galaxy"]}`)
	open := n.addPod("open")
	seen(open, own(open)...)
	seen(hidden, node...)
	n.networks(defaultNetworks + "\n")
	seen(n.addPod("later"), node...)
	seen(open, own(open)...)

	n.agent.kill()
	log, err := os.ReadFile(n.agent.log)
	if err != nil {
		t.Fatal(err)
	}
	seen(open, own(open)...)
	n.agent.start()
	l.converged(0, n)
	seen(open, own(open)...)
	n.addPod("after").remove() // its ADD comes after the first comparison
	time.Sleep(300 * time.Millisecond)
	again, err := os.ReadFile(n.agent.log)
	if err != nil || strings.Contains(string(again[len(log):]), "masqueraded") {
		t.Errorf("the agent is started again, and writes to nftables: %v\n%s", err, again[len(log):])
	}
	seen(open, own(open)...)

	open.remove()
	if sets := n.set("exempt4") + n.set("exempt6"); strings.Contains(sets, "elements") {
		t.Errorf("after DEL there is\n%s", sets)
	}
	seen(hidden, node...)
}
