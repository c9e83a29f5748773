package overlay

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// churn makes and removes pods as a runtime does: a failed ADD is undone by a DEL, which is repeated until it succeeds,
// and another sandbox takes its place. Now and then the runtime forgets a sandbox. It returns the pod that lives at the
// end, if any.
func churn(n *node, worker, rounds int, runtime *sandboxes) (alive *pod) {
	del := func(p *pod) {
		for {
			if _, err := n.cni("DEL", p.container, p.name, p.path()); err == nil {
				return
			}
		}
	}
	for round := range rounds {
		name := fmt.Sprintf("churn-%d-%d", worker, round)
		p := &pod{namespace: newNamespace(n.t, name), on: n, container: "container-of-" + name}
		response, err := n.cni("ADD", p.container, name, p.path())
		if err != nil {
			del(p)
			continue
		}
		p.addresses = addressesIn(response)
		runtime.add(p)
		if round == rounds-1 && worker%2 == 0 {
			return p
		}
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		runtime.forget(p)
		if rand.IntN(4) > 0 {
			del(p)
		}
	}
	return nil
}

func (s *sandboxes) add(p *pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive = append(s.alive, p.container)
}

func (s *sandboxes) forget(p *pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive = slices.DeleteFunc(s.alive, func(id string) bool { return id == p.container })
}

// While pods come and go, the agent is killed again and again. At the end each pod that lives has its addresses, in the
// log and in the kernel, and nothing else has any: no address, no link, no file.
func TestKillsDuringChurn(t *testing.T) {
	l := newHarness(t, 0)
	socket := filepath.Join(l.dir, "cri.sock")
	runtime := l.runtime(socket)
	// longer than a sandbox takes to start
	n := l.addNode("n0", 0, "--cri-socket", socket, "--gc-interval", "1s", "--gc-grace", "10s")
	l.converged(0, n)
	const workers, rounds = 4, 5
	pods := make([]*pod, workers)
	var group sync.WaitGroup
	done := make(chan bool)
	for w := range workers {
		group.Go(func() { pods[w] = churn(n, w, rounds, runtime) })
	}
	go func() {
		group.Wait()
		close(done)
	}()
	kills := 0
	for working := true; working; {
		select {
		case <-done:
			working = false
		case <-time.After(time.Duration(200+rand.IntN(600)) * time.Millisecond):
			n.agent.kill()
			n.agent.start()
			kills++
		}
	}
	t.Logf("the agent was killed %d times", kills)
	l.converged(0, n)
	var want []netip.Addr
	alive := 0
	for _, p := range pods {
		if p != nil {
			want = append(want, p.addresses...)
			alive++
		}
	}
	eventually(t, "only the pods that live hold addresses", time.Minute, func() error {
		s, err := n.status()
		if err == nil && s.Held != len(want) {
			err = fmt.Errorf("%d addresses are held, want %d", s.Held, len(want))
		}
		return err
	})
	for _, p := range pods {
		if p == nil {
			continue
		}
		if response, err := n.cni("CHECK", p.container, p.name, p.path()); err != nil {
			t.Errorf("CHECK of %s: %v: %s", p.name, err, response)
		}
		p.echo()
		n.reach(p.addresses[0])
	}
	// A DEL is answered before the kernel has deleted the links; what an agent was killed over, the next one deletes
	// within some seconds.
	eventually(t, "only the pods that live have links and states", 30*time.Second, func() error {
		links := n.ip("-o", "link")
		if got := strings.Count(links, ": v-h"); got != alive {
			return fmt.Errorf("%d pods live, and there are\n%s", alive, links)
		}
		if states, err := filepath.Glob(filepath.Join(n.state, "cni", "*")); err != nil || len(states) != alive {
			return fmt.Errorf("%d pods live, and the states are %v: %w", alive, states, err)
		}
		return nil
	})
	l.verified()
	out, err := l.galaxyctl("log", "show", "--stream", "node-n0", "-o", "json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if held := heldIn(t, out); !slices.Equal(held, sorted(want)) {
		t.Errorf("the log says that %v are held, want %v", held, sorted(want))
	}
}
