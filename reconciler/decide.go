package reconciler

import (
	"errors"
	"net/netip"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/objects"
	"galaxy/projections"
)

// Rules are the operator's choices.
type Rules struct {
	ConfigNamespace string // of the ConfigMap that holds the subnets; "" for none
	ConfigName      string
	ConfigKey       string
	ForceConfig     bool // drain held addresses that a new configuration drops, rather than refuse it
}

// DefaultRules read the subnets from where the contract says (section 3).
func DefaultRules() Rules {
	return Rules{ConfigNamespace: "kube-system", ConfigName: "floatingip-config", ConfigKey: "floatingips"}
}

// Input is what a decision knows.
type Input struct {
	Old  *objects.Set // what was reconciled last; nil at first
	New  *objects.Set
	View *projections.View

	// Full asks to look at every held address, not only at what has changed between Old and New.
	Full bool
	// Suspects are what the last full look found: held addresses whose pod is not there, by the event that they were at.
	// Only who is found twice is judged, as a list of pods and the log are never of quite the same moment.
	Suspects map[netip.Addr]uint64
}

// Step is one command, and the cause to write in the log.
type Step struct {
	Cause   string
	Command allocator.Command
	// Confirm is the pod whose end has to be proven by the cluster itself before the command is given: that it is not among the
	// objects is no proof.
	Confirm *Suspect
}

// Suspect is a pod that seems to have ended.
type Suspect struct {
	Namespace, Name, UID string
	Address              netip.Addr
	Seq                  uint64 // the event that the address was at
}

// Plan is what to do.
type Plan struct {
	Steps    []Step
	Suspects map[netip.Addr]uint64 // for the next full look; nil unless this was one
	Fault    error                 // objects that make no sense; the rest of the plan holds all the same

	Configured bool       // the ConfigMap was looked at
	BadConfig  error      // why its subnets are not put in force
	Conflicts  []Conflict // running pods with addresses that the log holds for others
}

// Conflict is a running pod that uses an address which is held for another.
type Conflict struct {
	Pod     *kube.Pod
	Address netip.Addr
	Holder  ipam.Owner
}

// Decide plans what the cluster's objects ask for. Same input, same plan. The configuration comes first, so that the rest
// is decided under it.
func Decide(in Input, rules Rules) Plan {
	var p Plan
	p.configure(in, rules)
	p.pools(in)
	gone := p.pods(in)
	if in.Full {
		p.adopt(in, gone)
		p.heldWithoutPod(in, gone)
	}
	p.workloads(in)
	return p
}

func (p *Plan) add(cause string, cmd allocator.Command) {
	p.Steps = append(p.Steps, Step{Cause: cause, Command: cmd})
}

func (p *Plan) fault(err error) { p.Fault = errors.Join(p.Fault, err) }
