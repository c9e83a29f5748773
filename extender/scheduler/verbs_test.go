package scheduler_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"galaxy/allocator"
	"galaxy/ipam"
)

func TestPrioritize(t *testing.T) {
	b := newHarness(t, fixture)
	b.Objects()
	scores := func(pod string, nodes string) string {
		var first extenderv1.HostPriorityList
		for _, path := range []string{"/v1/prioritize", "/v1/priority"} {
			var list extenderv1.HostPriorityList
			if code := ask(t, http.MethodPost, b.scheduler.URL+path,
				fmt.Sprintf(`{"Pod":%s,"NodeNames":[%s]}`, pod, nodes), &list); code != http.StatusOK {
				t.Fatalf("%s: status %d", path, code)
			}
			if first != nil && !slices.Equal(first, list) {
				t.Errorf("both names of the verb: %v and %v", first, list)
			}
			first = list
		}
		var text []string
		for _, s := range first {
			text = append(text, fmt.Sprintf("%s=%d", s.Host, s.Score))
		}
		return strings.Join(text, " ")
	}
	pod := podText("ns1", "sts-0", "StatefulSet/sts", nil)
	// node5 draws from 3+3 addresses, node4 from 6, node6 from 3, node1 from 2.
	if got, want := scores(pod, `"node5","node4","node6","node1","node2","ghost"`),
		"node5=10 node4=10 node6=5 node1=3"; got != want {
		t.Errorf("scores %s, want %s", got, want)
	}
	b.filter(pod, "node6")
	if failure := b.bind("ns1", "sts-0", "uid-sts-0", "node6"); failure != "" {
		t.Fatal(failure)
	}
	if got, want := scores(pod, `"node5","node6"`), ""; got != want {
		t.Errorf("of a pod that holds an address: %s, want %s", got, want)
	}
}

func TestPreempt(t *testing.T) {
	b := newHarness(t, fixture)
	b.drain()
	victim := podText("ns1", "old-0", "StatefulSet/old", nil)
	sticky := podText("ns1", "sticky-0", "StatefulSet/sticky", map[string]string{"policy": "never"})
	b.Objects(victim, sticky)
	for _, text := range []string{"10.49.27.205", "10.49.27.216", "10.49.27.217"} {
		b.Do(allocator.Reserve{Address: addr(text), Owner: ipam.Owner{Pool: "other"}})
	}
	b.filter(victim, "node3")
	if failure := b.bind("ns1", "old-0", "uid-old-0", "node3"); failure != "" {
		t.Fatal(failure)
	}
	before := b.Replica.View().Position().Head.Seq
	pod := podText("ns1", "sts-0", "StatefulSet/sts", nil)
	preempt := func(body string) (nodes []string, result extenderv1.ExtenderPreemptionResult) {
		if code := ask(t, http.MethodPost, b.scheduler.URL+"/v1/preempt", body, &result); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
		for name := range result.NodeNameToMetaVictims {
			nodes = append(nodes, name)
		}
		slices.Sort(nodes)
		return nodes, result
	}
	meta := func(uid string) string { return fmt.Sprintf(`{"Pods":[{"UID":%q}],"NumPDBViolations":2}`, uid) }
	nodes, result := preempt(fmt.Sprintf(`{"Pod":%s,"NodeNameToVictims":null,"NodeNameToMetaVictims":{"node1":%s,"node2":%s,"node3":%s,"node4":%s}}`,
		pod, meta("uid-old-0"), meta("x"), meta("uid-old-0"), meta("x")))
	if want := []string{"node3", "node4"}; !slices.Equal(nodes, want) {
		t.Errorf("nodes %v, want %v: node1 has no address and its victim frees none, node2 has no subnet", nodes, want)
	}
	if v := result.NodeNameToMetaVictims["node3"]; v == nil || v.NumPDBViolations != 2 || v.Pods[0].UID != "uid-old-0" {
		t.Errorf("the victims of node3: %+v", v)
	}
	nodes, _ = preempt(fmt.Sprintf(`{"Pod":%s,"NodeNameToMetaVictims":{"node3":%s}}`, pod, meta("uid-sticky-0")))
	if len(nodes) != 0 {
		t.Errorf("a victim whose address is kept frees none, but %v stay", nodes)
	}
	nodes, result = preempt(fmt.Sprintf(`{"Pod":%s,"NodeNameToVictims":{"node3":{"Pods":[%s],"NumPDBViolations":1}},"NodeNameToMetaVictims":null}`, pod, victim))
	if !slices.Equal(nodes, []string{"node3"}) || result.NodeNameToMetaVictims["node3"].Pods[0].UID != "uid-old-0" {
		t.Errorf("whole pods: %+v", result)
	}
	plain := `{"metadata":{"name":"plain"},"spec":{}}`
	if nodes, _ = preempt(fmt.Sprintf(`{"Pod":%s,"NodeNameToMetaVictims":{"node2":%s}}`, plain,
		meta("x"))); len(nodes) != 1 {
		t.Errorf("a pod without the resource: %v", nodes)
	}
	if after := b.Replica.View().Position().Head.Seq; after != before {
		t.Errorf("preempt has written to the log: from %d to %d", before, after)
	}
}
