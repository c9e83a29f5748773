package eventlog

import (
	"errors"
	"fmt"
)

var (
	// ErrConflict comes from Append when the stream's head is no longer the one that the writer has seen: another
	// writer was faster. Nothing was written; catch up and decide again.
	ErrConflict = errors.New("the head of the stream has moved")
	// ErrFenced comes from Append when the writer is no longer the leader. Nothing was written.
	ErrFenced = errors.New("the writer has been deposed: its leader key is gone or another's")
	// ErrGeneration means that the log is not the one that was known: it was restored from a backup or made anew.
	ErrGeneration = errors.New("the log is of another generation")
	// ErrCorrupt means that the log contradicts itself: a missing sequence number, a hash that does not match, an event
	// that was deleted, bytes that are no event. It is never skipped.
	ErrCorrupt = errors.New("the log is corrupt")
	// ErrOutcomeUnknown comes from Append when the context ended before it could be learnt whether the events landed.
	ErrOutcomeUnknown = errors.New("it is not known whether the events were written")
	// ErrTooLarge comes from Append when the records do not fit in one transaction; see Log.Limits. Nothing was
	// written.
	ErrTooLarge = errors.New("the records do not fit in one transaction")
	// ErrNoSnapshot means that the stream has no usable snapshot.
	ErrNoSnapshot = errors.New("no snapshot")
)

// A VersionError is an event that this program is too old, or too new, to understand.
type VersionError struct {
	Stream string // may be empty
	Seq    uint64
	Found  int
	Known  int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("event %d has envelope version %d, this program understands version %d; run a release that "+
		"knows both", e.Seq, e.Found, e.Known)
}

// An UnknownTypeError is an event of a type that this program has never heard of.
type UnknownTypeError struct {
	Seq     uint64
	Type    Type
	Version int // the envelope version that this program understands
}

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("event %d is of the unknown type %q; this program understands version %d of the log: run a "+
		"newer release", e.Seq, e.Type, e.Version)
}
