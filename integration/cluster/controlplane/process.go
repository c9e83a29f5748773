package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one program of the cluster, which a test can stop, kill, freeze and start again. Its methods end the test
// when they fail, and so belong in the test's own goroutine. It listens on the same ports in every life.
type Process struct {
	t     testing.TB
	name  string
	path  string
	args  []string
	log   string
	ready readiness
	// wait is for how long it may take to get ready or to stop.
	wait time.Duration
	// orderly says that it must exit with code 0 after SIGTERM.
	orderly bool

	mu      sync.Mutex
	current *life // nil before the first start
}

// life is one run of a program.
type life struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed after err is set
	err    error
	wanted bool // the test ended it
}

// newProcess adds a program to the cluster; it ends with the test at the latest.
func (b *Cluster) newProcess(name, path string, ready readiness, args ...string) *Process {
	p := &Process{t: b.t, name: name, path: path, args: args, log: filepath.Join(b.logs, name+".log"), ready: ready,
		wait: time.Minute}
	b.processes = append(b.processes, p)
	return p
}

// Name is the name of the program, as in its log file.
func (p *Process) Name() string { return p.name }

// LogPath is the file with all that the program has said, in all its lives.
func (p *Process) LogPath() string { return p.log }

// Args are the arguments of the program, for a look or for a change before the next Start.
func (p *Process) Args() *[]string { return &p.args }

// Start runs the program and waits until it is ready.
func (p *Process) Start() {
	p.t.Helper()
	p.Launch()
	p.WaitReady()
}

// Launch runs the program and does not wait.
func (p *Process) Launch() {
	p.t.Helper()
	if err := p.launch(); err != nil {
		p.t.Fatal(err)
	}
}

// WaitReady waits until the program is ready.
func (p *Process) WaitReady() {
	p.t.Helper()
	if err := p.waitReady(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// Running reports whether the program runs.
func (p *Process) Running() bool { return p.running() != nil }

// Stop ends the program with SIGTERM and waits for its end.
func (p *Process) Stop() {
	p.t.Helper()
	l := p.signal(syscall.SIGTERM)
	p.send(l, syscall.SIGCONT) // a paused program would not see it
	select {
	case <-l.ended:
	case <-time.After(p.wait):
		p.Kill()
		p.t.Fatalf("%s does not end %s after SIGTERM", p.name, p.wait)
	}
	if p.orderly && l.err != nil {
		p.t.Errorf("%s after SIGTERM: %v, want exit code 0", p.name, l.err)
	}
}

// Kill ends the program with SIGKILL.
func (p *Process) Kill() {
	p.t.Helper()
	<-p.signal(syscall.SIGKILL).ended
}

// Restart stops the program and starts it again.
func (p *Process) Restart() {
	p.t.Helper()
	p.Stop()
	p.Start()
}

// Pause freezes the program: its connections stay, and nothing answers.
func (p *Process) Pause() {
	p.t.Helper()
	p.send(p.mustRun(), syscall.SIGSTOP)
}

// Continue lets a paused program go on.
func (p *Process) Continue() {
	p.t.Helper()
	p.send(p.mustRun(), syscall.SIGCONT)
}

// WaitExit waits until the program ends by itself, and gives its error, which is nil for exit code 0. Without it, a
// program that ends by itself fails the test.
func (p *Process) WaitExit(wait time.Duration) error {
	p.t.Helper()
	p.mu.Lock()
	l := p.current
	p.mu.Unlock()
	if l == nil {
		p.t.Fatalf("%s was never started", p.name)
	}
	select {
	case <-l.ended:
	case <-time.After(wait):
		p.t.Fatalf("%s still runs after %s", p.name, wait)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.wanted = true
	return l.err
}

func (p *Process) launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && !p.current.over() {
		return fmt.Errorf("start %s: it runs already", p.name)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer log.Close() //nolint:errcheck // the program has its own descriptor
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own keeps Ctrl-C from it, which the test answers by ending it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := StartForGood(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	l := &life{cmd: cmd, ended: make(chan struct{})}
	p.current = l
	go func() {
		l.err = cmd.Wait()
		close(l.ended)
	}()
	return nil
}

func (p *Process) waitReady(ctx context.Context) error {
	l := p.running()
	if l == nil {
		return fmt.Errorf("%s does not run", p.name)
	}
	ctx, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-l.ended:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.name, l.err, tail(p.log, 2000))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: %w", p.name, p.wait, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// running is the life of a program that runs, or nil.
func (p *Process) running() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil || p.current.over() {
		return nil
	}
	return p.current
}

func (p *Process) mustRun() *life {
	p.t.Helper()
	l := p.running()
	if l == nil {
		p.t.Fatalf("%s does not run", p.name)
	}
	return l
}

// signal sends a signal that ends the program.
func (p *Process) signal(s syscall.Signal) *life {
	p.t.Helper()
	l := p.mustRun()
	p.mu.Lock()
	l.wanted = true
	p.mu.Unlock()
	p.send(l, s)
	return l
}

func (p *Process) send(l *life, s syscall.Signal) {
	p.t.Helper()
	if err := l.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("%v to %s: %v", s, p.name, err)
	}
}

// finish ends the program at the end of the test, and fails the test if it had ended by itself.
func (p *Process) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.current
	if l == nil {
		return
	}
	if l.over() {
		if !l.wanted {
			p.t.Errorf("%s ended by itself: %v", p.name, l.err)
		}
		return
	}
	_ = l.cmd.Process.Kill() // it may end at this very moment
	<-l.ended
}

func (l *life) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// The kernel sends the signal for a parent's death when the thread that has started the child ends, and the Go runtime
// may end any thread but one that is locked to a goroutine. So all children are started on one such thread, which never
// ends.
var (
	starts     = make(chan func())
	startsOnce sync.Once
)

// StartForGood starts a program so that it may ask the kernel for a signal when this process dies
// (SysProcAttr.Pdeathsig).
func StartForGood(cmd *exec.Cmd) error {
	startsOnce.Do(func() {
		go func() {
			runtime.LockOSThread()
			for start := range starts {
				start()
			}
		}()
	})
	started := make(chan error, 1)
	starts <- func() { started <- cmd.Start() }
	return <-started
}

// tail is the end of a file, for people.
func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-n):])
}
