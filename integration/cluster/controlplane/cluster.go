// Package controlplane runs a real Kubernetes control plane for a test: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, kwok for as many nodes as one likes, a second etcd for the log of galaxy, and any number of
// galaxy-ipam behind a balancer. All of it listens on 127.0.0.1 only, needs no rights, and ends with the test. A test
// can kill any of it and start it again.
package controlplane

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// LogsVariable names the directory in which logs are kept after the test; without it they go with the test.
const LogsVariable = "GALAXY_CLUSTER_LOGS"

// Options are what a test may want of its cluster. The zero value is a plain cluster.
type Options struct {
	// Extender lets kube-scheduler ask an extender; nil leaves it alone.
	Extender *Extender
	// EditScheduler has the last word on the KubeSchedulerConfiguration.
	EditScheduler func(config map[string]any)
	// NodeGrace is how long a silent node stays Ready; 0 for the default of Kubernetes. Nodes report four times as
	// often.
	NodeGrace time.Duration
	// Eviction is how long pods stay on a node that is not ready or not reachable; 0 for the default of 5 minutes.
	Eviction time.Duration
	// AuditPolicy is the YAML of an audit policy; with it, kube-apiserver writes Cluster.AuditLog.
	AuditPolicy string
	// PodStart is how long a pod takes to run once it is bound, 0 for at once. Kubelets have machines of their own;
	// kwok has not.
	PodStart time.Duration
	// ServerAddresses are good for the servers' certificate, beside 127.0.0.1: at which they are reached through
	// something else.
	ServerAddresses []net.IP
	// Arguments after those of the cluster, by the name of the program, as in Process.Name; of two, the last counts.
	Arguments map[string][]string
}

// Cluster is a cluster. The methods end the test when they fail, and so belong in the test's own goroutine.
type Cluster struct {
	// Processes of the cluster, in the order in which they start. GalaxyEtcd is for the log of galaxy and nothing else.
	Etcd, GalaxyEtcd, APIServer, ControllerManager, Scheduler, Kwok *Process
	// Balancer stands before all galaxy-ipam, like a Service. The extender of Options is there unless it has a URL.
	Balancer *Balancer

	// Client, Dynamic and RESTConfig have all rights, and no limit on the rate of requests.
	Client     kubernetes.Interface
	Dynamic    dynamic.Interface
	RESTConfig *rest.Config
	// APIServerURL is https, with a certificate of an authority of the cluster's own.
	APIServerURL string
	// GalaxyEtcdURL is where the etcd for the log of galaxy listens.
	GalaxyEtcdURL string
	// AuditLog is a file with JSON lines, empty without Options.AuditPolicy.
	AuditLog string

	t         testing.TB
	options   Options
	dir, logs string
	pki       *pki
	tokens    map[string]string // by user
	prober    *prober
	processes []*Process
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	etcdURL   string
}

// Start starts a cluster for a test and waits until pods can be created in it.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	needCluster(t)
	b := &Cluster{t: t, options: o, dir: t.TempDir()}
	t.Cleanup(b.end)
	start := time.Now()
	if err := b.prepare(); err != nil {
		t.Fatalf("prepare the cluster: %v", err)
	}
	b.together(b.Etcd, b.GalaxyEtcd)
	b.APIServer.Start()
	b.together(b.ControllerManager, b.Scheduler, b.Kwok)
	b.waitServiceAccount("default")
	t.Logf("the cluster runs after %s", time.Since(start).Round(10*time.Millisecond))
	return b
}

// prepare writes all files and makes all processes, and starts none.
func (b *Cluster) prepare() error {
	var err error
	if err = b.makeLogs(); err != nil {
		return err
	}
	if b.pki, err = newPKI(b.dir, b.options.ServerAddresses); err != nil {
		return err
	}
	b.prober = newProber(b.pki.ca)
	for _, add := range []func() error{
		b.addEtcds, b.addAPIServer, b.makeClients, b.addControllerManager, b.addBalancer, b.addScheduler, b.addKwok,
	} {
		if err := add(); err != nil {
			return err
		}
	}
	return nil
}

// makeLogs makes the directory for logs, which outlives the test when somebody asks for it.
func (b *Cluster) makeLogs() error {
	b.logs = filepath.Join(b.dir, "logs")
	if keep := os.Getenv(LogsVariable); keep != "" {
		b.logs = filepath.Join(keep, strings.ReplaceAll(b.t.Name(), "/", "_"))
	}
	return os.MkdirAll(b.logs, 0o755)
}

// together starts several processes at once: each waits for others most of the time.
func (b *Cluster) together(processes ...*Process) {
	b.t.Helper()
	for _, p := range processes {
		p.Launch()
	}
	for _, p := range processes {
		p.WaitReady()
	}
}

// end kills everything, and shows the last words of each process if the test has failed.
func (b *Cluster) end() {
	if b.Balancer != nil {
		b.Balancer.Close()
	}
	var group sync.WaitGroup
	for _, p := range b.processes {
		group.Go(p.finish)
	}
	group.Wait()
	if !b.t.Failed() {
		return
	}
	for _, p := range b.processes {
		b.t.Logf("=== %s said last:\n%s", p.name, tail(p.log, 4000))
	}
}

// Logs is the directory with what all programs of the cluster say, for programs that the test adds.
func (b *Cluster) Logs() string { return b.logs }

// path is a file in the directory of the cluster.
func (b *Cluster) path(name string) string { return filepath.Join(b.dir, name) }

// addProgram adds a program of the cluster, with the test's arguments after the cluster's.
func (b *Cluster) addProgram(name, program string, ready readiness, args []string) *Process {
	return b.newProcess(name, filepath.Join(built.cluster, program), ready,
		append(args, b.options.Arguments[name]...)...)
}

// takePorts fills in free ports.
func takePorts(to ...*int) error {
	for _, port := range to {
		var err error
		if *port, err = freePort(); err != nil {
			return fmt.Errorf("ports: %w", err)
		}
	}
	return nil
}
