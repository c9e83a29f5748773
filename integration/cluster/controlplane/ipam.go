package controlplane

import (
	"context"
	"os"
	"os/exec"
	"strconv"
)

// IPAMOptions are how one galaxy-ipam is run.
type IPAMOptions struct {
	// Name of the replica; "galaxy-ipam" if empty. One that was there before is started with the same arguments by
	// Start.
	Name string
	// Kubeconfig is the path of a file; empty for that of the admin, NoKubeconfig for none.
	Kubeconfig string
	// Etcd are the endpoints of the log; empty for Cluster.GalaxyEtcd, OwnEtcd for none: the arguments say how it runs
	// its own.
	Etcd string
	// TLS are the files with which it serves, and with which it wants clients to show certificates; nil for plain HTTP.
	TLS *TLSFiles
	// Args come after those of the cluster, and so win.
	Args []string
}

// NoKubeconfig runs galaxy-ipam without a cluster; OwnEtcd without an etcd of the cluster.
const (
	NoKubeconfig = "none"
	OwnEtcd      = "own"
)

// IPAM is one replica of galaxy-ipam, behind Cluster.Balancer while it is ready.
type IPAM struct {
	*Process
	// URL is where kube-scheduler's verbs are, below /v1; API is where REST, metrics and the health of the replica are.
	URL, API string
}

// ipamArgs are the flags that the cluster gives to galaxy-ipam. They are nowhere else.
func (b *Cluster) ipamArgs(o IPAMOptions, port, apiPort int) []string {
	args := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--api-port", strconv.Itoa(apiPort)}
	etcd := o.Etcd
	if etcd == "" {
		etcd = b.GalaxyEtcdURL
	}
	if etcd != OwnEtcd {
		args = append(args, "--etcd-endpoints", etcd)
	}
	if files := o.TLS; files != nil {
		args = append(args, "--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-client-ca", files.CA)
	}
	switch o.Kubeconfig {
	case NoKubeconfig:
	case "":
		args = append(args, "--kubeconfig", b.Kubeconfig(Admin))
	default:
		args = append(args, "--kubeconfig", o.Kubeconfig)
	}
	return append(args, o.Args...)
}

// StartIPAM runs a galaxy-ipam that was built from this tree, and waits until it is ready.
func (b *Cluster) StartIPAM(o IPAMOptions) *IPAM {
	b.t.Helper()
	i := b.NewIPAM(o)
	i.Start()
	return i
}

// NewIPAM makes a galaxy-ipam that is not started yet.
func (b *Cluster) NewIPAM(o IPAMOptions) *IPAM {
	b.t.Helper()
	if o.Name == "" {
		o.Name = "galaxy-ipam"
	}
	var port, apiPort int
	if err := takePorts(&port, &apiPort); err != nil {
		b.t.Fatal(err)
	}
	scheme, prober := "http://", b.prober
	if o.TLS != nil {
		ca, err := os.ReadFile(o.TLS.CA)
		if err != nil {
			b.t.Fatal(err)
		}
		scheme, prober = "https://", newProber(ca)
	}
	api := scheme + local(apiPort)
	ready := prober.ok(api+"/readyz", "")
	p := b.newProcess(o.Name, galaxy(b.t, "galaxy-ipam"), ready, b.ipamArgs(o, port, apiPort)...)
	p.orderly = true
	b.Balancer.Add(o.Name, local(port), ready)
	return &IPAM{Process: p, URL: scheme + local(port), API: api}
}

// Galaxyctl runs galaxyctl, built from this tree, and gives all that it prints.
func (b *Cluster) Galaxyctl(args ...string) (string, error) {
	b.t.Helper()
	return b.GalaxyctlContext(b.t.Context(), args...)
}

// GalaxyctlContext is Galaxyctl that ends with a context.
func (b *Cluster) GalaxyctlContext(ctx context.Context, args ...string) (string, error) {
	b.t.Helper()
	out, err := exec.CommandContext(ctx, galaxy(b.t, "galaxyctl"), args...).CombinedOutput()
	return string(out), err
}
