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
	Live bool // the objects are those of an API server, where authors of pods write what they like

	// Full asks to look at every held address, not only at what has changed between Old and New.
	Full bool
	// Suspects are what the last full pass found: held addresses whose pod is not there, by the event that they were
	// at. Only who is found twice is judged, as a list of pods and the log are never of quite the same moment.
	Suspects map[netip.Addr]uint64
}

// Step is one command, and the cause to write in the log.
type Step struct {
	Cause   string
	Command allocator.Command
	// Confirm is the pod whose end has to be proven by the cluster itself before the command is given: that it is not
	// among the objects is no evidence.
	Confirm *Suspect
}

// configures is the step that puts subnets in force, nil for none, and the steps after it.
func (p Plan) configures() (step *Step, rest []Step) {
	if len(p.Steps) == 0 {
		return nil, nil
	}
	if _, ok := p.Steps[0].Command.(allocator.Configure); !ok {
		return nil, p.Steps
	}
	return &p.Steps[0], p.Steps[1:]
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
	Suspects map[netip.Addr]uint64 // for the next full pass; nil unless this was one
	Err      error                 // objects that make no sense; the rest of the plan holds all the same

	Configured bool  // the ConfigMap was read
	BadConfig  error // why its subnets are not put in force
	// event since which the subnets that it has are in force; 0 if they are about to be, or are refused
	InForce   uint64
	Notices   []Notice   // pods that nothing here helps; of a full pass over a cluster
	Conflicts []Conflict // running pods with addresses that the log holds for others
}

// Conflict is a running pod that shows an address which the log does not let it have.
type Conflict struct {
	Pod     *kube.Pod
	Address netip.Addr
	Holder  ipam.Owner // of an address that is held
	Taken   bool       // it is another's; otherwise it is free, and only the pod's own annotation names it
}

// Decide plans what the cluster's objects ask for. Same input, same plan. The configuration comes first, so that the
// rest is decided under it; pools come after the running pods, of which the log may know nothing yet.
func Decide(in Input, rules Rules) Plan {
	var p Plan
	p.configure(in, rules)
	gone := p.pods(in)
	if in.Full {
		p.adopt(in, gone)
		p.heldWithoutPod(in, gone)
		if in.Live && in.New.KnowsPods() {
			p.notices(in)
		}
	}
	if !in.View.Origin().Awaits() { // else what a former system keeps for workloads and pools is not known yet
		p.pools(in)
		p.workloads(in)
	}
	return p
}

func (p *Plan) add(cause string, cmd allocator.Command) {
	p.Steps = append(p.Steps, Step{Cause: cause, Command: cmd})
}

func (p *Plan) fail(err error) { p.Err = errors.Join(p.Err, err) }
