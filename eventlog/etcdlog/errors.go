package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"galaxy/eventlog"
	"galaxy/pause"
)

var (
	// ErrNoLog comes from Open with ReadOnly, and from reading, when there is no log under the prefix.
	ErrNoLog = errors.New("there is no log")
	// ErrRestoring means that a restore has begun and not ended: the log is not complete and must not be used.
	ErrRestoring = errors.New("a restore into the log has not ended; repeat it with the same backup")
	// ErrReadOnly comes from writing to a log that was opened with ReadOnly.
	ErrReadOnly = errors.New("the log is open for reading only")
	// ErrNoSpace means that etcd's database has reached its quota. Nothing was written. Compact and defragment etcd or
	// raise its quota, then disarm its alarm.
	ErrNoSpace = errors.New("etcd is out of space")
)

// corrupt reports a contradiction in the log itself.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", eventlog.ErrCorrupt, fmt.Errorf(format, args...))
}

// codeOf is the gRPC code of an error from etcd's client; OK is never returned for an error.
func codeOf(err error) codes.Code {
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		return known.Code()
	}
	return status.Code(err)
}

// isTooLarge reports that a request was refused for its size, before anything was done with it.
func isTooLarge(err error) bool {
	return errors.Is(err, rpctypes.ErrRequestTooLarge) || errors.Is(err, rpctypes.ErrTooManyOps) ||
		// the client's own limit
		codeOf(err) == codes.ResourceExhausted && !isNoSpace(err) && !errors.Is(err, rpctypes.ErrTooManyRequests)
}

func isNoSpace(err error) bool { return errors.Is(err, rpctypes.ErrNoSpace) }

func isCompacted(err error) bool { return errors.Is(err, rpctypes.ErrCompacted) }

// isFinal reports an error that the same request would meet again: etcd has refused it, or the log itself is damaged.
// All others may be passing, and leave open whether the request was carried out.
func isFinal(err error) bool {
	for _, sentinel := range []error{eventlog.ErrCorrupt, eventlog.ErrGeneration, ErrNoLog, ErrRestoring} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	switch codeOf(err) {
	case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return true
	default:
		return false
	}
}

// backoff is the wait between attempts: short at first, since most troubles of etcd last as long as an election.
type backoff struct{ next time.Duration }

const (
	firstWait = 10 * time.Millisecond
	lastWait  = 500 * time.Millisecond
)

// wait returns early with the context's error when that ends.
func (b *backoff) wait(ctx context.Context) error {
	b.next = min(max(2*b.next, firstWait), lastWait)
	return pause.For(ctx, b.next)
}
