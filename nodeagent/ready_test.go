package nodeagent

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"galaxy/kernel"
)

// A node takes pods only when they would work, and says why not: what is missing first.
func TestReady(t *testing.T) {
	k := newPaper()
	k.networks = nil
	routes := newRoutes(twoNodes(t), k)
	routes.Config = kernel.Config{}
	a := newAgent(t, routes)
	says := func(want string) {
		t.Helper()
		err := a.Ready()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("ready: %v, want %q", err, want)
		}
	}
	says("does not know its addresses yet: it has none in its file, and etcd has not answered yet")
	a.note("etcd", errors.New("connection refused"))
	says("connection refused")
	a.Addresses.set(leading(t, a.Local.Log(), "node-a"))
	says("has no subnet of the overlay yet")
	if err := a.Addresses.Use(t.Context(), []netip.Prefix{podsA}); err != nil {
		t.Fatal(err)
	}
	says("wrong MTU and no routes")
	k.networks = newPaper().networks
	if err := routes.Converge(t.Context()); err != nil {
		t.Fatal(err)
	}
	says("")
	if got := a.PodMTU(); got != 1480 {
		t.Errorf("pods have an MTU of %d", got)
	}
	a.Block("firewall", errors.New("it drops all"))
	a.Block(leasePart, errors.New("another machine has the name"))
	says("it drops all")
	a.Block("firewall", nil)
	says("another machine has the name")
	if err := a.leave(); err == nil || !strings.Contains(err.Error(), "another machine has the name") {
		t.Errorf("an address is given though the name is another's: %v", err)
	}
	a.Block(leasePart, nil)
	says("")
	if err := a.leave(); err != nil {
		t.Error(err)
	}
	a.Now = func() time.Time { return time.Now().Add(DefaultGrace + time.Minute) }
	says("gives no more addresses: etcd was not reached for 20h1m0s")
	if err := a.leave(); err == nil {
		t.Error("an address is given without etcd for longer than the grace")
	}
}

// What is wrong with a part is announced once, and taken back once.
func TestNote(t *testing.T) {
	a := newAgent(t, newRoutes(twoNodes(t), newPaper()))
	woken := func() bool {
		select {
		case <-a.changed:
			return true
		default:
			return false
		}
	}
	broken := errors.New("broken")
	for i, c := range []struct {
		err  error
		news bool
	}{{nil, false}, {broken, true}, {broken, false}, {errors.New("worse"), true}, {nil, true}, {nil, false}} {
		if news := a.NotePods(c.err); news != c.news || woken() != c.news {
			t.Errorf("note %d, %v: news is %t", i, c.err, news)
		}
	}
}
