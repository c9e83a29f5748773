package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// stage is where the story plays: a temporary folder, the two programs, and their ports.
type stage struct {
	bin   string // the folder of galaxy-ipam and galaxyctl
	dir   string
	ports [3]int // scheduler, REST, etcd
	ipam  *exec.Cmd
	log   *os.File // what galaxy-ipam says
	pods  map[string][]byte
}

func newStage() (*stage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find my own folder: %w", err)
	}
	s := &stage{bin: filepath.Dir(self), pods: map[string][]byte{}}
	for _, name := range []string{"galaxy-ipam", "galaxyctl"} {
		if _, err := os.Stat(filepath.Join(s.bin, name)); err != nil {
			return nil, fmt.Errorf("%s has to be beside me: run make build: %w", name, err)
		}
	}
	if s.dir, err = os.MkdirTemp("", "galaxy-demo-"); err != nil {
		return nil, fmt.Errorf("temporary folder: %w", err)
	}
	for i := range s.ports {
		line, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("free port: %w", err)
		}
		s.ports[i] = line.Addr().(*net.TCPAddr).Port
		defer line.Close() //nolint:errcheck // it only kept the port for a moment
	}
	if s.log, err = os.Create(s.path("galaxy-ipam.log")); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) etcd() string { return fmt.Sprintf("http://127.0.0.1:%d", s.ports[2]) }

func (s *stage) rest() string { return fmt.Sprintf("http://127.0.0.1:%d", s.ports[1]) }

// close ends what still runs and removes the folder.
func (s *stage) close() {
	if s.ipam != nil {
		_ = s.kill() // it is the end in any case
	}
	_ = s.log.Close()
	_ = os.RemoveAll(s.dir)
}

// start runs galaxy-ipam and waits until it is ready.
func (s *stage) start(ctx context.Context) error {
	args := []string{
		"--standalone", "--embedded-etcd", s.path("etcd"), "--embedded-etcd-client-url", s.etcd(), "--objects",
		s.path("cluster.yaml"),
		"--bind", "127.0.0.1", "--port", fmt.Sprint(s.ports[0]), "--api-port", fmt.Sprint(s.ports[1]),
		"--leader-elect-lease-duration", "2s",
	}
	say("$ galaxy-ipam --standalone --embedded-etcd ./etcd --objects cluster.yaml")
	began := time.Now()
	s.ipam = exec.Command(filepath.Join(s.bin, "galaxy-ipam"), args...)
	s.ipam.Stdout, s.ipam.Stderr = s.log, s.log
	if err := s.ipam.Start(); err != nil {
		return fmt.Errorf("start galaxy-ipam: %w", err)
	}
	for !s.ready(ctx) {
		if ctx.Err() != nil {
			return errors.Join(errors.New("galaxy-ipam does not become ready; what it says follows"), s.said())
		}
		time.Sleep(20 * time.Millisecond)
	}
	say("  ready after %.1f s", time.Since(began).Seconds())
	return nil
}

// ready reports whether galaxy-ipam leads and has its subnets.
func (s *stage) ready(ctx context.Context) bool {
	state, err := s.get(ctx, s.rest()+"/metrics")
	return err == nil && strings.Contains(state, "galaxy_leading 1") && strings.Contains(state, "galaxy_ip_counter{")
}

func (s *stage) said() error {
	text, err := os.ReadFile(s.log.Name())
	return errors.Join(err, errors.New(string(text)))
}

// kill is SIGKILL: no chance to write anything down.
func (s *stage) kill() error {
	if err := s.ipam.Process.Kill(); err != nil {
		return fmt.Errorf("kill galaxy-ipam: %w", err)
	}
	_ = s.ipam.Wait() // it says "killed"
	s.ipam = nil
	return nil
}

func (s *stage) get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	return body(http.DefaultClient.Do(request))
}

// ask sends a recorded request of kube-scheduler.
func (s *stage) ask(ctx context.Context, verb string, request []byte) (string, error) {
	url := fmt.Sprintf("http://127.0.0.1:%d/v1/%s", s.ports[0], verb)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(request))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	return body(http.DefaultClient.Do(r))
}

func body(response *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(response.Body)
	err = errors.Join(err, response.Body.Close())
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return string(text), err
}

// ctl runs galaxyctl and shows what it prints.
func (s *stage) ctl(ctx context.Context, args ...string) (string, error) {
	say("$ galaxyctl %s", strings.ReplaceAll(strings.Join(args, " "), s.dir+"/", ""))
	text, err := s.quietly(ctx, args...)
	for line := range strings.Lines(text) {
		say("  %s", strings.TrimRight(line, "\n"))
	}
	return text, err
}

func (s *stage) quietly(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "galaxyctl"),
		append(args, "--etcd-endpoints", s.etcd(), "--server", s.rest())...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return string(text), fmt.Errorf("galaxyctl %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return string(text), nil
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
