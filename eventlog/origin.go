package eventlog

// Events about what was there before the log: pods that run with addresses, and the objects that a former system kept
// its addresses in. An address that only they know of looks free in the log.

// RunningPodsAdopted says that all pods that run have been compared with the log once in a generation of it, with
// subnets in force, and that what they were given is recorded. From here on the log knows of every bind.
type RunningPodsAdopted struct {
	Generation string `json:"generation"`
	Pods       int    `json:"pods"` // how many addresses were recorded by it
}

// FormerObjectsFound says that the log was begun where a former system had left objects. Until FormerObjectsResolved
// nothing is given out, and no object is touched.
type FormerObjectsFound struct {
	Source  string `json:"source"` // of which system, as "galaxy"
	Objects int    `json:"objects"`
}

// FormerObjectsResolved says what has become of a former system's objects.
type FormerObjectsResolved struct {
	Source  string        `json:"source"`
	Outcome FormerOutcome `json:"outcome"`
	Objects int           `json:"objects,omitzero"` // how many there were
	Left    int           `json:"left,omitzero"`    // of them, how many the log did not take over
}

// FormerOutcome is what has become of a former system's objects.
type FormerOutcome string

// The outcomes.
const (
	FormerNone      FormerOutcome = "none"      // there were none
	FormerImported  FormerOutcome = "imported"  // the log holds what they held
	FormerDiscarded FormerOutcome = "discarded" // a person has said that they mean nothing any more
)

// Type is the event's name on disk.
func (*RunningPodsAdopted) Type() Type { return TypeRunningPodsAdopted }

// Type is the event's name on disk.
func (*FormerObjectsFound) Type() Type { return TypeFormerObjectsFound }

// Type is the event's name on disk.
func (*FormerObjectsResolved) Type() Type { return TypeFormerObjectsResolved }
