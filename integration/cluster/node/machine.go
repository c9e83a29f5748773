package node

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"galaxy/integration/cluster/controlplane"
)

// machine is a set of namespaces that looks like a machine. Its first process keeps it: when that one dies, the kernel
// kills all others, and the mounts and the network go with them.
type machine struct {
	t     testing.TB
	name  string
	root  string // folder of this machine on the disk
	logs  string
	first *exec.Cmd
	ended chan struct{}
	net   netns.NsHandle

	programs []*Program
}

// boot is what the first process does. What is written to /etc, /opt and /var lands in the folder of the machine, /run
// is empty, and the shell then takes in the processes that others have left.
const boot = `set -e
mount --make-rprivate /
mount -t proc proc /proc
for d in etc opt var; do
  mkdir -p "$ROOT/$d.upper" "$ROOT/$d.work"
  mount -t overlay overlay -o "lowerdir=/$d,upperdir=$ROOT/$d.upper,workdir=$ROOT/$d.work" "/$d"
done
for d in var/lib/kubelet var/lib/containerd var/log/pods; do
  mkdir -p "$ROOT/$d" "/$d"
  mount --bind "$ROOT/$d" "/$d"
done
mount -t tmpfs tmpfs /run
mount --make-rshared /
hostname "$NAME"
ip link set lo up
echo booted
while :; do sleep 3600 & wait; done
`

func newMachine(t testing.TB, name, root, logs string) (*machine, error) {
	m := &machine{t: t, name: name, root: root, logs: logs, ended: make(chan struct{}), net: netns.None()}
	if strings.ContainsAny(root, ":,") {
		return nil, fmt.Errorf("the folder %s has a character in its name that mount takes for its own", root)
	}
	m.first = exec.Command("sh", "-c", boot)
	m.first.Env = append(os.Environ(), "ROOT="+root, "NAME="+name)
	m.first.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL, Setpgid: true,
	}
	said, err := m.first.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var stderr strings.Builder
	m.first.Stderr = &stderr
	if err := controlplane.StartForGood(m.first); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	go func() {
		_ = m.first.Wait() // it is killed
		close(m.ended)
	}()
	if err != nil || line != "booted\n" {
		m.stop()
		return nil, fmt.Errorf("node %s does not boot: %s", name, stderr.String())
	}
	m.net, err = netns.GetFromPid(m.first.Process.Pid)
	return m, err
}

// stop kills all processes of the machine and waits for their end. What has ended by itself before fails the test.
func (m *machine) stop() {
	for _, p := range m.programs {
		if !p.wanted && p.over() {
			m.t.Errorf("%s of %s ended by itself", p.name, m.name)
		}
		p.wanted = true
	}
	_ = m.first.Process.Kill() // it may have ended
	<-m.ended
	for _, p := range m.programs {
		if p.cmd != nil {
			<-p.ended
		}
	}
}

func (m *machine) close() {
	m.stop()
	if m.net.IsOpen() {
		_ = m.net.Close() // it was only read from
	}
	if m.t.Failed() {
		m.report()
	}
}

// report shows the last words of all programs and of the agent.
func (m *machine) report() {
	// the pattern is a good one
	logs, _ := filepath.Glob(filepath.Join(m.root, "var/log/pods/kube-system_galaxy-*/*/*.log"))
	for _, p := range m.programs {
		logs = append(logs, p.log)
	}
	for _, log := range logs {
		text, _ := os.ReadFile(log) // what cannot be read is not shown
		m.t.Logf("=== %s: %s said last:\n%s", m.name, filepath.Base(log), text[max(0, len(text)-4000):])
	}
}

// enter brings this thread into the machine. What it starts then is a process of the machine; the thread must end
// after.
func (m *machine) enter() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // a thread that shares its folder cannot have other mounts
		return err
	}
	for _, kind := range []struct {
		name string
		flag int
	}{{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET}, {"pid", unix.CLONE_NEWPID},
		{"mnt", unix.CLONE_NEWNS}} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", m.first.Process.Pid, kind.name))
		if err != nil {
			return err
		}
		err = unix.Setns(int(f.Fd()), kind.flag)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("enter the %s namespace of %s: %w", kind.name, m.name, err)
		}
	}
	return nil
}

// run runs a command on the machine and gives what it prints.
func (m *machine) run(name string, args ...string) (string, error) {
	cmd := m.command(name, args...)
	var out []byte
	err := onThread(func() (err error) {
		if err := m.enter(); err != nil {
			return err
		}
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// command finds the runtime's programs in the folder that they were unpacked to.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	if own := filepath.Join(runtimeDir(), name); filepath.Base(name) == name && exists(own) {
		name = own
	}
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=" + runtimeDir() + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root"}
	cmd.Dir = "/"
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Program is a program of a node's machine, beside containers. Its methods end the test when they fail.
type Program struct {
	on    *machine
	name  string
	path  string
	args  []string
	log   string
	cmd   *exec.Cmd
	ended chan struct{}
	// wanted says that the test ended it.
	wanted bool
}

func (m *machine) program(name, path string, args ...string) *Program {
	p := &Program{on: m, name: name, path: path, args: args, log: filepath.Join(m.logs, m.name+"-"+name+".log")}
	m.programs = append(m.programs, p)
	return p
}

// Start runs the program.
func (p *Program) Start() {
	p.on.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.on.t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the program has its own descriptor
	cmd := p.on.command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	err = onThread(func() error {
		if err := p.on.enter(); err != nil {
			return err
		}
		return cmd.Start()
	})
	if err != nil {
		p.on.t.Fatalf("start %s on %s: %v", p.name, p.on.name, err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // whoever waits for the end looks at what it means
		close(ended)
	}()
	p.cmd, p.ended, p.wanted = cmd, ended, false
}

// Kill ends the program with SIGKILL.
func (p *Program) Kill() { p.end(syscall.SIGKILL) }

// Stop ends the program with SIGTERM.
func (p *Program) Stop() { p.end(syscall.SIGTERM) }

// over reports whether the program has run and ended.
func (p *Program) over() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *Program) end(s syscall.Signal) {
	p.on.t.Helper()
	p.wanted = true
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.on.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		p.on.t.Fatalf("%s of %s does not end after %v", p.name, p.on.name, s)
	}
}
