package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandboxes is a container runtime that answers what the test says.
type sandboxes struct {
	cri.UnimplementedRuntimeServiceServer
	mu     sync.Mutex
	alive  []string
	broken error
	lists  int
	asked  func(list int) // while it is asked; may be nil
}

// runtime begins to answer at a socket.
func (l *harness) runtime(socket string) *sandboxes {
	l.t.Helper()
	s := &sandboxes{}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		l.t.Fatal(err)
	}
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, s)
	go func() { _ = server.Serve(listener) }() // it ends with the test
	l.t.Cleanup(server.Stop)
	return s
}

func (s *sandboxes) ListPodSandbox(context.Context, *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	s.mu.Lock()
	s.lists++
	list, asked, response, err := s.lists, s.asked, &cri.ListPodSandboxResponse{}, s.broken
	for _, id := range s.alive {
		response.Items = append(response.Items, &cri.PodSandbox{Id: id})
	}
	s.mu.Unlock()
	if asked != nil {
		asked(list)
	}
	return response, err
}

// say has it answer with the sandboxes of some pods from now on, or with an error, and waits until it was asked three
// times.
func (s *sandboxes) say(t *testing.T, broken error, pods ...*pod) {
	t.Helper()
	s.mu.Lock()
	s.alive, s.broken = nil, broken
	for _, p := range pods {
		s.alive = append(s.alive, p.container)
	}
	from := s.lists
	s.mu.Unlock()
	eventually(t, "the runtime is asked", 20*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lists < from+4 {
			return fmt.Errorf("%d times", s.lists-from)
		}
		return nil
	})
}

// What containers have left that the runtime has lost goes back into the log; nothing else does, whatever becomes of
// the runtime.
func TestGarbageOfTheRuntime(t *testing.T) {
	l := newHarness(t, 0)
	socket := filepath.Join(l.dir, "cri.sock")
	n := l.addNode("n0", 0, "--cri-socket", "unix://"+socket, "--gc-interval", "200ms", "--gc-grace", "0s")
	l.converged(0, n)
	start := time.Now()
	held := func(pods int, when string) {
		t.Helper()
		t.Logf("%s: after %s", when, time.Since(start).Round(time.Millisecond))
		if s, err := n.status(); err != nil || s.Held != 2*pods {
			t.Errorf("%s: %d addresses are held, want %d; %v", when, s.Held, 2*pods, err)
		}
	}
	a, b, c := n.addPod("a"), n.addPod("b"), n.addPod("c")
	time.Sleep(time.Second)
	held(3, "the runtime cannot be reached")
	runtime := l.runtime(socket)
	runtime.say(t, errors.New("the runtime is not well"))
	held(3, "the runtime answers errors")
	runtime.say(t, nil, a, b, c)
	held(3, "the runtime has all")
	process := exec.Command("sleep", "60")
	a.start(process)
	t.Cleanup(func() { _ = process.Process.Kill(); _ = process.Wait() }) // it is only to be there
	runtime.say(t, nil)
	held(3, "the runtime has lost its memory, and a process lives")
	a.echo()
	n.reach(a.addresses[0])

	runtime.say(t, nil, a, b)
	eventually(t, "what the lost sandbox had is back", 5*time.Second, func() error {
		return errors.Join(l.released("n0", c, "containerGone"),
			l.released("n0", c, "the runtime did not have its sandbox in two passes"))
	})
	held(2, "one sandbox is lost")
	if _, err := os.Stat(filepath.Join(n.state, "cni", c.container)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state of the lost sandbox: %v", err)
	}
	n.agent.kill()
	if err := os.Remove(filepath.Join(n.state, "cni", b.container)); err != nil {
		t.Fatal(err)
	}
	n.agent.start()
	l.converged(0, n)
	runtime.say(t, nil, a)
	eventually(t, "what was lost while the agent was away, and its state with it, is back", 10*time.Second,
		func() error {
			return l.released("n0", b, "containerGone")
		})
	held(1, "the agent was away")
	if seen := n.reach(a.addresses[1]); !seen.IsValid() {
		t.Error("the pod that lives does not answer")
	}
	l.verified()
}

// released says whether all addresses of a pod are back in the log, for a reason if one is given.
func (l *harness) released(node string, p *pod, reason string) error {
	l.t.Helper()
	out, err := l.galaxyctl("log", "show", "--stream", "node-"+node)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	found := 0
	for line := range strings.Lines(out) {
		for _, addr := range p.addresses {
			if strings.Contains(line, "AddressReleased") && strings.Contains(line, addr.String()) &&
				strings.Contains(line, reason) {
				found++
			}
		}
	}
	if found != len(p.addresses) {
		return fmt.Errorf("%d of %v are released in\n%s", found, p.addresses, out)
	}
	return nil
}

// A pod that is made while the runtime is asked, and whose sandbox the next response does not have yet, keeps what it
// has.
func TestGarbageSparesTheYoung(t *testing.T) {
	l := newHarness(t, 0)
	socket := filepath.Join(l.dir, "cri.sock")
	runtime := l.runtime(socket)
	n := l.addNode("n0", 0, "--cri-socket", socket, "--gc-interval", "200ms", "--gc-grace", "0s")
	l.converged(0, n)
	old := n.addPod("old")
	var young *pod
	made := make(chan bool)
	runtime.mu.Lock()
	first := runtime.lists + 1
	runtime.alive = []string{old.container}
	runtime.asked = func(list int) {
		switch list {
		case first: // the response is on its way, without the pod
			<-made
		case first + 1: // nor is the pod in this one, which is made when the question comes
			runtime.mu.Lock()
			runtime.alive = []string{old.container, young.container}
			runtime.mu.Unlock()
		}
	}
	runtime.mu.Unlock()
	eventually(t, "the runtime is asked", 5*time.Second, func() error {
		runtime.mu.Lock()
		defer runtime.mu.Unlock()
		if runtime.lists < first {
			return errors.New("not yet")
		}
		return nil
	})
	young = n.addPod("young")
	close(made)
	runtime.say(t, nil, old, young)
	if s, err := n.status(); err != nil || s.Held != 4 {
		t.Errorf("%d addresses are held: %v", s.Held, err)
	}
	young.echo()
	n.reach(young.addresses[0])
}
