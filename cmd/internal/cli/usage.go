package cli

import (
	"errors"
	"fmt"
)

// The exit codes of all programs.
const (
	OK      = 0
	Failure = 1 // what was asked for failed, or was found to be wrong
	Misuse  = 2 // the command line cannot be understood
)

// UsageError is a command line that cannot be understood: its exit code is Misuse.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }

func (e *UsageError) Unwrap() error { return e.err }

// Usage makes a UsageError, as fmt.Errorf does.
func Usage(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// IsUsage reports whether an error is that of a command line.
func IsUsage(err error) bool {
	var usage *UsageError
	return errors.As(err, &usage)
}

// ExitCode is the exit code for an error, which may be nil.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return OK
	case IsUsage(err):
		return Misuse
	default:
		return Failure
	}
}
