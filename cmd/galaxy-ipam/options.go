package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"galaxy/allocator"
	"galaxy/cmd/internal/apiserver"
	"galaxy/cmd/internal/cli"
	"galaxy/cmd/internal/etcdclient"
	"galaxy/cmd/internal/localhost"
	"galaxy/eventlog/etcdlog/embedded"
	"galaxy/extender/httpserver"
	"galaxy/migrations/galaxy"
	"galaxy/reconciler/proofs"
)

// options are the flags: those of the contract (its section 1.5), and our own.
type options struct {
	config  string
	bind    string
	port    int
	apiPort int

	leaderElect   bool
	leaseDuration time.Duration

	etcd              etcdclient.Flags
	embeddedDir       string
	embeddedClientURL string
	embeddedName      string
	embeddedPeerURL   string
	embeddedMembers   map[string]string
	embeddedTLS       embedded.TLSFiles

	objects string

	api             apiserver.Optional
	kubeQPS         float32
	advertise       string
	claimTTL        time.Duration
	keyLifetime     time.Duration
	publishCapacity bool
	authorizeWrites bool
	authorizeReads  bool
	insecurePorts   bool
	mirrorQPS       float32
	poolNamespaces  []string
	formerObjects   string
	tls             httpserver.TLSFiles

	reuseDelay    time.Duration
	reuseStrict   bool
	poolShare     int
	forceConfig   bool
	snapshotEvery uint64

	clientNames []string

	logging cli.Logging
}

const help = `galaxy-ipam gives floating addresses to pods. kube-scheduler asks it, as an extender,
which nodes may run a pod and binds pods through it; people and galaxyctl ask it over REST who has which
address. Every decision is an event in an append-only log in etcd: it comes back after a crash with all it
knew.

In a cluster it runs as several replicas, of which one leads; deploy/ has all that they need:

  galaxy-ipam --etcd-endpoints https://10.0.0.5:2379 --etcd-ca ca.pem --etcd-cert me.pem --etcd-key me.key

Without Kubernetes, on an etcd of its own:

  galaxy-ipam --standalone --embedded-etcd /var/lib/galaxy --objects cluster.yaml

The subnets come from "schedule_plugin.floatingips" in --config, or from the ConfigMap kube-system/floatingip-config.
SIGTERM and SIGINT end it after the requests in hand, with exit code 0.`

func newCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{Use: "galaxy-ipam", Short: "Scheduler extender and allocator of floating addresses",
		Long: help}
	return cli.Daemon(cmd, o, func(ctx context.Context) error { return run(ctx, o) })
}

// Add defines the flags.
func (o *options) Add(flags *pflag.FlagSet) {
	flags.StringVar(&o.config, "config", defaultConfig,
		"JSON file with schedule_plugin settings; the default may be missing")
	flags.StringVar(&o.bind, "bind", "", "address to listen on; default all of this host's with --tls-client-ca or "+
		"--insecure-ports, else 127.0.0.1 alone")
	flags.IntVar(&o.port, "port", 9040, "port for kube-scheduler; 0 takes a free one")
	flags.IntVar(&o.apiPort, "api-port", 9041, "port for REST, OpenAPI and metrics; 0 takes a free one")
	flags.BoolVar(&o.leaderElect, "leader-elect", true,
		"decide only as the elected leader; without it, two processes on one etcd only cost each other work")
	flags.DurationVar(&o.leaseDuration, "leader-elect-lease-duration", 15*time.Second,
		"how long a leader that has died is waited for")

	o.etcd.Add(flags)
	o.addEmbedded(flags)
	o.addCluster(flags)
	o.addSecurity(flags)
	o.addRules(flags)
	o.logging.Add(flags)
	o.addIgnored(flags)
}

// addEmbedded defines the flags of the etcd inside this process.
func (o *options) addEmbedded(flags *pflag.FlagSet) {
	flags.StringVar(&o.embeddedDir, "embedded-etcd", "",
		"run an etcd inside this process, with its data in this directory")
	flags.StringVar(&o.embeddedClientURL, "embedded-etcd-client-url", embedded.DefaultClientURL,
		"where the embedded etcd listens")
	flags.StringToStringVar(&o.embeddedMembers, "embedded-etcd-members", nil,
		"all members of an etcd that several galaxy-ipam form together, as name=peer URL,...; without it, the "+
			"embedded etcd is alone")
	flags.StringVar(&o.embeddedName, "embedded-etcd-name", "", "name of this member; default the name of this host")
	flags.StringVar(&o.embeddedPeerURL, "embedded-etcd-peer-url", "http://0.0.0.0:2380",
		"where this member listens for the others")
	flags.StringVar(&o.embeddedTLS.Cert, "embedded-etcd-peer-cert", "",
		"file with this member's certificate, for https between members")
	flags.StringVar(&o.embeddedTLS.Key, "embedded-etcd-peer-key", "", "file with the key of that certificate")
	flags.StringVar(&o.embeddedTLS.CA, "embedded-etcd-peer-ca", "",
		"file with the certificates that those of other members are checked against: of an authority of their own, "+
			"as whoever has a certificate of it is a member")
}

// addCluster defines what is read from Kubernetes and written to it.
func (o *options) addCluster(flags *pflag.FlagSet) {
	o.api.Add(flags, "run without Kubernetes")
	flags.Float32Var(&o.kubeQPS, "kube-api-qps", 1000, "requests a second to the API server")
	flags.Float32Var(&o.mirrorQPS, "mirror-qps", 25,
		"FloatingIP and Pool objects written a second: they only show the log, and must not slow the scheduling of "+
			"pods down")
	flags.StringSliceVar(&o.poolNamespaces, "pool-namespaces", []string{"kube-system"},
		"namespaces in which Pool objects count: whoever may create them there takes addresses from all; a pool of "+
			"one name in two of them is that of kube-system, then of the oldest")
	flags.StringVar(&o.formerObjects, "former-objects", string(galaxy.Wait),
		"what becomes of FloatingIP objects that a former system has left, on a log that knows nothing of them: wait "+
			"until galaxyctl migrate says it, import them, or discard them")
	flags.StringVar(&o.advertise, "advertise-address", "",
		"address at which the other replicas reach this one; default $POD_IP, else --bind, else the first address of "+
			"this host")
	flags.BoolVar(&o.publishCapacity, "publish-capacity", true,
		"show on Node objects how many pods with addresses may run there; not when a cloud provider does that")
	flags.StringVar(&o.objects, "objects", "",
		"file with Kubernetes objects (Node, Pod, Deployment, StatefulSet, Pool, ConfigMap; YAML or JSON) that "+
			"stands in for the API server; read again when it changes")
}

// addSecurity defines who may ask, and what replicas and clients show each other.
func (o *options) addSecurity(flags *pflag.FlagSet) {
	flags.BoolVar(&o.authorizeWrites, "authorize-writes", true,
		"ask the API server whether the bearer of a REST request's token may write galaxy.k8s.io objects; not with "+
			"--standalone")
	flags.BoolVar(&o.authorizeReads, "authorize-reads", false,
		"the same for reads (get and list), but for health checks and /openapi.json; /metrics is asked about as a "+
			"nonResourceURL. Then the REST port wants no client certificates")
	flags.BoolVar(&o.insecurePorts, "insecure-ports", false,
		"listen beyond this host without --tls-client-ca: whoever reaches the ports may then bind pods, and tokens "+
			"may be read on their way")
	flags.StringVar(&o.tls.Cert, "tls-cert", "",
		"file with the certificate of both ports; without it they speak plain HTTP")
	flags.StringVar(&o.tls.Key, "tls-key", "", "file with the key of that certificate")
	flags.StringVar(&o.tls.ClientCA, "tls-client-ca", "",
		"file with the certificates of those who sign clients: then both ports want a client certificate, but for "+
			"health checks; galaxyctl certs makes all of them")
	flags.StringSliceVar(&o.clientNames, "tls-client-names", nil,
		"with --tls-client-ca: the names (common name or DNS name) of whom a client certificate may be, as "+
			"system:kube-scheduler; the name of this replica's own certificate is let in, too; default all that are "+
			"signed")
	flags.StringVar(&o.tls.PeerCA, "tls-peer-ca", "",
		"file with the certificates of those who sign the other replicas; default --tls-client-ca, else whom the "+
			"system trusts")
}

// addRules defines how addresses are given out.
func (o *options) addRules(flags *pflag.FlagSet) {
	flags.DurationVar(&o.keyLifetime, "proof-key-lifetime", proofs.DefaultKeyLifetime,
		"how long a key signs the addresses of pods before another takes its place; what it has signed stays proven")
	flags.DurationVar(&o.claimTTL, "claim-ttl", time.Minute,
		"how long what filter has claimed for a pod waits for its bind")
	flags.DurationVar(&o.reuseDelay, "reuse-delay", allocator.DefaultReuseDelay,
		"how long a released address rests before it is given out again")
	flags.BoolVar(&o.reuseStrict, "reuse-delay-strict", false,
		"rather refuse a pod than give out an address within the reuse delay")
	flags.IntVar(&o.poolShare, "preallocate-share", 90,
		"percent of a subnet's addresses that may be held when a pool reserves addresses in advance (preAllocateIP); "+
			"the rest is left for pods")
	flags.BoolVar(&o.forceConfig, "force-config", false,
		"when new subnets drop addresses that are held, drain those instead of refusing the change")
	flags.Uint64Var(&o.snapshotEvery, "snapshot-every", 100_000,
		"save a snapshot of the state after this many events; 0 for none")
}

// addIgnored takes the flags of the contract that have no meaning here, so that its command lines go on working.
func (o *options) addIgnored(flags *pflag.FlagSet) {
	for _, name := range []string{"profiling", "swagger", "logtostderr", "alsologtostderr"} {
		flags.Bool(name, false, "")
		cli.Deprecate(flags, name, "it has no effect; OpenAPI is always at /openapi.json, and the log goes to "+
			"standard error")
	}
	for _, name := range []string{"log-dir", "log-file", "stderrthreshold", "vmodule", "log-backtrace-at"} {
		flags.String(name, "", "")
		cli.Deprecate(flags, name, "it has no effect; the log goes to standard error")
	}
	for _, name := range []string{"leader-elect-renew-deadline", "leader-elect-retry-period"} {
		flags.Duration(name, 0, "")
		cli.Deprecate(flags, name, "it has no effect; the leader is elected on an etcd lease, see "+
			"--leader-elect-lease-duration")
	}
	flags.String("leader-elect-resource-lock", "", "")
	cli.Deprecate(flags, "leader-elect-resource-lock", "it has no effect; the leader is elected on an etcd lease")
}

// loopback is true if only this host reaches the ports.
func (o *options) loopback() bool { return localhost.Is(o.bind) }

// complete fills in what follows from other flags.
func (o *options) complete() {
	switch {
	case o.bind != "":
	case o.tls.ClientCA != "" || o.insecurePorts:
		o.bind = "0.0.0.0"
	default:
		o.bind = "127.0.0.1"
	}
}

// exposed is true if others than this host reach the ports, and need no certificate.
func (o *options) exposed() bool { return o.tls.ClientCA == "" && !o.loopback() }

// Check completes the options, and refuses what makes no sense.
func (o *options) Check() error {
	o.complete()
	switch {
	case o.authorizeReads && (o.api.Standalone || !o.authorizeWrites):
		return cli.Usage("--authorize-reads asks the API server: leave out --standalone and --authorize-writes=false")
	case !o.api.Standalone && o.objects != "":
		return cli.Usage("--objects stands in for the API server: add --standalone, or leave it out")
	case o.tls.Cert == "" && o.tls != httpserver.TLSFiles{}, o.tls.Cert != "" && o.tls.Key == "":
		return cli.Usage("TLS needs both --tls-cert and --tls-key")
	case len(o.clientNames) > 0 && o.tls.ClientCA == "":
		return cli.Usage("--tls-client-names needs --tls-client-ca")
	case o.keyLifetime < time.Minute:
		return cli.Usage("--proof-key-lifetime %s: want at least 1m", o.keyLifetime)
	case o.claimTTL < 2*time.Second || o.claimTTL > time.Hour:
		return cli.Usage("--claim-ttl %s: want 2s to 1h", o.claimTTL)
	case !slices.Contains(galaxy.Choices(), galaxy.Choice(o.formerObjects)):
		return cli.Usage("--former-objects %q: want wait, import or discard", o.formerObjects)
	case o.poolShare < 1 || o.poolShare > 100:
		return cli.Usage("--preallocate-share %d: want 1 to 100", o.poolShare)
	case o.kubeQPS <= 0 || o.mirrorQPS <= 0:
		return cli.Usage("--kube-api-qps %g, --mirror-qps %g: want numbers above 0", o.kubeQPS, o.mirrorQPS)
	case o.port < 0 || o.port > 65535 || o.apiPort < 0 || o.apiPort > 65535:
		return cli.Usage("--port %d, --api-port %d: want 0 to 65535", o.port, o.apiPort)
	case o.leaseDuration < 2*time.Second || o.leaseDuration > 10*time.Minute:
		return cli.Usage("--leader-elect-lease-duration %s: want 2s to 10m", o.leaseDuration)
	case o.exposed() && !o.insecurePorts && !o.api.Standalone:
		// without a cluster there are no pods to bind, and the address was named
		return cli.Usage("whoever reaches the ports at %s could bind pods: give --tls-cert, --tls-key and "+
			"--tls-client-ca (galaxyctl certs makes them), or listen with --bind 127.0.0.1, or say --insecure-ports",
			o.bind)
	}
	return cmp.Or(o.api.Check(), o.etcd.Check(), o.logging.Check(), o.checkEmbedded())
}
