package projections

import (
	"fmt"

	"galaxy/eventlog"
)

// Origin is what has become of what was there before the log: of pods that ran, and of a former system's objects. It
// never changes once made.
type Origin struct {
	Adopted string // the generation of the log in which the running pods were last adopted as a whole; "" for none

	Source   string                 // of the former objects, as "galaxy"; "" while nobody has looked for any
	Objects  int                    // how many there were
	Outcome  eventlog.FormerOutcome // "" while a person has to say
	Left     int                    // of the objects, how many were not taken over
	Resolved int64                  // when that was said, in Unix nanoseconds of a whole second; 0 while it was not
}

// Awaits reports whether somebody has yet to say what becomes of a former system's objects. Until then nothing is given
// out.
func (o *Origin) Awaits() bool { return o.Source != "" && o.Outcome == "" }

// Origin is what has become of what was there before the log.
func (v *View) Origin() *Origin { return v.origin }

// foldOrigin applies an event about what was there before; known is false for any other.
func (t *Txn) foldOrigin(e eventlog.Event) (known bool, err error) {
	next := *t.origin
	switch d := e.Data.(type) {
	case *eventlog.RunningPodsAdopted:
		next.Adopted = d.Generation
	case *eventlog.FormerObjectsFound:
		if next.Outcome != "" {
			return true, fmt.Errorf("%w: objects of %s are found after they were %s", ErrImpossible, d.Source,
				next.Outcome)
		}
		next.Source, next.Objects = d.Source, d.Objects
	case *eventlog.FormerObjectsResolved:
		next.Source, next.Outcome, next.Objects, next.Left, next.Resolved = d.Source, d.Outcome, d.Objects, d.Left,
			wholeSecond(e.Time)
	default:
		return false, nil
	}
	t.origin = &next
	return true, nil
}
