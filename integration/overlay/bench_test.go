package overlay

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// reference builds the programs of the CNI project that this module names as tools: plugins, and cnitool.
func reference(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir, "tool").CombinedOutput(); err != nil {
		t.Fatalf("build the reference's programs: %v\n%s", err, out)
	}
	return dir
}

// caller runs one plugin as a container runtime does, without anything around it that would be measured too.
func (n *node) caller(program, plugin, conf string, path string) func(command, container, netns string) error {
	return func(command, container, netns string) error {
		cmd := exec.Command(program)
		cmd.Args[0] = plugin
		cmd.Env = []string{
			"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + container, "CNI_NETNS=" + netns, "CNI_IFNAME=eth0",
			"CNI_PATH=" + path,
			"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + container,
		}
		var out strings.Builder
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(conf), &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s of %s: %w: %s", command, plugin, err, out.String())
		}
		return nil
	}
}

func medianOf(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// ADD and DEL through galaxy-sdn, the agent and the log, against the reference's ptp with host-local, which keeps
// files: the same caller, in turn, on one node. Then 100 ADDs at once.
func BenchmarkCNI(b *testing.B) {
	// IPv4 only: the reference waits nearly two seconds for IPv6 addresses to become usable.
	l := newLabOf(b, 1, `{"overlay":{"networks":[{"cidr":"10.244.0.0/16","nodePrefix":22}]}}`)
	n := l.nodes[0]
	l.converged(0, n)
	files := reference(b)
	ours := n.caller(filepath.Join(l.bin, "galaxy-sdn"), "galaxy-sdn",
		fmt.Sprintf(`{"cniVersion":"1.0.0","name":"galaxy-sdn","type":"galaxy-sdn","socket":%q}`, n.socket), l.bin)
	theirs := n.caller(filepath.Join(files, "ptp"), "ptp",
		fmt.Sprintf(`{"cniVersion":"1.0.0","name":"ref","type":"ptp","ipMasq":false,
	  "ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.200.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`, n.harness.dir), files)
	const each = 40
	times := map[string][]time.Duration{}
	pods := make([]*namespace, each)
	for i := range pods {
		pods[i] = newNamespace(b, fmt.Sprintf("pod%d", i))
	}
	measure := func(name string, call func(command, container, netns string) error, i int) {
		for _, command := range []string{"ADD", "DEL"} {
			n.in(func() error {
				start := time.Now()
				err := call(command, fmt.Sprintf("bench-%d", i), pods[i].path())
				times[name+command] = append(times[name+command], time.Since(start))
				return err
			})
		}
	}
	for b.Loop() {
		for i := range each {
			measure("ours", ours, i)
			measure("theirs", theirs, i)
		}
	}
	for _, command := range []string{"ADD", "DEL"} {
		mine, ref := medianOf(times["ours"+command]), medianOf(times["theirs"+command])
		b.ReportMetric(float64(mine.Microseconds())/1000, command+"-p50-ms")
		b.ReportMetric(float64(ref.Microseconds())/1000, "ptp-"+command+"-p50-ms")
		b.ReportMetric(float64(mine)/float64(ref), command+"-times-ptp")
	}
	b.ReportMetric(0, "ns/op")
	burst(b, n, ours)
}

// burst asks for 100 networks at once.
func burst(b *testing.B, n *node, call func(command, container, netns string) error) {
	const many = 100
	took := make([]time.Duration, many)
	pods := make([]*namespace, many)
	for i := range pods {
		pods[i] = newNamespace(b, fmt.Sprintf("burst%d", i))
	}
	var group sync.WaitGroup
	start := time.Now()
	for i := range many {
		group.Go(func() {
			n.in(func() error {
				err := call("ADD", fmt.Sprintf("burst-%d", i), pods[i].path())
				took[i] = time.Since(start)
				return err
			})
		})
	}
	group.Wait()
	total := time.Since(start)
	slices.Sort(took)
	b.ReportMetric(float64(total.Milliseconds()), "100-ADDs-ms")
	b.ReportMetric(float64(took[many*99/100-1].Milliseconds()), "100-ADDs-p99-ms")
}
