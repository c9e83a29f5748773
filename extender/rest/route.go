package rest

import (
	"net/http"
	"strings"

	"galaxy/extender/forward"
	"galaxy/extender/httpserver"
)

// toLeader is how a request gets to the leader. It fails as others do.
func toLeader() forward.Route {
	return forward.Route{
		Port: func(p forward.Peer) string { return p.REST }, Limit: maxBody, Within: requestTimeout, Label: label,
		Reject: reject,
		Fail: func(w http.ResponseWriter, err error) {
			httpserver.WriteFailure(w, httpserver.Failure(http.StatusServiceUnavailable, "%v", err))
		},
	}
}

// reject responds to a request that was not read.
func reject(w http.ResponseWriter, err error) {
	httpserver.WriteFailure(w, httpserver.Failure(httpserver.StatusOf(err), "%v", err))
}

// label is a path with what it names left out.
func label(path string) string {
	for _, at := range []struct{ under, as string }{{"/v1/ip/", "/v1/ip/{ip}"}, {"/v1/pool/", "/v1/pool/{name}"}} {
		if rest, named := strings.CutPrefix(path, at.under); named {
			_, more, _ := strings.Cut(rest, "/")
			if more != "" {
				return at.as + "/…"
			}
			return at.as
		}
	}
	return path
}
