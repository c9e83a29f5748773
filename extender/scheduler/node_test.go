package scheduler_test

import (
	"fmt"
	"net/http"
	"testing"

	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// TestNodeMoves: a node whose address changes, or that is made anew under its old name, is judged by what it is now.
func TestNodeMoves(t *testing.T) {
	b := newHarness(t, fixture)
	pod := podText("ns1", "sts-0", "StatefulSet/sts", nil)
	for _, step := range []struct{ ip, reason string }{
		{"10.48.28.2", "FloatingIPPlugin:NoFIPConfigNode"}, {"10.49.27.9", ""},
		{"10.48.28.2", "FloatingIPPlugin:NoFIPConfigNode"}, {"10.173.13.9", ""},
	} {
		b.Objects(nodeText("mover", step.ip))
		var result extenderv1.ExtenderFilterResult
		body := fmt.Sprintf(`{"Pod":%s,"NodeNames":["mover"]}`, pod)
		if code := ask(t, http.MethodPost, b.scheduler.URL+"/v1/filter", body, &result); code != http.StatusOK ||
			result.Error != "" {
			t.Fatalf("at %s: %d, %q", step.ip, code, result.Error)
		}
		if got := result.FailedNodes["mover"]; got != step.reason {
			t.Errorf("at %s the node fails with %q, want %q", step.ip, got, step.reason)
		}
	}
}
