package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fake is the edge: a runtime that answers what a test says.
type fake struct {
	cri.UnimplementedRuntimeServiceServer
	mu         sync.Mutex
	sandboxes  []*cri.PodSandbox
	containers []*cri.Container
	broken     error // of the containers
}

func (f *fake) ListPodSandbox(context.Context, *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &cri.ListPodSandboxResponse{Items: f.sandboxes}, nil
}

func (f *fake) ListContainers(context.Context, *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &cri.ListContainersResponse{Containers: f.containers}, f.broken
}

// listen serves a fake at a socket, until the test ends or stop is called.
func (f *fake) listen(t *testing.T, path string) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, f)
	go func() { _ = server.Serve(listener) }() // it ends with stop
	t.Cleanup(server.Stop)
	return server.Stop
}

func open(t *testing.T, socket string) *Runtime {
	t.Helper()
	r, err := Open(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // nothing is left to say
	return r
}

func TestSandboxes(t *testing.T) {
	const ready, ended = cri.PodSandboxState_SANDBOX_READY, cri.PodSandboxState_SANDBOX_NOTREADY
	f := &fake{
		sandboxes: []*cri.PodSandbox{{Id: "a", State: ready}, {Id: "b", State: ended}, {Id: "c", State: ended},
			{Id: "d", State: ended}, {Id: "e", State: ended}},
		containers: []*cri.Container{
			{PodSandboxId: "b", State: cri.ContainerState_CONTAINER_EXITED},
			{PodSandboxId: "c", State: cri.ContainerState_CONTAINER_RUNNING},
			{PodSandboxId: "d", State: cri.ContainerState_CONTAINER_CREATED},
			{PodSandboxId: "e", State: cri.ContainerState_CONTAINER_UNKNOWN},
		},
	}
	path := filepath.Join(t.TempDir(), "cri.sock")
	f.listen(t, path)
	for _, socket := range []string{path, "unix://" + path, "unix:" + path} {
		alive, err := open(t, socket).Sandboxes(t.Context())
		if want := map[string]bool{"a": true, "b": false, "c": true, "d": true, "e": true}; err != nil ||
			!maps.Equal(alive, want) {
			t.Errorf("%s: %v, %v, want %v", socket, alive, err, want)
		}
	}
	f.mu.Lock()
	f.broken = errors.New("the runtime is not well")
	f.mu.Unlock()
	if alive, err := open(t, path).Sandboxes(t.Context()); err == nil {
		t.Errorf("half a response was taken for a whole one: %v", alive)
	}
}

// A runtime may be away, and come back; more containers than gRPC takes by itself are no trouble.
func TestRuntimeComesAndGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cri.sock")
	r := open(t, path)
	if alive, err := r.Sandboxes(t.Context()); err == nil {
		t.Errorf("nobody is there: %v", alive)
	}
	f := &fake{}
	for i := range 20_000 {
		f.sandboxes = append(f.sandboxes, &cri.PodSandbox{Id: fmt.Sprintf("%0300d", i)})
	}
	stop := f.listen(t, path)
	var alive map[string]bool
	var err error
	for t.Context().Err() == nil { // it is dialled again after a pause
		if alive, err = r.Sandboxes(t.Context()); err == nil {
			break
		}
	}
	if len(alive) != len(f.sandboxes) {
		t.Errorf("%d sandboxes, %v", len(alive), err)
	}
	stop()
	if alive, err := r.Sandboxes(t.Context()); err == nil {
		t.Errorf("it has gone: %v", alive)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, socket := range []string{"", "tcp://127.0.0.1:1", "run/cri.sock", "unix://run/cri.sock", "http:///x"} {
		if _, err := Open(socket); err == nil {
			t.Errorf("%q was taken", socket)
		}
	}
}

// sleeping is a process, in a network namespace of its own or in that of the test.
func sleeping(t *testing.T, apart bool) (path string) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if apart {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	if err := cmd.Start(); err != nil {
		if os.Getenv("CI") == "" && errors.Is(err, os.ErrPermission) {
			t.Skipf("SKIPPED: a network namespace cannot be made: %v; run as root", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
}

// Processes live in a pod's namespace; what leads to the host's own is no pod's any more.
func TestInhabited(t *testing.T) {
	pod, reused := sleeping(t, true), sleeping(t, false)
	const mine, nowhere = "/proc/self/ns/net", "/var/run/netns/there-is-none"
	file := filepath.Join(t.TempDir(), "left") // as a mount point is without its mount
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	// What the state of one container says must not hide the others.
	inhabited, err := Inhabited([]string{mine, nowhere, file, loop, file + "/below", "no\x00path", pod, reused})
	if want := map[string]bool{pod: true}; err != nil || !maps.Equal(inhabited, want) {
		t.Errorf("%v, %v", inhabited, err)
	}
}
