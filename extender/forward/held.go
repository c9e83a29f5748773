package forward

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/extender"
)

// mark notes of a request that this replica turned out not to lead while it was served.
type mark struct {
	deposed atomic.Bool
	body    []byte // of filter, to be sent to the leader
}

type markKey struct{}

func withMark(ctx context.Context) (context.Context, *mark) {
	m := new(mark)
	return context.WithValue(ctx, markKey{}, m), m
}

func markOf(ctx context.Context) *mark {
	m, _ := ctx.Value(markKey{}).(*mark)
	return m
}

// KeepBody reports whether the leader has to answer the request instead, and then keeps its body for that.
func KeepBody(ctx context.Context, body *bytes.Buffer) bool {
	m := markOf(ctx)
	if m == nil || !m.deposed.Load() {
		return false
	}
	m.body = bytes.Clone(body.Bytes())
	return true
}

// marking is a replica that marks the requests which it could not decide because it does not lead.
type marking struct{ extender.Replica }

// Watched is the replica as handlers behind this Forwarder have to use it.
func (f *Forwarder) Watched(replica extender.Replica) extender.Replica {
	if f == nil {
		return replica
	}
	return marking{replica}
}

// Do is that of the replica.
func (r marking) Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error) {
	result, err := r.Replica.Do(ctx, cause, command)
	if m := markOf(ctx); m != nil && isDeposed(ctx, err) {
		m.deposed.Store(true)
	}
	return result, err
}

// isDeposed reports whether a command failed for the end of a term. Whether its events landed may be unknown then, but
// a command may be repeated.
func isDeposed(ctx context.Context, err error) bool {
	return errors.Is(err, allocator.ErrNotLeader) || errors.Is(err, eventlog.ErrFenced) ||
		errors.Is(err, eventlog.ErrOutcomeUnknown) && ctx.Err() == nil
}

// heldResponse keeps a response until it is known to be one. It hides the connection: its deadlines are those of the
// request.
type heldResponse struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is what the response will carry.
func (a *heldResponse) Header() http.Header { return a.header }

func (a *heldResponse) Write(text []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.body.Write(text)
}

// WriteHeader keeps the first status, as a connection does.
func (a *heldResponse) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *heldResponse) writeTo(w http.ResponseWriter) {
	copyHeader(w.Header(), a.header)
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = w.Write(a.body.Bytes()) // a client that went away is no error
}
