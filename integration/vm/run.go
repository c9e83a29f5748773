package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"galaxy/integration/debian"
)

// Guest is a compiled test to be run in the virtual machine.
type Guest struct {
	Binary  string            // the test, linked statically
	Folder  string            // in which the test runs, with its testdata; copied into the guest
	Files   map[string]string // more files, by their paths in the guest; executable there
	Args    []string          // such as -test.run
	Env     []string
	Timeout time.Duration
	Memory  int       // MiB; 1024 at least
	Output  io.Writer // what the guest says, as it says it
}

// Ended is how a guest has ended.
type Ended struct {
	Code   int
	Output string
	Boot   time.Duration // until the first program ran
	Took   time.Duration
}

// ErrGuest is a guest that did not run to its end: its kernel has panicked, or its time was up.
var ErrGuest = errors.New("the guest did not come to its end")

var exitCode = regexp.MustCompile(`GUEST exit code (\d+)`)

// Run boots an image and runs a test in it. A test that fails is no error; its exit code says so.
func (i Image) Run(ctx context.Context, g Guest) (Ended, error) {
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "galaxy-vm")
	if err != nil {
		return Ended{}, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is a copy
	initrd, err := i.with(ctx, g, dir)
	if err != nil {
		return Ended{}, err
	}
	start := time.Now()
	// Emulated throughout: hardware acceleration is not to be had in many virtual machines that tests run in.
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
		"-m", strconv.Itoa(max(g.Memory, 1024)), "-nographic",
		"-no-reboot", "-nic", "none", "-kernel", i.Kernel, "-initrd", initrd, "-append",
		"console=ttyS0 quiet panic=-1 mitigations=off")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Ended{}, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return Ended{}, fmt.Errorf("start the virtual machine: %w", err)
	}
	ended := listen(out, g.Output, start)
	waited := cmd.Wait()
	ended.Took = time.Since(start)
	found := exitCode.FindStringSubmatch(ended.Output)
	if found == nil {
		return ended, fmt.Errorf("%w after %s: %w", ErrGuest, ended.Took.Round(time.Second),
			errors.Join(ctx.Err(), waited))
	}
	ended.Code, err = strconv.Atoi(found[1])
	return ended, err
}

// listen collects what the guest says.
func listen(from io.Reader, to io.Writer, start time.Time) Ended {
	var e Ended
	var all strings.Builder
	in := bufio.NewScanner(from)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := strings.TrimRight(in.Text(), "\r")
		if e.Boot == 0 && strings.Contains(line, "GUEST begins") {
			e.Boot = time.Since(start)
		}
		all.WriteString(line + "\n")
		if to != nil {
			_, _ = fmt.Fprintln(to, line) // whoever reads it may be gone
		}
	}
	e.Output = all.String()
	return e
}

// with makes the first file system of a run: that of the image, and the test in an archive after it.
func (i Image) with(ctx context.Context, g Guest, dir string) (string, error) {
	work := filepath.Join(dir, "root", "guest")
	folder := filepath.Join(work, "folder")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	if _, err := debian.Run(ctx, "", "cp", g.Binary, filepath.Join(work, "test")); err != nil {
		return "", err
	}
	if data := filepath.Join(g.Folder, "testdata"); g.Folder != "" {
		if _, err := os.Stat(data); err == nil {
			if _, err := debian.Run(ctx, "", "cp", "-r", data, folder); err != nil {
				return "", err
			}
		}
	}
	for at, file := range g.Files {
		to := filepath.Join(dir, "root", at)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		if _, err := debian.Run(ctx, "", "install", "-m", "755", file, to); err != nil {
			return "", err
		}
	}
	command := "echo GUEST begins\n"
	for _, e := range g.Env {
		command += "export " + quoted(e) + "\n"
	}
	command += "exec /guest/test"
	for _, a := range g.Args {
		command += " " + quoted(a)
	}
	if err := os.WriteFile(filepath.Join(work, "command"), []byte(command+"\n"), 0o644); err != nil {
		return "", err
	}
	second := filepath.Join(dir, "second")
	if err := archive(ctx, filepath.Join(dir, "root"), second); err != nil {
		return "", err
	}
	both := filepath.Join(dir, "initrd")
	_, err := debian.Run(ctx, "", "sh", "-c",
		fmt.Sprintf("cat %s %s > %s", quoted(i.Initrd), quoted(second), quoted(both)))
	return both, err
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// Build compiles the tests of a package of this module for the guest.
func Build(ctx context.Context, pkg, to string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the tests of %s: %w\n%s", pkg, err, out)
	}
	return nil
}
