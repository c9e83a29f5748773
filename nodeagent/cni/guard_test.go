package cni

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"galaxy/plugins"
)

func TestGuard(t *testing.T) {
	core, logged := observer.New(zap.ErrorLevel)
	g := guard{log: zap.New(core)}
	for range 3 {
		if err := g.do("c1", func() error { panic("spoilt") }); err == nil ||
			!strings.Contains(err.Error(), "panic: spoilt") {
			t.Errorf("a panic is %v", err)
		}
	}
	reason := errors.New("no")
	if err := g.do("c1", func() error { return reason }); !errors.Is(err, reason) {
		t.Error(err)
	}
	if err := g.do("c1", func() error { return nil }); err != nil {
		t.Error(err)
	}
	entries := logged.All()
	if len(entries) != 1 || entries[0].ContextMap()["container"] != "c1" ||
		!strings.Contains(entries[0].ContextMap()["stack"].(string), "guard_test.go") {
		t.Errorf("logged is %+v", entries)
	}
}

// panics makes a plugin of a stage panic over one container.
func (s *harness) panics(container string) {
	p := s.plugin("a", 1)
	add, del, repair := p.Add, p.Del, p.Repair
	over := func(f func(context.Context, plugins.Host, *skel.CmdArgs) error) func(context.Context, plugins.Host,
		*skel.CmdArgs) error {
		return func(ctx context.Context, host plugins.Host, args *skel.CmdArgs) error {
			if args.ContainerID == container {
				panic("spoilt " + container)
			}
			return f(ctx, host, args)
		}
	}
	p.Add, p.Del, p.Repair = add, over(del), over(repair)
	s.Builtin["a"] = p
}

// One container over which the agent panics keeps it from none of the others: neither when interfaces are repaired, nor
// when garbage is collected, nor when notes are done.
func TestPanicOverOneContainer(t *testing.T) {
	c := newGarbageHarness(t)
	core, logged := observer.New(zap.ErrorLevel)
	c.harness.guard.log = zap.New(core)
	c.add(t, "a1", "bad", "z1")
	c.panics("bad")
	if err := c.harness.Repair(t.Context()); err == nil || !strings.Contains(err.Error(), "container bad") ||
		c.taken() != "REPAIR a eth0, REPAIR a eth0" {
		t.Errorf("repair: %v", err)
	}
	c.sandboxes = map[string]bool{"a1": false, "bad": false, "z1": false}
	_ = c.Collect(t.Context())
	if err := c.Collect(t.Context()); err == nil || !strings.Contains(err.Error(), "container bad") ||
		c.taken() != undone+", "+undone {
		t.Errorf("garbage collection: %v", err)
	}
	if len(c.released) != 2 {
		t.Errorf("released are %v", c.released)
	}
	c.harness.Notes.Dir = t.TempDir()
	c.harness.leave(t, "bad")
	c.harness.catchUp(t.Context(), map[string]string{})
	if _, err := c.ask("DEL", "bad", "web", "1.1.0"); err == nil {
		t.Error("a DEL that has panicked is a success")
	}
	for _, e := range logged.All() {
		if e.ContextMap()["container"] != "bad" {
			t.Errorf("logged is %+v", e)
		}
	}
	if logged.Len() == 0 {
		t.Error("nothing is logged")
	}
}

// An ADD that panics is undone like one that fails.
func TestPanicInAdd(t *testing.T) {
	s := newHarness(t)
	p := s.plugin("c", 3)
	p.Add = nil // to call it panics
	s.Builtin["c"] = p
	if _, err := s.ask("ADD", "c1", "many", "1.1.0"); err == nil {
		t.Error("it is a success")
	}
	if got := s.taken(); got != "ADD a eth0, ADD a net1, ADD b net1, DEL c eth2, DEL b net1, DEL a net1, DEL a eth0" {
		t.Error(got)
	}
	if left, err := s.state.containers(time.Time{}); err != nil || len(left) > 0 {
		t.Errorf("left is %v: %v", left, err)
	}
}
