package scheduler_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"

	"galaxy/extender/scheduler"
	"galaxy/ipam"
	"galaxy/kube"
)

// binder is a cluster that is told of one pod after the other.
type binder func()

func (b binder) Bind(context.Context, *kube.Pod, string, []ipam.IPInfo) error {
	b()
	return nil
}

// While the cluster is told of a pod, and only then, the scheduler's port says so.
func TestBinding(t *testing.T) {
	b := newBed(t, fixture)
	b.Objects(podText("ns1", "sts-0", "StatefulSet/sts", nil))
	var during []bool
	var s *scheduler.Scheduler
	s = scheduler.New(scheduler.Config{
		Replica: b.Replica, Cluster: b.Cluster, Log: zap.NewNop(),
		Binder: binder(func() { during = append(during, s.Binding()) }),
	})
	port := httptest.NewServer(s.Handler())
	t.Cleanup(port.Close)
	if s.Binding() {
		t.Error("nothing is bound yet, and it says that something is")
	}
	resp, text := raw(t, http.MethodPost, port.URL+"/v1/bind", `{"PodName":"sts-0","PodNamespace":"ns1","PodUID":"uid-sts-0","Node":"node4"}`, nil)
	if resp.StatusCode != http.StatusOK || fmt.Sprint(during) != "[true]" || s.Binding() {
		t.Errorf("bind: %d %s; during it %v, after it %v", resp.StatusCode, text, during, s.Binding())
	}
}
