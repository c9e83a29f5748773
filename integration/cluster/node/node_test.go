package node_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"galaxy/integration/cluster/controlplane"
	"galaxy/integration/cluster/node"
)

// A node as users have it: kubelet, containerd and kube-proxy, with the agent that deploy/agent puts there. Its steps
// share one cluster, since a cluster takes longer to make than a step.
func TestRealNode(t *testing.T) {
	l := newHarness(t)
	for _, step := range []struct {
		name string
		run  func(*harness)
	}{
		{"PodsComeAndGo", podsComeAndGo},
		{"ProvenAddresses", provenAddresses},
		{"ServicesNftables", services},
		{"Masquerade", masquerade},
		{"AgentKilled", agentKilled},
		{"ServicesIptables", func(l *harness) {
			l.node.UseProxy("iptables")
			services(l)
		}},
		{"RuntimeLost", func(l *harness) { runtimeLost(l, false) }},
		{"RuntimeForgets", func(l *harness) { runtimeLost(l, true) }},
		{"NodeDeleted", nodeDeleted},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(l.in(t)) }) {
			return // what comes after builds on it
		}
	}
	l.verified()
}

// web is a pod that serves pages, and that the kubelet asks whether it is ready and alive.
func web(p *corev1.PodTemplateSpec) {
	c := &p.Spec.Containers[0]
	c.Image, c.Command = node.PodImage, []string{"pod"}
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m")}
	ask := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/who", Port: intstr.FromInt32(80)}}
	// A machine that is busy with other tests may be slow to answer; a pod that is cut off never answers.
	c.ReadinessProbe = &corev1.Probe{ProbeHandler: ask, PeriodSeconds: 1, TimeoutSeconds: 10}
	c.LivenessProbe = &corev1.Probe{ProbeHandler: ask, PeriodSeconds: 1, TimeoutSeconds: 10, FailureThreshold: 5}
	p.Spec.TerminationGracePeriodSeconds = new(int64)
}

// readyPods waits until so many pods of a workload answer their probes, and gives them.
func (l *harness) readyPods(app string, n int) []corev1.Pod {
	l.t.Helper()
	var found []corev1.Pod
	l.WaitFor(fmt.Sprintf("%d ready pods of %s", n, app), 3*time.Minute, func(ctx context.Context) error {
		list, err := l.Client.CoreV1().Pods("default").List(ctx,
			metav1.ListOptions{LabelSelector: controlplane.Selector(app)})
		if err != nil {
			return err
		}
		found = nil
		for i := range list.Items {
			if ready(&list.Items[i]) {
				found = append(found, list.Items[i])
			}
		}
		if len(found) != n || len(list.Items) != n {
			return fmt.Errorf("%d pods, %d of them ready", len(list.Items), len(found))
		}
		return nil
	})
	for i := range found {
		l.ofNode(&found[i])
	}
	return found
}

// ofNode makes sure that a pod has an address of each of the node's subnets, and that the log has given it to this pod.
func (l *harness) ofNode(p *corev1.Pod) {
	l.t.Helper()
	if len(p.Status.PodIPs) != len(l.subnets) {
		l.t.Errorf("pod %s has %v; the node's subnets are %v", p.Name, p.Status.PodIPs, l.subnets)
	}
	held := l.held()
	for _, ip := range p.Status.PodIPs {
		inside := false
		for _, s := range l.subnets {
			inside = inside || s.Contains(netip.MustParseAddr(ip.IP))
		}
		if !inside {
			l.t.Errorf("pod %s has %s, which is in none of the node's subnets %v", p.Name, ip.IP, l.subnets)
		}
		if held[ip.IP] != string(p.UID) {
			l.t.Errorf("pod %s, uid %s, has %s, which the log gives to %q", p.Name, p.UID, ip.IP, held[ip.IP])
		}
	}
}

// held are the addresses that the node's stream has given out, by whom it has given them to.
func (l *harness) held() map[string]string {
	l.t.Helper()
	held := map[string]string{}
	for _, e := range l.events("node-" + nodeName) {
		switch e.Type {
		case "AddressAllocated":
			held[e.Data.Address] = e.Data.PodUID
		case "AddressReleased":
			delete(held, e.Data.Address)
		}
	}
	return held
}

// waitReleased waits until the log says that the addresses of pods are free again.
func (l *harness) waitReleased(pods []corev1.Pod) {
	l.t.Helper()
	l.WaitFor("addresses are given back", 30*time.Second, func(context.Context) error {
		held := l.held()
		for i := range pods {
			for _, ip := range pods[i].Status.PodIPs {
				if held[ip.IP] == string(pods[i].UID) {
					return fmt.Errorf("pod %s still holds %s", pods[i].Name, ip.IP)
				}
			}
		}
		return nil
	})
}

// says waits until a page has some words in it.
func (l *harness) says(what string, ask func(context.Context, string) (string, error), url, want string) {
	l.t.Helper()
	l.WaitFor(what, 20*time.Second, func(ctx context.Context) error {
		text, err := ask(ctx, url)
		if err == nil && !strings.Contains(text, want) {
			err = fmt.Errorf("%s says %q, want %q in it", url, text, want)
		}
		return err
	})
}

// from asks a server from inside a pod.
func (l *harness) from(p *corev1.Pod) func(context.Context, string) (string, error) {
	return func(ctx context.Context, url string) (string, error) {
		return l.node.Get(ctx, page(p.Status.PodIP, "get?url="+url))
	}
}

// page is a page of ours at a host.
func page(host, name string) string { return "http://" + host + "/" + name }

// podsComeAndGo: pods of a Deployment get addresses of the node, answer on them, and give them back when they go, also
// by force.
func podsComeAndGo(l *harness) {
	d := controlplane.NewDeployment("default", "web", 3, web)
	l.Create(d)
	pods := l.readyPods("web", 3)
	a, b := &pods[0], &pods[1]
	l.says("the node reaches a pod", l.node.Get, page(a.Status.PodIP, "who"), a.Name)
	l.says("a pod reaches another", l.from(a), page(b.Status.PodIP, "who"), b.Name)
	l.says("a pod reaches itself", l.from(a), page(a.Status.PodIP, "who"), a.Name)

	now := int64(0)
	if err := l.Client.CoreV1().Pods("default").Delete(l.t.Context(), a.Name,
		metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		l.t.Fatal(err)
	}
	l.waitReleased(pods[:1])
	pods = l.readyPods("web", 3)
	l.Scale(d, 0)
	l.WaitPodsGone("default", controlplane.Selector("web"), 3*time.Minute)
	l.waitReleased(pods)
	l.Scale(d, 2)
	l.readyPods("web", 2)
}

// services: what kube-proxy makes of a Service leads to pods, from everywhere that it should, also back to the pod that
// asks.
func services(l *harness) {
	one := l.node.Proxy + "-one"
	l.Create(controlplane.NewDeployment("default", one, 1, web))
	self := &l.readyPods(one, 1)[0]
	other := &l.readyPods("web", 2)[0]
	service, err := l.Client.CoreV1().Services("default").Create(l.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: one},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{controlplane.AppLabel: one},
			Ports: []corev1.ServicePort{{Port: 8080, TargetPort: intstr.FromInt32(80)}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	cluster := fmt.Sprintf("%s:%d", service.Spec.ClusterIP, service.Spec.Ports[0].Port)
	port := fmt.Sprintf("%s:%d", nodeIP, service.Spec.Ports[0].NodePort)
	l.says("another pod reaches the ClusterIP, with its own address", l.from(other), page(cluster, "who"), self.Name+
		" "+other.Status.PodIP)
	l.says("the node reaches the ClusterIP", l.node.Get, page(cluster, "who"), self.Name+" "+nodeIP)
	l.says("hairpin: a pod reaches itself by the ClusterIP", l.from(self), page(cluster, "who"), self.Name+" "+nodeIP)
	l.says("who is outside reaches the NodePort", l.world.Get, page(port, "who"), self.Name+" "+nodeIP)
	l.says("another pod reaches the NodePort", l.from(other), page(port, "who"), self.Name+" "+nodeIP)
	l.says("the node reaches the NodePort", l.node.Get, page(port, "who"), self.Name+" "+nodeIP)
	l.says("hairpin: a pod reaches itself by the NodePort", l.from(self), page(port, "who"), self.Name+" "+nodeIP)
	for kind, command := range map[string][]string{"nftables": {"nft", "list", "tables"},
		"iptables": {"iptables-save", "-t", "nat"}} {
		rules, err := l.node.Run(command[0], command[1:]...)
		if ours := strings.Contains(rules, "kube-proxy") || strings.Contains(rules, "KUBE-SERVICES"); err != nil ||
			ours != (kind == l.node.Proxy) {
			l.t.Errorf("kube-proxy is to use %s; the rules of %s: %v\n%s", l.node.Proxy, kind, err, rules)
		}
	}
	for _, p := range append(l.readyPods("web", 2), l.readyPods(one, 1)...) {
		if n := p.Status.ContainerStatuses[0].RestartCount; n != 0 {
			l.t.Errorf("pod %s was restarted %d times: its probes did not pass", p.Name, n)
		}
	}
}

// masquerade: what pods send to the world leaves with the node's address, and what they send to each other with their
// own.
func masquerade(l *harness) {
	pods := l.readyPods("web", 2)
	a, b := &pods[0], &pods[1]
	world := fmt.Sprintf("http://%s:%d/", node.Control, node.OutsidePort)
	l.says("the world sees the node's address", l.from(a), world, "outside "+nodeIP+"\n")
	l.says("a pod sees the other's own address", l.from(a), page(b.Status.PodIP, "who"), b.Name+" "+a.Status.PodIP+"\n")
}

// agentKilled: pods that run do not notice when the agent is killed, and new ones start when it is back.
func agentKilled(l *harness) {
	pods := l.readyPods("web", 2)
	a, b := &pods[0], &pods[1]
	if n := l.node.KillInContainer("galaxy"); n != 1 {
		l.t.Fatalf("%d agents were killed, want one", n)
	}
	for range 20 {
		text, err := l.from(a)(l.t.Context(), page(b.Status.PodIP, "who"))
		if err != nil || !strings.Contains(text, b.Name) {
			l.t.Fatalf("without an agent, a pod does not reach another: %v %s", err, text)
		}
	}
	l.Create(controlplane.NewPod("default", "late", web, controlplane.WithLabel(controlplane.AppLabel, "late")))
	l.readyPods("late", 1)
	for _, p := range l.readyPods("web", 2) {
		if p.UID != a.UID && p.UID != b.UID || p.Status.ContainerStatuses[0].RestartCount != 0 {
			l.t.Errorf("pod %s is not as it was before the agent was killed", p.Name)
		}
	}
	l.waitAgent()
}

// runtimeLost: when all sandboxes are dead at once, their pods get new ones, and the addresses of the old ones come
// back.
func runtimeLost(l *harness, disk bool) {
	before := l.held()
	l.node.LoseRuntime(disk)
	l.WaitFor("the log has the addresses of the pods that run, and no others", 3*time.Minute,
		func(ctx context.Context) error {
			pods, err := l.Client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			wanted := map[string]string{}
			for i := range pods.Items {
				p := &pods.Items[i]
				if !ready(p) {
					return fmt.Errorf("pod %s is not ready", p.Name)
				}
				for _, ip := range p.Status.PodIPs {
					if before[ip.IP] == string(p.UID) {
						return fmt.Errorf("pod %s still shows %s, which its dead sandbox had", p.Name, ip.IP)
					}
					wanted[ip.IP] = string(p.UID)
				}
			}
			if held := l.held(); !maps.Equal(held, wanted) {
				return fmt.Errorf("the log says %v, the pods have %v", held, wanted)
			}
			return nil
		})
	l.waitAgent()
	pods := l.readyPods("web", 2)
	l.says("pods reach each other again", l.from(&pods[0]), page(pods[1].Status.PodIP, "who"), pods[1].Name)
}

// nodeDeleted: a node that is gone for good, power and object, gives its subnets back.
func nodeDeleted(l *harness) {
	l.node.Off()
	if err := l.Client.CoreV1().Nodes().Delete(l.t.Context(), nodeName, metav1.DeleteOptions{}); err != nil {
		l.t.Fatal(err)
	}
	l.WaitFor("the log takes the node's subnets back", 3*time.Minute, func(context.Context) error {
		for _, e := range l.events("nodes") {
			if e.Type == "NodeSubnetReleased" && e.Data.Node == nodeName {
				return nil
			}
		}
		return fmt.Errorf("they are still the node's")
	})
}
