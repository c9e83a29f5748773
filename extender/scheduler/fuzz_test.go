package scheduler_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// fuzzBody sends bodies to a verb. Whatever comes, the response is a 200 in the form of the protocol or a 4xx with a
// sentence, and the handler lives on.
func fuzzBody(f *testing.F, path string, respond func() any, seeds ...string) {
	b := newHarness(f, fixture)
	b.Objects(podText("ns1", "web-0", "StatefulSet/web", nil))
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, req)
		text := w.Body.Bytes()
		switch {
		case w.Code < 300:
			if err := json.Unmarshal(text, respond()); err != nil {
				t.Errorf("%d %q: %v", w.Code, text, err)
			}
		case w.Code < 400 || w.Code >= 500 || len(text) == 0:
			t.Errorf("%d %q", w.Code, text)
		}
	})
}

func FuzzFilter(f *testing.F) {
	pod := podText("ns1", "web-0", "StatefulSet/web",
		map[string]string{"args": `{"request_ip_range":[["10.49.27.205"]]}`})
	fuzzBody(f, "/v1/filter", func() any { return new(extenderv1.ExtenderFilterResult) },
		fmt.Sprintf(`{"Pod":%s,"Nodes":null,"NodeNames":["node1","node3","a\u0041"]}`, pod),
		fmt.Sprintf(`{"pod":%s,"nodes":{"items":[%s]}}`, pod, nodeText("node3", "10.49.27.3")),
		sample(f, "filter-nodeCacheCapable-true.json", nil))
}

func FuzzPrioritize(f *testing.F) {
	fuzzBody(f, "/v1/prioritize", func() any { return new(extenderv1.HostPriorityList) },
		fmt.Sprintf(`{"Pod":%s,"NodeNames":["node1","node3"]}`, podText("ns1", "new-0", "StatefulSet/new", nil)))
}

func FuzzBind(f *testing.F) {
	fuzzBody(f, "/v1/bind", func() any { return new(extenderv1.ExtenderBindingResult) },
		`{"PodName":"web-0","PodNamespace":"ns1","PodUID":"uid-web-0","Node":"node3"}`, sample(f, "bind.json", nil))
}

func FuzzPreempt(f *testing.F) {
	fuzzBody(f, "/v1/preempt", func() any { return new(extenderv1.ExtenderPreemptionResult) },
		sample(f, "preempt-nodeCacheCapable-true.json", nil), sample(f, "preempt-nodeCacheCapable-false.json", nil))
}
