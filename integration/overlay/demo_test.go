package overlay

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// say prints a line of the story for `make demo-overlay`; in a test run nobody wants to hear it.
func say(format string, args ...any) {
	if os.Getenv("GALAXY_DEMO") != "" {
		fmt.Printf(format+"\n", args...)
	}
}

// show prints what a command has printed.
func show(text string) {
	for line := range strings.Lines(text) {
		say("      %s", strings.TrimRight(line, "\n"))
	}
}

// The story of the overlay: three nodes in network namespaces with real agents, on one etcd.
func TestDemo(t *testing.T) {
	needRoot(t)
	say("\nBuilding the programs; a minute or two the first time.")
	build(t)
	say("\n1. Three nodes, each with an agent; galaxy-ipam with an embedded etcd gives them subnets.")
	start := time.Now()
	l := newHarness(t, 3)
	l.converged(2, l.nodes...)
	out, err := l.galaxyctl("node", "list")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	say("   after %s:", time.Since(start).Round(10*time.Millisecond))
	show(out)

	say("\n2. A pod on each node, made by galaxy-sdn as a container runtime does it. They reach each other.")
	var pods []*pod
	for i, n := range l.nodes {
		start := time.Now()
		p := n.addPod(fmt.Sprintf("pod-%d", i))
		say("   %s on %s has %v, after %s", p.name, n.name, p.addresses, time.Since(start).Round(time.Millisecond))
		p.echo()
		pods = append(pods, p)
	}
	for _, to := range pods[1:] {
		for _, addr := range to.addresses {
			start := time.Now()
			seen := pods[0].reach(addr)
			say("   pod-0 -> %s (%s): answered after %s; it was seen as %s", to.name, addr,
				time.Since(start).Round(10*time.Microsecond), seen)
		}
	}
	say("   the routes of n0 that are ours (ip route show proto 71):")
	show(l.nodes[0].ip("route", "show", "proto", "71"))
	show(l.nodes[0].ip("-6", "route", "show", "proto", "71"))

	say("\n3. The agent of n0 is killed (SIGKILL) and started again, while pod-0 talks to pod-1.")
	s := talk(pods[0], pods[1])
	time.Sleep(300 * time.Millisecond)
	l.nodes[0].agent.kill()
	l.nodes[0].agent.start()
	l.converged(2, l.nodes[0])
	status, err := l.nodes[0].status()
	if err != nil {
		t.Fatal(err)
	}
	sent, lost := s.end()
	say("   %d datagrams sent, %d lost; the new agent wrote %d times to the kernel", sent, lost, status.Routes.Writes)
	if lost > 0 || status.Routes.Writes > 0 {
		t.Errorf("%d datagrams were lost, %d writes", lost, status.Routes.Writes)
	}

	say("\n4. Somebody deletes all routes of n0 by hand.")
	l.nodes[0].ip("route", "flush", "proto", "71")
	start = time.Now()
	eventually(t, "the routes are back", 5*time.Second, func() error {
		if n := strings.Count(l.nodes[0].ip("route", "show", "proto", "71"), "10.244."); n != 2 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	say("   they are back after %s", time.Since(start).Round(time.Millisecond))

	say("\n5. galaxy-ipam and etcd are killed. Pods come and go all the same; the nodes write that into files of " +
		"their own.")
	l.ipam.kill()
	extra := l.nodes[1].addPod("pod-3")
	extra.echo()
	pods[0].reach(extra.addresses[0])
	pods[2].remove()
	status, err = l.nodes[1].status()
	if err != nil {
		t.Fatal(err)
	}
	say("   pod-3 on n1 has %v; %d events of n1 wait for etcd", extra.addresses, status.Waiting)

	say("\n6. etcd is back, and gets what it missed.")
	l.ipam.start()
	eventually(t, "etcd has what it missed", 30*time.Second, func() error {
		for _, n := range l.nodes {
			if s, err := n.status(); err != nil || s.Waiting > 0 {
				return fmt.Errorf("%s: %d wait, %w", n.name, s.Waiting, err)
			}
		}
		return nil
	})
	for _, args := range [][]string{{"log", "show", "--stream", "nodes"}, {"log", "show", "--stream", "node-n1"},
		{"log", "verify"}} {
		say("   $ galaxyctl %s", strings.Join(args, " "))
		out, err := l.galaxyctl(args...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		show(out)
	}
}
