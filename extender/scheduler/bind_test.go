package scheduler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"galaxy/extender/extendertest"
	"galaxy/extender/scheduler"
	"galaxy/ipam"
	"galaxy/kube"
)

// binder is a cluster that is bound of one pod after the other.
type binder func()

func (b binder) Bind(context.Context, *kube.Pod, string, []ipam.IPInfo, string) error {
	b()
	return nil
}

// While the cluster is bound of a pod, and only then, the scheduler's port says so.
func TestBinding(t *testing.T) {
	b := newHarness(t, fixture)
	b.Objects(podText("ns1", "sts-0", "StatefulSet/sts", nil))
	var during []bool
	var s *scheduler.Scheduler
	s = scheduler.New(scheduler.Config{
		Replica: b.Replica, Cluster: b.Cluster, Log: zap.NewNop(),
		Binder: binder(func() { during = append(during, s.Binding()) }),
	})
	port := extendertest.Serve(t, s.Handler())
	if s.Binding() {
		t.Error("nothing is bound yet, and it says that something is")
	}
	resp, text := raw(t, http.MethodPost, port.URL+"/v1/bind",
		`{"PodName":"sts-0","PodNamespace":"ns1","PodUID":"uid-sts-0","Node":"node4"}`, nil)
	if resp.StatusCode != http.StatusOK || fmt.Sprint(during) != "[true]" || s.Binding() {
		t.Errorf("bind: %d %s; during it %v, after it %v", resp.StatusCode, text, during, s.Binding())
	}
}

// A pod that came to another replica is looked up, and must be the very one; one that runs elsewhere by now is left
// alone.
func TestBindLooksUp(t *testing.T) {
	b := newHarness(t, fixture)
	b.Objects()
	for want, pod := range map[string]*kube.Pod{
		"":                       {Namespace: "ns1", Name: "sts-0", UID: "u1", Wants: true},
		"has the uid u0":         {Namespace: "ns1", Name: "sts-0", UID: "u0", Wants: true},
		"not known":              nil,
		"node3":                  {Namespace: "ns1", Name: "sts-0", UID: "u1", Wants: true, Node: "node3"},
		"has finished":           {Namespace: "ns1", Name: "sts-0", UID: "u1", Wants: true, Phase: "Succeeded"},
		"does not request":       {Namespace: "ns1", Name: "sts-0", UID: "u1"},
		"the API server is away": nil,
	} {
		bound := 0
		lookup := func(_ context.Context, namespace, name string) (*kube.Pod, error) {
			if namespace != "ns1" || name != "sts-0" {
				t.Errorf("%s/%s is looked up", namespace, name)
			}
			if strings.HasSuffix(want, "away") {
				return nil, errors.New(want)
			}
			return pod, nil
		}
		s := scheduler.New(scheduler.Config{
			Replica: b.Replica, Cluster: b.Cluster, Log: zap.NewNop(), Lookup: lookup,
			Binder: binder(func() { bound++ }),
		})
		before, w := b.Replica.View().Position().Head.Seq, httptest.NewRecorder()
		body := `{"PodName":"sts-0","PodNamespace":"ns1","PodUID":"u1","Node":"node4"}`
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/bind", strings.NewReader(body)))
		var result extenderv1.ExtenderBindingResult
		if err := json.Unmarshal(w.Body.Bytes(), &result); err != nil || (result.Error == "") != (want == "") ||
			!strings.Contains(result.Error, want) {
			t.Errorf("%d %s %v, want %q", w.Code, w.Body, err, want)
		}
		if wrote := b.Replica.View().Position().Head.Seq != before; wrote != (want == "") || bound > 0 != (want == "") {
			t.Errorf("%q: the log was written: %t, the cluster was asked to bind %d times", want, wrote, bound)
		}
	}
}
