package controlplane

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"

	"galaxy/integration/cluster/binaries"
)

// Resource is what a pod asks for to get a floating address.
const Resource = "tke.cloud.tencent.com/eni-ip"

// Extender configures kube-scheduler for galaxy.
type Extender struct {
	// URL is the base of the verbs, such as http://127.0.0.1:9040/v1; empty for the cluster's Balancer.
	URL string
	// Accounted lets kube-scheduler count the resource itself, against what nodes have of it.
	Accounted bool
}

// addScheduler adds the scheduler with its configuration.
func (b *Cluster) addScheduler() error {
	var port int
	if err := takePorts(&port); err != nil {
		return err
	}
	kubeconfig, err := b.kubeconfig(schedulerUser)
	if err != nil {
		return err
	}
	config := b.schedulerConfig(kubeconfig)
	if edit := b.options.EditScheduler; edit != nil {
		edit(config)
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("configuration of the scheduler: %w", err)
	}
	if err := os.WriteFile(b.path("scheduler.yaml"), text, 0o600); err != nil {
		return err
	}
	args := append(b.servingArgs(port), "--config="+b.path("scheduler.yaml"))
	b.Scheduler = b.addProgram(binaries.Scheduler, binaries.Scheduler,
		b.prober.ok("https://"+local(port)+"/readyz", ""), args)
	return nil
}

// schedulerConfig is a KubeSchedulerConfiguration. Pods that did not fit are tried again soon.
func (b *Cluster) schedulerConfig(kubeconfig string) map[string]any {
	config := map[string]any{
		"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
		"leaderElection":           map[string]any{"leaderElect": false},
		"clientConnection":         map[string]any{"kubeconfig": kubeconfig, "qps": 1000, "burst": 2000},
		"podInitialBackoffSeconds": 1, "podMaxBackoffSeconds": 2,
	}
	if e := b.options.Extender; e != nil {
		config["extenders"] = []any{e.config(b.Balancer.URL() + "/v1")}
	}
	return config
}

func (e *Extender) config(balancer string) map[string]any {
	url := e.URL
	if url == "" {
		url = balancer
	}
	return map[string]any{
		"urlPrefix": url, "filterVerb": "filter", "prioritizeVerb": "prioritize", "bindVerb": "bind",
		"preemptVerb": "preempt",
		"weight":      1, "nodeCacheCapable": true, "ignorable": false, "httpTimeout": "30s",
		"managedResources": []any{map[string]any{"name": Resource, "ignoredByScheduler": !e.Accounted}},
	}
}
