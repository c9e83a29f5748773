package cni

import (
	"errors"
	"strings"
	"testing"
)

// Interfaces are kept while their containers live: not before ADD has made them, and not once a DEL has begun, also
// after a restart. All are tried, and what fails is reported with its container.
func TestRepair(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	if _, err := s.ask("ADD", "c1", "web", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ask("ADD", "c2", "many", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	s.taken()
	s.broken["REPAIR b"] = errors.New("another has its place")
	err := s.Repair(t.Context())
	if err == nil || !strings.Contains(err.Error(), "container c2: network chain, plugin b: another has its place") {
		t.Errorf("repair: %v", err)
	}
	if got, want := s.taken(),
		"REPAIR a eth0, REPAIR a eth0, REPAIR a net1, REPAIR b net1, REPAIR c eth2"; got != want {
		t.Errorf("called were %s, want %s", got, want)
	}
	s.broken = map[string]error{"DEL a": errors.New("not now")}
	if _, err := s.ask("DEL", "c1", "web", "1.0.0"); err == nil {
		t.Fatal("the DEL has succeeded")
	}
	s.taken()
	if err := NewServer(s.Config).Repair(t.Context()); err != nil {
		t.Error(err)
	}
	if got := s.taken(); strings.Count(got, "REPAIR") != 4 {
		t.Errorf("an interface is repaired whose DEL has begun: %s", got)
	}
}
