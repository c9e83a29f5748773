package overlay

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// turnClock turns the clock of this machine, which must be a virtual one that nobody else lives on.
func turnClock(t *testing.T, by time.Duration) {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
	to := unix.NsecToTimespec(now.Nano() + by.Nanoseconds())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &to); err != nil {
		t.Fatal(err)
	}
}

// Agents and galaxy-ipam whose clock jumps two days forward, and back again, lose no route, no node and no address, and
// go on giving addresses. The times in the log never run backwards.
func TestClockJumps(t *testing.T) {
	if os.Getenv("GALAXY_VM") == "" {
		t.Skip("this test turns the clock of its machine: integration/vm runs it in one of its own")
	}
	l := newHarness(t, 0)
	slow := []string{"--lease-ttl", "10s"} // an emulated machine takes its time
	a, b := l.addNode("n0", 0, slow...), l.addNode("n1", 1, slow...)
	l.converged(1, a, b)
	pa, pb := a.addPod("pa"), b.addPod("pb")
	pb.echo()
	pa.reach(pb.addresses[0])
	talk := talk(pa, pb)
	for i, by := range []time.Duration{48 * time.Hour, -48 * time.Hour} {
		turnClock(t, by)
		for end := 0; end < 40; end++ { // longer than a lease, by a clock that nobody turns
			time.Sleep(300 * time.Millisecond)
			for _, n := range []*node{a, b} {
				s, err := n.status()
				if err != nil || s.Ready != "" || s.Routes.Routes != 2 || len(s.Differs) > 0 {
					t.Fatalf("%s after a jump of %s: %v, %+v", n.name, by, err, s)
				}
			}
		}
		p := a.addPod(fmt.Sprintf("late%d", i))
		p.echo()
		pb.reach(p.addresses[0])
		p.remove()
	}
	if _, lost := talk.end(); lost > 0 {
		t.Errorf("%d datagrams were lost", lost)
	}
	l.converged(1, a, b)
	pa.remove()
	pb.remove()
	l.verified()
	for _, stream := range []string{"nodes", "node-n0", "node-n1"} {
		out, err := l.galaxyctl("log", "show", "--stream", stream, "-o", "json")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var last time.Time
		for _, e := range eventsIn(t, out) {
			if e.Time.Before(last) {
				t.Errorf("stream %s: %s is at %s, after an event at %s", stream, e.Type, e.Time, last)
			}
			last = e.Time
			if e.Type == "NodeLost" {
				t.Errorf("stream %s: a node was taken for lost", stream)
			}
		}
	}
}
