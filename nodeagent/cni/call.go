package cni

import (
	"encoding/json"

	"github.com/containernetworking/cni/pkg/skel"
)

// Call is an ADD of the runtime. It makes all networks of a pod, and a DEL of the same network and interface undoes
// them. An attachment of the CNI specification is (network, container, interface): another interface of the container,
// or another network of the runtime's, is another call, and none of its business.
type Call struct {
	Network string // the name of the runtime's network; "" in files of releases that did not keep it
	IfName  string
}

// callOf is the call of a request. A DEL without an interface, as for a container that is gone, is of all of them.
func callOf(args skel.CmdArgs) Call {
	var conf struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(args.StdinData, &conf) // a DEL must end whatever it is given
	return Call{Network: conf.Name, IfName: args.IfName}
}

// covers reports whether what a call has made is undone by this one.
func (c Call) covers(made Call) bool {
	return (c.IfName == "" || c.IfName == made.IfName) &&
		(c.Network == "" || made.Network == "" || c.Network == made.Network)
}

// split parts the attachments that a call covers from the others.
func (c Call) split(all []Attachment) (covered, others []Attachment) {
	for _, a := range all {
		if c.covers(a.Of) {
			covered = append(covered, a)
		} else {
			others = append(others, a)
		}
	}
	return covered, others
}
