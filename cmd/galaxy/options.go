package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"galaxy/allocator"
	"galaxy/cmd/internal/apiserver"
	"galaxy/cmd/internal/cli"
	"galaxy/cmd/internal/etcdclient"
	"galaxy/ipam"
	"galaxy/kernel"
	"galaxy/nodeagent"
	"galaxy/nodeagent/cni"
	"galaxy/wire"
)

// options are the flags: those of the contract (its section 1.5), and our own.
type options struct {
	config     string
	networkDir string
	cniPaths   []string
	hostname   string
	socket     string
	stateDir   string
	cniDir     string
	notesDir   string
	subnetFile string
	criSocket  string
	gcInterval time.Duration
	gcGrace    time.Duration

	etcd etcdclient.Flags
	api  apiserver.Optional

	nodeIPs    []string
	addresses  []netip.Addr
	machine    string
	backend    string
	mtu        int
	ttl        time.Duration
	grace      time.Duration
	tick       time.Duration
	masquerade bool
	noMasq     []string
	outside    []netip.Prefix
	ipForward  bool
	bridgeNF   bool
	reuseDelay time.Duration

	logging cli.Logging
}

const help = `galaxy runs on every node, as root. It answers the container runtime, which asks through
the CNI plugin galaxy-sdn; it gives pods addresses of the node's subnet, and writes every one of them into the
log; and it makes the kernel's routes and tunnels to the other nodes follow the log, touching only what
differs.

In a cluster it runs as a DaemonSet, with host network, next to galaxy-ipam, which gives the nodes their subnets:

  galaxy --etcd-endpoints https://10.0.0.5:2379 --etcd-ca ca.pem --etcd-cert node.pem --etcd-key node.key

Without Kubernetes:

  galaxy --standalone --etcd-endpoints http://10.0.0.5:2379 --hostname-override node-1 --node-ip 10.0.0.11

While etcd cannot be reached, pods still get addresses: they are written into a file below --state-dir, and
copied to etcd later. SIGTERM ends the agent and leaves all routes, tunnels and pods as they are; a restart
changes nothing that is right.`

func newCommand() *cobra.Command {
	o := &options{}
	return commandOf(o, func(ctx context.Context) error { return run(ctx, o) })
}

func commandOf(o *options, run func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{Use: "galaxy", Short: "Agent of a node: pods' networks, and routes to the other nodes",
		Long: help}
	return cli.Daemon(cmd, o, run)
}

// Add defines the flags.
func (o *options) Add(flags *pflag.FlagSet) {
	flags.StringVar(&o.config, "json-config-path", "/etc/galaxy/galaxy.json",
		"file that says which networks there are; read again when it changes; the default may be missing, and every "+
			"pod then gets one routed interface")
	flags.StringVar(&o.networkDir, "network-conf-dir", "/etc/cni/net.d/",
		"folder with more networks, for pods that name them")
	flags.StringSliceVar(&o.cniPaths, "cni-paths", []string{"/opt/cni/galaxy/bin"},
		"folders with plugins, after those of the runtime")
	flags.StringVar(&o.hostname, "hostname-override", "",
		"name of this node; default $MY_NODE_NAME, else the name of this host")
	flags.StringVar(&o.socket, "socket", wire.Socket, "where galaxy-sdn finds the agent")
	flags.StringVar(&o.stateDir, "state-dir", "/var/lib/galaxy",
		"folder with the file of this node's addresses; it must outlive a reboot")
	flags.StringVar(&o.cniDir, "cni-state-dir", "/var/lib/cni/galaxy", "folder with what was made for each container")
	flags.StringVar(&o.notesDir, "notes-dir", wire.NotesDir,
		"folder where galaxy-sdn leaves notes of pods that were deleted while the agent was down")
	flags.StringVar(&o.subnetFile, "subnet-file", "/run/flannel/subnet.env",
		"file to say the node's subnet in, for others; empty for none")
	flags.StringVar(&o.criSocket, "cri-socket", os.Getenv("CONTAINERD_HOST"),
		"socket of the container runtime, which is asked for sandboxes that are gone without a DEL; default "+
			"$CONTAINERD_HOST; empty to leave that to a runtime that calls GC")
	const every = "how often; a container is gone when it was missing twice"
	flags.DurationVar(&o.gcInterval, "gc-interval", time.Minute, every)
	flags.DurationVar(&o.gcGrace, "gc-grace", cni.DefaultGrace,
		"how long a sandbox that the container runtime does not list may be one that it is still making; as long as "+
			"the kubelet waits for it")
	flags.DurationVar(&o.gcInterval, "flannel-gc-interval", time.Minute, every)

	o.etcd.Add(flags)
	o.api.Add(flags, "run without Kubernetes: every pod gets the default networks")

	flags.StringSliceVar(&o.nodeIPs, "node-ip", nil,
		"addresses at which other nodes reach this one, the preferred one of each family first; default one of each "+
			"family, of the links with a default route, which stays while this host has it")
	flags.StringVar(&o.machine, "machine-id", "",
		"a word that no other machine has; default that of /etc/machine-id, else one that is made up and kept in "+
			"--state-dir")
	flags.StringVar(&o.backend, "backend", string(kernel.CrossSubnet),
		"how packets reach other nodes: host-gw (plain routes; all nodes share a link), ipip (tunnels), or "+
			"cross-subnet (plain routes where they will do)")
	flags.IntVar(&o.mtu, "mtu", 0, "MTU of tunnels and pods; 0 derives it from the node's link")
	flags.DurationVar(&o.ttl, "lease-ttl", nodeagent.DefaultTTL,
		"how soon other nodes stop sending to this one when it has died; an agent that restarts faster is not missed")
	flags.DurationVar(&o.grace, "offline-grace", nodeagent.DefaultGrace,
		"how long pods get addresses while etcd cannot be reached; must be less than galaxy-ipam keeps the subnets "+
			"of lost nodes")
	flags.DurationVar(&o.tick, "resync", nodeagent.DefaultTick,
		"how often routes are compared although nothing has changed")
	flags.BoolVar(&o.masquerade, "masquerade", true,
		"what pods send to outside addresses leaves with the node's address")
	flags.StringSliceVar(&o.noMasq, "no-masquerade", nil,
		"networks that know their way to pods, so that nothing sent there is masqueraded")
	flags.BoolVar(&o.ipForward, "ip-forward", true, "keep the kernel forwarding packets")
	flags.BoolVar(&o.bridgeNF, "bridge-nf-call-iptables", true, "keep packets on bridges subject to iptables")
	flags.DurationVar(&o.reuseDelay, "reuse-delay", allocator.DefaultReuseDelay,
		"how long a released address rests before it is given out again")

	o.logging.Add(flags)
	o.addIgnored(flags)
}

// addIgnored takes the flags of the contract that have no meaning here yet, or another name, so that its command lines
// go on working.
func (o *options) addIgnored(flags *pflag.FlagSet) {
	for name, why := range map[string]string{
		"logtostderr":     "it has no effect; the log goes to standard error",
		"alsologtostderr": "it has no effect; the log goes to standard error",
		"pprof":           "it has no effect",
	} {
		flags.Bool(name, false, "")
		cli.Deprecate(flags, name, why)
	}
	cli.Deprecate(flags, "flannel-gc-interval", "it is called --gc-interval")
	for name, why := range map[string]string{
		"flannel-allocated-ip-dir": "it has no effect; addresses are in the log",
		"gc-dirs":                  "it has no effect; what containers have is in --cni-state-dir",
	} {
		flags.String(name, "", "")
		cli.Deprecate(flags, name, why)
	}
}

// Check completes the options, and refuses what makes no sense.
func (o *options) Check() error {
	for _, text := range o.nodeIPs {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return cli.Usage("--node-ip %q: want an address such as 10.0.0.11", text)
		}
		o.addresses = append(o.addresses, addr.Unmap())
	}
	for _, text := range o.noMasq {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return cli.Usage("--no-masquerade %q: want a network such as 10.0.0.0/8", text)
		}
		o.outside = append(o.outside, p.Masked())
	}
	switch {
	case o.backend != string(kernel.CrossSubnet) && o.backend != string(kernel.HostGW) &&
		o.backend != string(kernel.Tunnels):
		return cli.Usage("--backend %q: want %s, %s or %s", o.backend, kernel.HostGW, kernel.Tunnels,
			kernel.CrossSubnet)
	case o.mtu != 0 && (o.mtu < 576 || o.mtu > 65535):
		return cli.Usage("--mtu %d: want 0, or 576 to 65535", o.mtu)
	case o.ttl < ipam.MinLease || o.ttl > ipam.MaxLease:
		return cli.Usage("--lease-ttl %s: want %gs to %gm", o.ttl, ipam.MinLease.Seconds(), ipam.MaxLease.Minutes())
	case o.grace < time.Second:
		return cli.Usage("--offline-grace %s: want 1s or more", o.grace)
	case o.tick < 100*time.Millisecond:
		return cli.Usage("--resync %s: want 100ms or more", o.tick)
	case o.gcInterval < 100*time.Millisecond:
		return cli.Usage("--gc-interval %s: want 100ms or more", o.gcInterval)
	case o.gcGrace < 0:
		return cli.Usage("--gc-grace %s: want 0 or more", o.gcGrace)
	}
	return cmp.Or(o.api.Check(), o.etcd.Check(), o.logging.Check(), o.nameNode())
}

// nameNode finds the node's name (contract section 1.5).
func (o *options) nameNode() error {
	name, err := cli.OrHostname(cmp.Or(o.hostname, os.Getenv("MY_NODE_NAME")))
	if err != nil {
		return fmt.Errorf("%w; give --hostname-override", err)
	}
	o.hostname = strings.ToLower(strings.TrimSpace(name))
	if errs := validation.IsDNS1123Subdomain(o.hostname); len(errs) > 0 {
		return cli.Usage("%q is no name for a node, as Kubernetes has it (%s): give --hostname-override", name,
			strings.Join(errs, "; "))
	}
	return nil
}
