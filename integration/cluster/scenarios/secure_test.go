package scenarios

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"galaxy/integration/cluster/bed"
)

// selfContained lets the replicas form an etcd of their own, and gives them a certificate.
func selfContained(t *testing.T) func(*world, []*bed.IPAMOptions) {
	return func(w *world, replicas []*bed.IPAMOptions) {
		dir := t.TempDir()
		var members, clients []string
		for _, o := range replicas {
			members = append(members, o.Name+"=http://"+w.FreeAddress())
			clients = append(clients, "http://"+w.FreeAddress())
		}
		files := w.Certificate("galaxy-ipam") // one for all, as they would have it from one Secret
		for i, o := range replicas {
			_, peer, _ := strings.Cut(members[i], "=")
			o.TLS, o.Etcd = &files, bed.OwnEtcd
			o.Args = append(o.Args,
				"--embedded-etcd", filepath.Join(dir, o.Name), "--embedded-etcd-name", o.Name, "--embedded-etcd-client-url", clients[i],
				"--embedded-etcd-peer-url", peer, "--embedded-etcd-members", strings.Join(members, ","), "--tls-peer-ca", files.CA)
		}
		w.etcd = []string{"--etcd-endpoints", strings.Join(clients, ",")}
		w.http = w.HTTPClient(w.Certificate("administrator"))
	}
}

// Three galaxy-ipam need no other etcd, and speak with nobody who shows no certificate: the scheduler shows its own, and each
// replica its own to the others. One of them, the leader, is killed and comes back.
func TestSelfContained(t *testing.T) {
	w := newWorld(t, settings{
		options: bed.Options{Extender: &bed.Extender{Accounted: true, TLS: true}}, nodes: [3]int{10, 10, 0}, replicas: 3, each: selfContained(t),
	})
	web := bed.NewDeployment("default", "web", 20, bed.WithAddress(), immutable())
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
	stranger := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: w.HTTPClient(w.Certificate("stranger")).Transport.(*http.Transport).TLSClientConfig.Clone()}}
	stranger.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
	for _, url := range []string{first.API + "/v1/ip", first.URL + "/v1/filter"} {
		if err := answers(stranger, url); err == nil {
			t.Errorf("%s answers somebody who shows no certificate", url)
		}
	}
	if err := answers(stranger, first.API+"/healthz"); err != nil {
		t.Errorf("a health check shows no certificate: %v", err)
	}
}

// answers reports whether a server answers anything but a refusal.
func answers(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only its status is of interest
	if response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden {
		return fmt.Errorf("%s says %s", url, response.Status)
	}
	return nil
}
