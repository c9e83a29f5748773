package scheduler

import (
	"net/http"

	"galaxy/extender/forward"
	"galaxy/extender/httpserver"
)

// forwarded is a verb of which this replica serves what it may. Bind is always the leader's; filter only when it has to
// claim something.
func (s *Scheduler) forwarded(path string, local http.Handler) http.Handler {
	switch path {
	case "/v1/bind":
		return s.Forward.ToLeader(toLeader(maxBindBody, appendBindResult), local,
			func(*http.Request) bool { return true })
	case "/v1/filter":
		return s.Forward.IfUndecided(toLeader(s.MaxBody, appendFilterError), local)
	default:
		return local
	}
}

// toLeader is how a verb gets to the leader. That none has answered is said in the verb's own form.
func toLeader(limit int64, appendError func([]byte, error) []byte) forward.Route {
	return forward.Route{
		Port: func(p forward.Peer) string { return p.Scheduler }, Limit: limit, Reject: httpserver.WriteRefusal,
		Fail: func(w http.ResponseWriter, err error) { httpserver.WriteJSON(w, appendError(nil, err)) },
	}
}
