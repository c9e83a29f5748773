package extender_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"go.uber.org/zap"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"galaxy/allocator"
	"galaxy/extender/extendertest"
	"galaxy/extender/metrics"
	"galaxy/extender/rest"
	"galaxy/extender/scheduler"
	"galaxy/ipam"
)

// TestConcurrent lets many pods be filtered, bound and ended at once, while the cluster and the configuration change.
// No two pods get one address, and the extender never fails but for want of addresses.
func TestConcurrent(t *testing.T) {
	b := extendertest.New(t, fixture, nil)
	b.Objects()
	verbs := extendertest.Serve(t, scheduler.New(scheduler.Config{Replica: b.Replica, Cluster: b.Cluster,
		Log: zap.NewNop()}).Handler())
	figures := metrics.New(b.Replica)
	people := extendertest.Serve(t, rest.New(rest.Config{
		Replica: b.Replica, Cluster: b.Cluster, Metrics: figures.Handler(), Log: zap.NewNop(), Events: b.Log,
		Version: "test",
	}).Handler())
	subnets := extendertest.SubnetsOf(t, fixture)
	var workers sync.WaitGroup
	for w := range 4 { // node3 alone has addresses for all of them
		workers.Go(func() {
			for i := range 20 {
				name := fmt.Sprintf("sts%d-%d", w, i)
				pod := podText("ns1", name, "StatefulSet/"+fmt.Sprintf("sts%d", w), nil)
				var result extenderv1.ExtenderFilterResult
				body := fmt.Sprintf(`{"Pod":%s,"NodeNames":["node3","node4","node5"]}`, pod)
				if code := ask(t, http.MethodPost, verbs.URL+"/v1/filter", body, &result); code != http.StatusOK ||
					result.Error != "" {
					t.Errorf("filter: %d %s", code, result.Error)
				}
				if result.NodeNames == nil || len(*result.NodeNames) == 0 {
					continue
				}
				node := (*result.NodeNames)[0]
				var bound extenderv1.ExtenderBindingResult
				body = fmt.Sprintf(`{"PodName":%q,"PodNamespace":"ns1","PodUID":%q,"Node":%q}`, name, "uid-"+name, node)
				if code := ask(t, http.MethodPost, verbs.URL+"/v1/bind", body, &bound); code != http.StatusOK ||
					bound.Error != "" {
					t.Errorf("bind: %d %s", code, bound.Error)
				}
				owner := ipam.Owner{Kind: "statefulset", Namespace: "ns1", App: fmt.Sprintf("sts%d", w), Pod: name}
				held := 0
				for a := range b.Replica.View().Held(owner) {
					held++
					if a.PodUID != "uid-"+name || a.Node != node {
						t.Errorf("%s is held by %s on %s", a.Addr, a.PodUID, a.Node)
					}
				}
				if held != 1 {
					t.Errorf("%s holds %d addresses", name, held)
				}
				b.Do(allocator.EndPod{Pod: allocator.Pod{Owner: owner, UID: "uid-" + name}})
			}
		})
	}
	workers.Go(func() {
		for range 20 {
			b.Objects()
			b.Do(allocator.Configure{Source: "again", Subnets: subnets})
			ask(t, http.MethodGet, people.URL+"/metrics", "", nil)
			ask(t, http.MethodGet, people.URL+"/v1/ip?keyword=sts", "", nil)
		}
	})
	workers.Wait()
}
