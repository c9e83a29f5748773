package cni

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"galaxy/plugins"
)

// garbageHarness is a stage with a runtime beside it.
type garbageHarness struct {
	*harness
	Garbage
	sandboxes map[string]bool
	failing   error
	asked     func() // while the runtime is asked
	inhabited map[string]bool
	addresses []string // containers that have some
	released  []string
	now       time.Time
}

func newGarbageHarness(t *testing.T) *garbageHarness {
	t.Helper()
	c := &garbageHarness{harness: newHarness(t), asked: func() {}}
	c.harness.Held = func() []string { return c.addresses }
	c.harness.Release = func(_ context.Context, id string) error {
		c.released = append(c.released, id)
		return nil
	}
	c.Garbage = Garbage{Server: c.harness.Server, Sandboxes: func(context.Context) (map[string]bool, error) {
		c.asked()
		return c.sandboxes, c.failing
	}, Inhabited: func([]string) (map[string]bool, error) { return c.inhabited, nil },
		Now: func() time.Time { return c.now }}
	return c
}

func (c *garbageHarness) add(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, err := c.ask("ADD", id, "web", "1.1.0"); err != nil {
			t.Fatal(err)
		}
	}
	c.taken()
}

// passes collects so often, and says what was undone in the last of them.
func (c *garbageHarness) passes(t *testing.T, times int) string {
	t.Helper()
	for range times {
		c.taken()
		if err := c.Collect(t.Context()); err != nil {
			t.Error(err)
		}
	}
	return c.taken()
}

const undone = "DEL a eth0"

func TestGarbage(t *testing.T) {
	c := newGarbageHarness(t)
	c.add(t, "lives", "ended", "lost")
	c.sandboxes = map[string]bool{"lives": true, "ended": false}
	c.addresses = []string{"lives", "log-only"}
	if got := c.passes(t, 1); got != "" {
		t.Errorf("missing once: %s", got)
	}
	if got := c.passes(t, 1); got != undone+", "+undone {
		t.Errorf("missing twice: %q", got)
	}
	if len(c.released) != 3 || c.released[1] != "log-only" {
		t.Errorf("released %v", c.released)
	}
	c.sandboxes["lives"], c.addresses = false, nil
	if got := c.passes(t, 1); got != "" {
		t.Errorf("missing for the first time: %s", got)
	}
	c.sandboxes["lives"] = true
	c.passes(t, 1)
	c.sandboxes["lives"] = false
	if got := c.passes(t, 1); got != "" {
		t.Errorf("it was there meanwhile: %s", got)
	}
}

// Without a whole response nothing is undone, whatever was missing before.
func TestGarbageWithoutResponse(t *testing.T) {
	c := newGarbageHarness(t)
	c.add(t, "a")
	c.passes(t, 1)
	c.failing = errors.New("the runtime is not well")
	for range 3 {
		if err := c.Collect(t.Context()); !errors.Is(err, c.failing) || c.taken() != "" {
			t.Errorf("%v", err)
		}
	}
	c.failing = nil
	if got := c.passes(t, 1); got != undone {
		t.Errorf("the response is back, and it is missing twice: %q", got)
	}
}

// What is made while the runtime is asked is not in its response, and is spared.
func TestGarbageSparesTheYoung(t *testing.T) {
	c := newGarbageHarness(t)
	c.sandboxes = map[string]bool{}
	id := "a"
	c.asked = func() {
		c.add(t, id)
		id += "a"
	}
	for range 2 {
		if err := c.Collect(t.Context()); err != nil || c.taken() != "" {
			t.Errorf("undone: %v", err)
		}
	}
	if _, first := c.missed["a"]; len(c.missed) != 1 || !first {
		t.Errorf("missed are %v: only the first was there before a question", c.missed)
	}
}

// A runtime lists a sandbox only when it is done with it, which may be long after the ADD: it is not missed before its
// time. One that is listed, and has ended, is not waited for.
func TestGarbageWaitsForSandboxes(t *testing.T) {
	c := newGarbageHarness(t)
	c.add(t, "slow", "ended")
	c.Grace = time.Minute
	c.sandboxes = map[string]bool{"ended": false, "other": true}
	if got := c.passes(t, 2); got != undone {
		t.Errorf("the one that has ended: %q", got)
	}
	c.now = c.now.Add(time.Minute - time.Second)
	if got := c.passes(t, 1); got != "" {
		t.Errorf("undone while it may still be made: %q", got)
	}
	c.now = c.now.Add(time.Second)
	if got := c.passes(t, 1); got != undone {
		t.Errorf("missing for long: %q", got)
	}
}

// A container is spared as long as its ADD is at work, however long that takes.
func TestGarbageSparesAnAddAtWork(t *testing.T) {
	c := newGarbageHarness(t)
	c.sandboxes = map[string]bool{"other": true}
	begun, end := make(chan bool), make(chan bool)
	slow := c.harness.plugin("a", 1)
	add := slow.Add
	slow.Add = func(ctx context.Context, host plugins.Host, args *skel.CmdArgs) (*types100.Result, error) {
		begun <- true
		<-end
		return add(ctx, host, args)
	}
	c.harness.Builtin["a"] = slow
	added := make(chan error)
	go func() {
		_, err := c.ask("ADD", "slow", "web", "1.1.0")
		added <- err
	}()
	<-begun
	if got := c.passes(t, 3); got != "" {
		t.Errorf("undone: %s", got)
	}
	close(end)
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	if got := c.passes(t, 2); got != undone {
		t.Errorf("it is done, and missing twice: %q", got)
	}
}

// Pods whose processes live are kept though the runtime denies them, and a runtime that knows of nothing is not
// believed at all.
func TestGarbageSparesWhatLives(t *testing.T) {
	c := newGarbageHarness(t)
	c.add(t, "a", "b")
	c.inhabited = map[string]bool{"/var/run/netns/x": true}
	c.addresses = []string{"log-only"}
	if got := c.passes(t, 3); got != "" || len(c.released) > 0 {
		t.Errorf("an empty memory was believed: %q, released %v", got, c.released)
	}
	c.sandboxes = map[string]bool{"b": true}
	if got := c.passes(t, 1); got != "" || len(c.released) != 1 || c.released[0] != "log-only" {
		t.Errorf("%q, released %v", got, c.released)
	}
	c.inhabited, c.addresses = nil, nil
	if got := c.passes(t, 1); got != undone {
		t.Errorf("its processes have ended: %q", got)
	}
}

// What cannot be undone is tried again.
func TestGarbageTriesAgain(t *testing.T) {
	c := newGarbageHarness(t)
	c.add(t, "a")
	c.passes(t, 1)
	c.broken["DEL a"] = errors.New("no")
	for range 2 {
		if err := c.Collect(t.Context()); err == nil || c.taken() != undone {
			t.Errorf("%v", err)
		}
	}
	delete(c.broken, "DEL a")
	if got := c.passes(t, 1); got != undone {
		t.Error(got)
	}
	if got := c.passes(t, 2); got != "" {
		t.Errorf("undone again: %s", got)
	}
}
