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
	"path/filepath"
	"strings"
	"testing"
	"time"

	"galaxy/cmd/internal/cli"
	"galaxy/eventlog/etcdlog/etcdtest"
)

const cluster = `
apiVersion: v1
kind: ConfigMap
metadata: {name: floatingip-config, namespace: kube-system}
data:
  floatingips: |
    [{"nodeSubnets":["10.10.0.0/16"],"subnet":"172.20.0.0/24","gateway":"172.20.0.1","ips":["172.20.0.10~172.20.0.40"]}]
---
apiVersion: v1
kind: Node
metadata: {name: n1, uid: n1}
status: {addresses: [{type: InternalIP, address: 10.10.0.5}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p1, namespace: ns, uid: u1}
spec: {containers: [{name: c, resources: {requests: {tke.cloud.tencent.com/eni-ip: "1"}}}]}
`

// process is galaxy-ipam in a goroutine.
type process struct {
	scheduler, rest string
	stop            func()
	ended           chan error
}

func freePort(t *testing.T) string {
	t.Helper()
	line, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close() //nolint:errcheck // it only found a port
	return fmt.Sprint(line.Addr().(*net.TCPAddr).Port)
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	scheduler, rest := freePort(t), freePort(t)
	ctx, stop := context.WithCancel(context.Background())
	p := &process{scheduler: "http://127.0.0.1:" + scheduler, rest: "http://127.0.0.1:" + rest, stop: stop,
		ended: make(chan error, 1)}
	cmd := newCommand()
	cmd.SetArgs(append(args, "--standalone", "--bind", "127.0.0.1", "--port", scheduler, "--api-port", rest,
		"--leader-elect-lease-duration", "2s"))
	go func() { p.ended <- cmd.ExecuteContext(ctx) }()
	t.Cleanup(stop)
	p.until(t, "/metrics", "galaxy_leading")
	return p
}

// until waits for a text in what REST answers.
func (p *process) until(t *testing.T, path, text string) {
	t.Helper()
	for range 1000 {
		select {
		case err := <-p.ended:
			t.Fatalf("galaxy-ipam ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
		if response, err := http.Get(p.rest + path); err == nil {
			body, err := io.ReadAll(response.Body)
			if err = errors.Join(err, response.Body.Close()); err == nil && strings.Contains(string(body), text) {
				return
			}
		}
	}
	t.Fatalf("%s never says %q", path, text)
}

func (p *process) bind(t *testing.T) string {
	t.Helper()
	response, err := http.Post(p.scheduler+"/v1/bind", "application/json",
		strings.NewReader(`{"PodName":"p1","PodNamespace":"ns","PodUID":"u1","Node":"n1"}`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func (p *process) end(t *testing.T) {
	t.Helper()
	p.stop()
	if err := <-p.ended; err != nil {
		t.Fatalf("galaxy-ipam ended with %v", err)
	}
}

func objectsFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTwoProcesses: one leads and one follows; when the first stops, the second decides.
func TestTwoProcesses(t *testing.T) {
	etcd := etcdtest.Start(t)
	objects := objectsFile(t, cluster)
	first := start(t, "--etcd-endpoints", etcd.Endpoint(), "--objects", objects)
	first.until(t, "/metrics", `galaxy_ip_counter{first_ip="172.20.0.10",subnet="172.20.0.0/24",type="total"} 31`)
	if response := first.bind(t); strings.TrimSpace(response) != `{"Error":""}` {
		t.Fatal("bind:", response)
	}
	second := start(t, "--etcd-endpoints", etcd.Endpoint(), "--objects", objects)
	second.until(t, "/v1/ip/172.20.0.10", `"state":"bound"`)
	if response := second.bind(t); strings.TrimSpace(response) != `{"Error":""}` { // it asks the leader
		t.Fatal("bind through a follower:", response)
	}
	first.end(t)
	second.until(t, "/metrics", "galaxy_leading 1")
	if response := second.bind(t); strings.TrimSpace(response) != `{"Error":""}` {
		t.Fatal("bind of the second:", response)
	}
	second.until(t, "/v1/log", `"head":2`) // the bind that was there already is no event
	second.end(t)
}

// TestObjectsChange: the file is read again; a bad one is refused and those before stay in force.
func TestObjectsChange(t *testing.T) {
	objects := objectsFile(t, cluster)
	p := start(t, "--embedded-etcd", filepath.Join(t.TempDir(), "etcd"), "--embedded-etcd-client-url",
		"http://127.0.0.1:0", "--objects", objects)
	p.until(t, "/v1/log", `"head":1`)
	if response := p.bind(t); strings.TrimSpace(response) != `{"Error":""}` {
		t.Fatal("bind:", response)
	}
	rewrite := func(text string) {
		t.Helper()
		if err := os.WriteFile(objects, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite("kind: [")
	p.until(t, "/metrics", `galaxy_reconcile_errors_total{kind="objects"} 1`)
	rewrite(strings.ReplaceAll(cluster, "172.20.0.40", "172.20.0.50"))
	p.until(t, "/metrics", `type="total"} 41`)
	rewrite(strings.ReplaceAll(cluster, "172.20.0.10~", "172.20.0.20~")) // drops an address in use: refused
	p.until(t, "/metrics", `galaxy_reconcile_errors_total{kind="command"}`)
	p.until(t, "/metrics", `type="total"} 41`)
	rewrite(cluster + "status: {phase: Succeeded}\n")
	p.until(t, "/v1/ip/172.20.0.10", `"state":"cooling"`)
	p.end(t)
}

// TestBadObjectsAreTold: what is refused of the objects stands in the page that people look at, until it is repaired.
func TestBadObjectsAreTold(t *testing.T) {
	good := cluster
	file := objectsFile(t, good)
	p := start(t, "--embedded-etcd", filepath.Join(t.TempDir(), "etcd"), "--embedded-etcd-client-url",
		"http://127.0.0.1:0", "--objects", file)
	p.until(t, "/v1/state", `"todo":[]`)
	for _, c := range []struct{ text, says string }{
		{strings.Replace(good, `"gateway":"`, `"gateway":"1`, 1), "the subnets in force stay: "},
		{good, `"todo":[]`},
		{"kind: [", "the objects of --objects are bad"},
		{good, `"todo":[]`},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.until(t, "/v1/state", c.says)
	}
	p.end(t)
}

// TestSubnetsOfTheConfigFile: they win over the ConfigMap.
func TestSubnetsOfTheConfigFile(t *testing.T) {
	config := filepath.Join(t.TempDir(), "galaxy-ipam.json")
	text := `{"schedule_plugin":{"floatingips":[{"nodeSubnets":["10.10.0.0/16"],"subnet":"172.30.0.0/24","gateway":"172.30.0.1","ips":["172.30.0.2"]}]}}`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "--embedded-etcd", filepath.Join(t.TempDir(), "etcd"), "--embedded-etcd-client-url",
		"http://127.0.0.1:0",
		"--objects", objectsFile(t, cluster), "--config", config)
	p.until(t, "/metrics", `galaxy_ip_counter{first_ip="172.30.0.2",subnet="172.30.0.0/24",type="total"} 1`)
	p.end(t)
}

func TestMisuse(t *testing.T) {
	bad := objectsFile(t,
		`{"schedule_plugin":{"floatingips":[{"nodeSubnets":["10.0.0.0/8"],"subnet":"x","gateway":"10.0.0.1","ips":[]}]}}`)
	for args, want := range map[string]struct {
		says string
		code int
	}{
		"":                                   {"--standalone", 2},
		"--bind 0.0.0.0":                     {"--insecure-ports", 2},
		"--bind 127.0.0.1":                   {"--standalone", 2},
		"--nonsense":                         {"unknown flag", 2},
		"--standalone extra":                 {"no arguments", 2},
		"--standalone --port 70000":          {"--port 70000", 2},
		"--standalone --log-format xml":      {"--log-format", 2},
		"--standalone --etcd-endpoints nope": {"the port is missing", 2},
		"--standalone --etcd-endpoints http://127.0.0.1:1": {"no etcd at http://127.0.0.1:1",
			1},
		"--standalone --leader-elect-lease-duration 1ms":                            {"want 2s to 10m", 2},
		"--standalone --config /no/such/file":                                       {"--config", 1},
		"--standalone --config " + bad:                                              {"floatingips[0].subnet", 1},
		"--standalone --kubeconfig x":                                               {"--kubeconfig", 2},
		"--objects x":                                                               {"--standalone", 2},
		"--standalone --claim-ttl 1ms":                                              {"--claim-ttl", 2},
		"--bind 127.0.0.1 --kubeconfig /not/there":                                  {"/not/there", 1},
		"--standalone --objects /no/such/file":                                      {"--objects", 1},
		"--standalone --embedded-etcd d --embedded-etcd-client-url unix:///x":       {"--embedded-etcd-client-url", 2},
		"--standalone --embedded-etcd d --embedded-etcd-members a=http://127.0.0.1": {"a=http://127.0.0.1: want", 2},
		"--standalone --embedded-etcd d --embedded-etcd-members a=http://127.0.0.1:1 --embedded-etcd-peer-url x": {"--embedded-etcd-peer-url", 2},
		"--standalone --insecure-ports --embedded-etcd d --embedded-etcd-members a=http://127.0.0.1:1 " +
			"--embedded-etcd-name b": {"--embedded-etcd-name", 2},
		"--standalone --embedded-etcd-members a=http://127.0.0.1:1":       {"needs --embedded-etcd DIR", 2},
		"--standalone --embedded-etcd /proc/nope":                         {"--embedded-etcd /proc/nope", 1},
		"--standalone --etcd-endpoints https://127.0.0.1:1 --etcd-cert x": {"go together", 2},
	} {
		cmd := newCommand()
		cmd.SetArgs(strings.Fields(args))
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		err := cmd.ExecuteContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), want.says) || cli.ExitCode(err) != want.code {
			t.Errorf("%q: exit code %d, %v; want %d and %q", args, cli.ExitCode(err), err, want.code, want.says)
		}
	}
}

// TestContractFlags: a command line of the contract is understood, underscores and all.
func TestContractFlags(t *testing.T) {
	var said bytes.Buffer
	cmd := newCommand()
	cmd.SetOut(&said)
	cmd.SetErr(io.Discard)
	cmd.SetArgs([]string{
		"--config=/etc/galaxy/galaxy-ipam.json", "--profiling", "--bind=0.0.0.0", "--port=9040", "--api_port=9041",
		"--master=", "--kubeconfig=",
		"--swagger", "--leader-elect=false", "--leader_elect_lease_duration=15s", "--leader-elect-renew-deadline=10s",
		"--leader-elect-retry-period=2s", "--leader-elect-resource-lock=endpointsleases", "--logtostderr=true", "--v=3",
		"--version",
	})
	if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(said.String(), "commit") {
		t.Fatalf("%v: %s", err, said.String())
	}
	for name, want := range map[string]string{
		"config": "/etc/galaxy/galaxy-ipam.json", "port": "9040", "api-port": "9041", "leader-elect": "true",
		"leader-elect-lease-duration": "15s",
	} {
		if f := newCommand().Flags().Lookup(name); f == nil || f.DefValue != want {
			t.Errorf("--%s is %+v, want the default %s", name, f, want)
		}
	}
}
