package scheduler

import (
	"strings"
	"testing"
)

// A request has at most maxNodes nodes, each with a name.
func TestArgsAreBounded(t *testing.T) {
	pod := `{"Pod":{"metadata":{"name":"p"}},`
	for what, c := range map[string]struct{ body, want string }{
		"an empty name": {pod + `"NodeNames":["a","","c"]}`, "name 2 of 3 is empty"},
		"empty names": {pod + `"NodeNames":[` + strings.Repeat(`"",`, maxNodes-1) + `""]}`,
			"name 1 of 100000 is empty"},
		"many names": {pod + `"NodeNames":[` + strings.Repeat(`"a",`, maxNodes) + `"a"]}`,
			"more than 100000 nodes"},
		"many nodes": {pod + `"Nodes":{"items":[` + strings.Repeat(`{"metadata":{"name":"a"}},`, maxNodes) +
			`{"metadata":{"name":"a"}}]}}`, "more than 100000 nodes"},
		"a node without name":  {pod + `"Nodes":{"items":[{"metadata":{"name":""}}]}}`, "metadata.name is missing"},
		"as many as there may": {pod + `"NodeNames":[` + strings.Repeat(`"a",`, maxNodes-1) + `"a"]}`, ""},
	} {
		var a args
		err := a.read([]byte(c.body))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
		if len(a.nodes) > maxNodes {
			t.Errorf("%s: %d candidates", what, len(a.nodes))
		}
	}
}

// Room that one large request has taken is not kept for the small ones after it.
func TestLargeArgsAreLetGo(t *testing.T) {
	for _, nodes := range []int{keptNodes, keptNodes + 1} {
		a := &args{nodes: make([]candidate, nodes)}
		a.giveBack()
		if kept := cap(a.nodes); kept > keptNodes || kept == 0 && nodes <= keptNodes {
			t.Errorf("of %d candidates, room for %d is kept", nodes, kept)
		}
	}
}
