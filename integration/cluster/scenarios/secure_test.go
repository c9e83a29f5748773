package scenarios

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"galaxy/integration/cluster/controlplane"
)

// certificates is a folder that galaxyctl certs has made.
type certificates string

func newCertificates(t *testing.T) certificates {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	if out, err := exec.Command(controlplane.Galaxy(t, "galaxyctl"), "certs", "make",
		dir).CombinedOutput(); err != nil {
		t.Fatalf("galaxyctl certs: %v: %s", err, out)
	}
	return certificates(dir)
}

func (c certificates) file(name string) string { return filepath.Join(string(c), name) }

// mounted is the folder as the pods of deploy/ and the hosts of kube-scheduler have it.
func (c certificates) mounted() *strings.Replacer {
	return strings.NewReplacer(
		"/etc/galaxy-tls/tls.", c.file("ipam."), "/etc/galaxy-tls/ca.crt", c.file("ca.crt"),
		"/etc/galaxy-members/tls.", c.file("members."), "/etc/galaxy-members/ca.crt", c.file("members-ca.crt"),
		"/etc/kubernetes/galaxy", string(c))
}

var secureArgument = regexp.MustCompile(`(?m)^ *- (--(?:tls-|authorize-|embedded-etcd-peer-(?:cert|key|ca)).*)$`)

// shipped are the flags of deploy/embedded that keep strangers out.
func (c certificates) shipped(w *harness) (args []string) {
	for _, found := range secureArgument.FindAllStringSubmatch(w.Kustomize("embedded"), -1) {
		args = append(args, c.mounted().Replace(found[1]))
	}
	if len(args) != 8 {
		w.t.Fatalf("deploy/embedded: %q", args)
	}
	return args
}

// scheduler has kube-scheduler ask as deploy/scheduler says.
func (c certificates) scheduler(t *testing.T) func(map[string]any) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "scheduler", "kube-scheduler-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var shipped struct{ Extenders []map[string]any }
	if err := yaml.Unmarshal([]byte(c.mounted().Replace(string(text))), &shipped); err != nil {
		t.Fatal(err)
	}
	return func(config map[string]any) {
		extender := config["extenders"].([]any)[0].(map[string]any)
		extender["urlPrefix"] = strings.Replace(extender["urlPrefix"].(string), "http://", "https://", 1)
		for _, key := range []string{"enableHTTPS", "tlsConfig"} {
			extender[key] = shipped.Extenders[0][key]
		}
	}
}

// bearer is a client that trusts galaxy-ipam, and shows a token and no certificate.
type bearer struct {
	token string
	http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if b.token != "" {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.RoundTripper.RoundTrip(r)
}

func (c certificates) client(t *testing.T, token string, shows ...tls.Certificate) *http.Client {
	t.Helper()
	text, err := os.ReadFile(c.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &http.Client{Timeout: 10 * time.Second,
		Transport: bearer{token, &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: pool, Certificates: shows, MinVersion: tls.VersionTLS12,
		}}}}
}

// selfContained lets the replicas form an etcd of their own, with the flags of deploy/embedded.
func (c certificates) selfContained(t *testing.T) func(*harness, []*controlplane.IPAMOptions) {
	return func(w *harness, replicas []*controlplane.IPAMOptions) {
		dir := t.TempDir()
		var members, clients []string
		for _, o := range replicas {
			members = append(members, o.Name+"=https://"+w.FreeAddress())
			clients = append(clients, "http://"+w.FreeAddress())
		}
		for i, o := range replicas {
			_, peer, _ := strings.Cut(members[i], "=")
			o.TLS, o.Etcd = &controlplane.TLSFiles{Cert: c.file("ipam.crt"), Key: c.file("ipam.key"),
				CA: c.file("ca.crt")}, controlplane.OwnEtcd
			o.Args = append(append(o.Args,
				"--embedded-etcd", filepath.Join(dir, o.Name), "--embedded-etcd-name", o.Name,
				"--embedded-etcd-client-url", clients[i],
				"--embedded-etcd-peer-url", peer, "--embedded-etcd-members", strings.Join(members, ",")),
				c.shipped(w)...)
		}
		w.etcd = []string{"--etcd-endpoints", strings.Join(clients, ",")}
		w.http = c.client(t, w.RESTConfig.BearerToken)
	}
}

// Three galaxy-ipam need no other etcd, and speak with nobody whom the certificates that galaxyctl makes do not name,
// with the flags and the scheduler's configuration of deploy/. One of them, the leader, is killed and comes back.
func TestSelfContained(t *testing.T) {
	files := newCertificates(t)
	w := newHarness(t, settings{
		options: controlplane.Options{Extender: &controlplane.Extender{Accounted: true},
			EditScheduler: files.scheduler(t)}, nodes: [3]int{10, 10, 0}, replicas: 3,
		each: files.selfContained(t),
	})
	secrets, err := os.ReadFile(files.file("secrets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.Apply(string(secrets))
	web := controlplane.NewDeployment("default", "web", 20, controlplane.WithAddress(), immutable())
	w.Create(web)
	w.running("default", "web", 20)
	w.waitHeld("web", 20)
	w.agree()

	first := w.leader()
	first.Kill()
	w.Scale(web, 40)
	w.running("default", "web", 40)
	first.Start()
	w.Scale(web, 30)
	w.running("default", "web", 30)
	w.waitHeld("web", 30)
	w.agree()

	passed := 0.0
	for _, ipam := range w.ipams {
		passed += w.metric(ipam, "galaxy_forwarded_requests_total")
	}
	if passed == 0 {
		t.Error("the scheduler is spread over three replicas, and none has passed a bind to the leader")
	}
	files.strangers(t, w, first)
}

// strangers are kept out, and who is known may do what is theirs.
func (c certificates) strangers(t *testing.T, w *harness, ipam *controlplane.IPAM) {
	w.Apply(manifests(t, "readers.yaml"))
	for account, role := range map[string]string{"nobody": "", "viewer": "galaxy-viewer", "editor": "galaxy-editor"} {
		w.Apply(fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: default}", account))
		if role != "" {
			w.Apply(fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: "+
				"{name: %s}\n"+
				"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %s}\nsubjects: [{kind: "+
				"ServiceAccount, name: %s, namespace: default}]", account, role, account))
		}
	}
	pair := func(name string) tls.Certificate {
		p, err := tls.LoadX509KeyPair(c.file(name+".crt"), c.file(name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	none, scheduler, replica := c.client(t, ""), c.client(t, "", pair("scheduler")), c.client(t, "", pair("ipam"))
	members := c.client(t, "", pair("members"))
	nobody, viewer, editor := c.client(t, w.token("default", "nobody")), c.client(t, w.token("default", "viewer")),
		c.client(t, w.token("default", "editor"))
	reserve, pods := `{"poolName":"p"}`,
		`{"Nodes":{"items":[]},"Pod":{"metadata":{"name":"a","namespace":"default","uid":"u"}}}`
	for _, q := range []struct {
		who               string
		client            *http.Client
		method, url, body string
		status            int
	}{
		{"nobody", none, "POST", ipam.URL + "/v1/filter", pods, 401},
		{"nobody", none, "POST", ipam.URL + "/v1/bind", "{}", 401},
		{"the editor", editor, "POST", ipam.URL + "/v1/filter", pods, 401},
		{"a member of etcd", members, "POST", ipam.URL + "/v1/filter", pods, 401},
		{"the scheduler", scheduler, "POST", ipam.URL + "/v1/filter", pods, 200},
		{"a replica", replica, "POST", ipam.URL + "/v1/filter", pods, 200},
		{"nobody", none, "GET", ipam.URL + "/readyz", "", 200},
		{"nobody", none, "GET", ipam.API + "/readyz", "", 200},
		{"nobody", none, "GET", ipam.API + "/v1/ip", "", 401},
		{"the scheduler", scheduler, "GET", ipam.API + "/v1/ip", "", 401},
		{"who has no role", nobody, "GET", ipam.API + "/v1/ip", "", 403},
		{"who has no role", nobody, "GET", ipam.API + "/metrics", "", 403},
		{"the viewer", viewer, "GET", ipam.API + "/v1/ip", "", 200},
		{"the viewer", viewer, "GET", ipam.API + "/v1/state", "", 200},
		{"the viewer", viewer, "GET", ipam.API + "/metrics", "", 200},
		{"the viewer", viewer, "PUT", ipam.API + "/v1/ip/10.20.7.250", reserve, 403},
		{"the editor", editor, "PUT", ipam.API + "/v1/ip/10.20.7.250", reserve, 200},
	} {
		request, err := http.NewRequestWithContext(t.Context(), q.method, q.url, bytes.NewReader([]byte(q.body)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		status, text := 0, ""
		if response, err := q.client.Do(request); err == nil {
			body, _ := io.ReadAll(response.Body)
			response.Body.Close() //nolint:errcheck // it was read
			status, text = response.StatusCode, string(body)
		}
		if status != q.status {
			t.Errorf("%s, %s %s: %d %.200s, want %d", q.who, q.method, q.url, status, text, q.status)
		}
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(w.token("default", "viewer")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := w.Galaxyctl("status", "--server", ipam.API, "--server-ca", c.file("ca.crt"), "--token-file",
		token); err != nil || !strings.Contains(out, "REPLICA") {
		t.Errorf("galaxyctl status: %v: %s", err, out)
	}
}
