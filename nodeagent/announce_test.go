package nodeagent

import (
	"encoding/json"
	"strings"
	"testing"

	"galaxy/ipam"
)

// The key of a node is taken over by the next life of its agent, and by nobody else: not by another machine, a clone of
// this one, or an agent in another container on the same kernel.
func TestWhoseKey(t *testing.T) {
	for _, c := range []struct{ what, machine, boot, says string }{
		{"this agent before a restart", "m1", "b1:4026531840", ""},
		{"an agent of a release before", "m1", "b1", ""},
		{"an agent whose kernel says nothing", "m1", "", ""},
		{"another machine", "m2", "b1:4026531840", "rename one of them"},
		{"a clone, or this machine before a reboot", "m1", "b2:4026531840", "made from one image"},
		{"another container on this kernel", "m1", "b1:4026532999", "made from one image"},
	} {
		a := &Agent{Config: Config{Node: "n1", Machine: "m1", Boot: "b1:4026531840"}}
		value, err := json.Marshal(ipam.Announcement{Node: "n1", Machine: c.machine, Boot: c.boot, TTL: 30})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.others(value); (err != nil) != (c.says != "") || err != nil &&
			!strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
