package controlplane

import (
	"fmt"
	"strings"
	"time"

	"galaxy/integration/cluster/binaries"
)

// controllers are those that a test can notice: workloads and what they own, namespaces, accounts, what Services
// lead to, and nodes that fail.
var controllers = []string{
	"serviceaccount-controller", "root-ca-certificate-publisher-controller", "namespace-controller",
	"garbage-collector-controller",
	"deployment-controller", "replicaset-controller", "statefulset-controller", "daemonset-controller",
	"job-controller",
	"pod-garbage-collector-controller", "node-lifecycle-controller", "taint-eviction-controller",
	"disruption-controller",
	"clusterrole-aggregation-controller", "endpointslice-controller",
}

// addControllerManager adds the controllers. One process needs no election, and nothing here is worth a limit on its
// rate: pods leave failed nodes at 0.1 nodes a second by default.
func (b *Cluster) addControllerManager() error {
	var port int
	if err := takePorts(&port); err != nil {
		return err
	}
	kubeconfig, err := b.kubeconfig(managerUser)
	if err != nil {
		return err
	}
	args := append(b.servingArgs(port),
		"--kubeconfig="+kubeconfig, "--controllers="+strings.Join(controllers, ","), "--leader-elect=false",
		"--service-account-private-key-file="+b.pki.accountKey, "--root-ca-file="+b.pki.caFile,
		"--kube-api-qps=1000", "--kube-api-burst=2000", "--controller-start-interval=0s",
		"--concurrent-deployment-syncs=10", "--concurrent-replicaset-syncs=10", "--concurrent-statefulset-syncs=10",
		"--node-eviction-rate=100", "--secondary-node-eviction-rate=100",
	)
	if grace := b.options.NodeGrace; grace > 0 {
		args = append(args, "--node-monitor-grace-period="+grace.String(), "--node-monitor-period="+
			min(grace/4, 5*time.Second).String())
	}
	ready := b.prober.ok("https://"+local(port)+"/healthz", "")
	b.ControllerManager = b.addProgram(binaries.ControllerManager, binaries.ControllerManager, ready, args)
	return nil
}

// servingArgs are the flags with which the controllers and the scheduler serve their health and metrics to anyone here.
func (b *Cluster) servingArgs(port int) []string {
	return []string{
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + b.pki.certFile, "--tls-private-key-file=" + b.pki.keyFile,
		"--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
	}
}
