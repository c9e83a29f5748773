package controlplane

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"galaxy/integration/cluster/binaries"
)

// The label of nodes that kwok keeps alive. It selects by a label, since it does not notice when an annotation
// goes.
const (
	managedKey   = "type"
	managedValue = "kwok"
)

// defaultLease is how long the lease of a node is good for, as a kubelet has it.
const defaultLease = 40 * time.Second

// kwokConfig lets kwok wait for the API server on more than its few places at once.
const kwokConfig = `apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options: {podPlayStageParallelism: 16, nodePlayStageParallelism: 16, nodeLeaseParallelism: 16}
`

// addKwok adds kwok, which plays the kubelets: nodes report, pods get to run, and pods that are deleted go.
func (b *Cluster) addKwok() error {
	var port int
	if err := takePorts(&port); err != nil {
		return err
	}
	kubeconfig, err := b.kubeconfig(kwokUser)
	if err != nil {
		return err
	}
	stages := filepath.Join(built.cluster, binaries.KwokStages)
	if delay := b.options.PodStart; delay > 0 {
		text, err := startingAfter(stages, delay)
		if err != nil {
			return err
		}
		stages = b.path("kwok-stages.yaml")
		if err := os.WriteFile(stages, text, 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(b.path("kwok.yaml"), []byte(kwokConfig), 0o600); err != nil {
		return err
	}
	lease := defaultLease
	if grace := b.options.NodeGrace; grace > 0 {
		lease = max(grace, time.Second)
	}
	b.Kwok = b.addProgram(binaries.Kwok, binaries.Kwok, b.prober.ok("http://"+local(port)+"/healthz", ""), []string{
		"--kubeconfig=" + kubeconfig, "--config=" + stages, "--config=" + b.path("kwok.yaml"), "--server-address=" +
			local(port),
		"--manage-all-nodes=false", "--manage-nodes-with-label-selector=" + managedKey + "=" + managedValue,
		"--node-ip=127.0.0.1", "-v=WARN", fmt.Sprintf("--node-lease-duration-seconds=%d", lease/time.Second),
	})
	return nil
}

// startingAfter are the stages of a file, with pods that take their time to start.
func startingAfter(file string, delay time.Duration) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	const stage = "  name: pod-ready\nspec:\n"
	if bytes.Count(text, []byte(stage)) != 1 {
		return nil, fmt.Errorf("%s has no stage pod-ready as it was known", file)
	}
	return bytes.Replace(text, []byte(stage),
		fmt.Appendf(nil, "%s  delay: {durationMilliseconds: %d}\n", stage, delay.Milliseconds()), 1), nil
}
