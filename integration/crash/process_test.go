// Package crash kills the real program while it works, and compares the responses that its callers got with what the
// log says.
package crash

import (
	"cmp"
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
	"syscall"
	"testing"
	"time"
)

// process is galaxy-ipam with an etcd inside, run as its users run it.
type process struct {
	t           *testing.T
	binary, dir string
	scheduler   string // URLs
	rest, etcd  string
	ports       [2]string
	cmd         *exec.Cmd
	log         *os.File
	client      *http.Client
	lease       string // how long a dead leader is waited for; 2s if ""
}

const cluster = `
apiVersion: v1
kind: ConfigMap
metadata: {name: floatingip-config, namespace: kube-system}
data:
  floatingips: |
    [{"nodeSubnets":["10.10.0.0/16"],"subnet":"172.16.0.0/16","gateway":"172.16.0.1","ips":["172.16.0.2~172.16.255.254"]},
     {"nodeSubnets":["10.11.0.0/16"],"subnet":"fd00:7::/64","gateway":"fd00:7::1","ips":["fd00:7::2~fd00:7::ffff:ffff"]}]
---
{apiVersion: v1, kind: Node, metadata: {name: n0, uid: n0}, status: {addresses: [{type: InternalIP, address: 10.10.0.5}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1, uid: n1}, status: {addresses: [{type: InternalIP, address: 10.11.0.5}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: ns}, spec: {replicas: 100000}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, namespace: ns}, spec: {replicas: 100000}}
`

func newProcess(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, dir: t.TempDir(), client: &http.Client{
		Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
	p.binary = filepath.Join(p.dir, "galaxy-ipam")
	if out, err := exec.Command("go", "build", "-o", p.binary, "galaxy/cmd/galaxy-ipam").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if err := os.WriteFile(p.path("cluster.yaml"), []byte(cluster), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.log, err = os.Create(p.path("log")); err != nil {
		t.Fatal(err)
	}
	p.ports = [2]string{freePort(t), freePort(t)}
	p.scheduler, p.rest = "http://127.0.0.1:"+p.ports[0], "http://127.0.0.1:"+p.ports[1]
	p.etcd = "http://127.0.0.1:" + freePort(t)
	t.Cleanup(func() {
		if p.cmd != nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if t.Failed() {
			text, _ := os.ReadFile(p.path("log"))
			t.Logf("galaxy-ipam says:\n%s", tail(string(text), 6000))
		}
	})
	return p
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

func (p *process) path(name string) string { return filepath.Join(p.dir, name) }

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it only found a port
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// start runs the program and waits until it leads.
func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.binary, "--standalone", "--embedded-etcd", p.path("etcd"), "--embedded-etcd-client-url",
		p.etcd,
		"--objects", p.path("cluster.yaml"), "--bind", "127.0.0.1", "--port", p.ports[0], "--api-port", p.ports[1],
		"--leader-elect-lease-duration", cmp.Or(p.lease, "2s"), "--snapshot-every", "500")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if text, err := p.get(context.Background(), "/metrics"); err == nil &&
			strings.Contains(text, "galaxy_leading 1") && strings.Contains(text, "galaxy_ip_counter{") {
			return
		}
	}
	p.t.Fatal("galaxy-ipam does not come to lead")
}

func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait() // it says "killed"
}

// terminate is SIGTERM: the program must end by itself, soon and with exit code 0.
func (p *process) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			p.t.Fatalf("after SIGTERM: %v", err)
		}
		p.cmd = nil
	case <-time.After(30 * time.Second):
		p.t.Fatal("galaxy-ipam does not end after SIGTERM")
	}
}

func (p *process) get(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.rest+path, nil)
	if err != nil {
		return "", err
	}
	return p.send(request)
}

func (p *process) post(ctx context.Context, url, body string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	return p.send(request)
}

func (p *process) send(request *http.Request) (string, error) {
	response, err := p.client.Do(request)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err == nil && response.StatusCode >= 500 {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return string(text), err
}
