package rest

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"galaxy/allocator"
	"galaxy/extender"
	"galaxy/extender/api"
	"galaxy/extender/httpserver"
	"galaxy/ipam"
)

// Authorizer says whether the bearer of a token may do something, and who that is. A resource that begins with "/" is a
// path of ours that is no resource of the cluster. A user comes with a Forbidden error, too. An error that is neither
// Unauthenticated nor Forbidden means that nobody could be asked.
type Authorizer interface {
	Authorize(ctx context.Context, token, verb, resource, name string) (user string, err error)
}

// Unauthenticated is an error for a token that nobody is known by.
type Unauthenticated interface {
	error
	Unauthenticated()
}

// Forbidden is an error for somebody who may not do that. Its text says what would allow it.
type Forbidden interface {
	error
	Forbidden()
}

// act is what a write does, in the words of Kubernetes.
type act struct{ verb, resource string }

const (
	resourceAddresses = "floatingips"
	resourcePools     = "pools"
)

// acts are the requests of the REST interface, by the pattern of their path.
var acts = map[string]act{
	"POST /v1/ip":            {"delete", resourceAddresses}, // it releases
	"PUT /v1/ip/{ip}":        {"create", resourceAddresses}, // it reserves
	"POST /v1/pool":          {"update", resourcePools},
	"DELETE /v1/pool/{name}": {"delete", resourcePools},

	"GET /v1/ip":              {"list", resourceAddresses},
	"GET /v1/ip/{ip}":         {"get", resourceAddresses},
	"GET /v1/ip/{ip}/history": {"list", resourceAddresses}, // it names others that had the address
	"GET /v1/log":             {"list", resourceAddresses},
	"GET /v1/state":           {"list", resourceAddresses},
	"GET /v1/pool":            {"list", resourcePools},
	"GET /v1/pool/{name}":     {"get", resourcePools},
	"GET /metrics":            {"get", "/metrics"}, // as for the cluster's own components
}

// public are the reads that anybody may make: they say nothing of the cluster.
var public = map[string]bool{"GET /healthz": true, "GET /readyz": true, "GET /healthy": true, "GET /openapi.json": true}

type userKey struct{}

// UserOf is who made the request, when that had to be proved; else "".
func UserOf(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}

// guarded is what a request that mux knows passes before mux gets it: may its sender do that, and does this replica
// decide it?
func (rest *REST) guarded(mux *http.ServeMux) http.Handler {
	return authorized(rest.Authorize, rest.AuthorizeReads, mux,
		rest.long.bounded(mux, rest.Forward.ToLeader(toLeader(), mux, decidedIn(mux))))
}

// decidedIn reports whether the leader has to respond: to what changes something, and to a read that wants the newest
// there is, but for those that anybody may make.
func decidedIn(mux *http.ServeMux) func(r *http.Request) bool {
	return func(r *http.Request) bool {
		if httpserver.Writes(r) {
			return true
		}
		if r.URL.Query().Get("fresh") != "true" {
			return false
		}
		_, pattern := mux.Handler(r)
		return !public[pattern]
	}
}

// authorized lets nobody write but whom the Authorizer allows it, and if reads is true nobody read what is not public.
func authorized(by Authorizer, reads bool, mux *http.ServeMux, next http.Handler) http.Handler {
	if by == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := mux.Handler(r)
		if !httpserver.Writes(r) && (!reads || public[pattern]) {
			next.ServeHTTP(w, r)
			return
		}
		ctx, refused := permit(by, pattern, r)
		if refused != nil {
			if refused.Code == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			httpserver.WriteFailure(w, refused)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// permit asks the Authorizer, and returns the request's context with the user in it.
func permit(by Authorizer, pattern string, r *http.Request) (context.Context, *api.Failure) {
	a, known := acts[pattern]
	if !known { // nothing may slip through for want of a line in the table
		return nil, httpserver.Failure(http.StatusForbidden, "no rule says who may do %s", pattern)
	}
	token, ok := bearer(r)
	if !ok {
		return nil, httpserver.Failure(http.StatusUnauthorized,
			"send the header Authorization: Bearer TOKEN, with a token of the cluster as %s gives it",
			"kubectl create token")
	}
	user, err := by.Authorize(r.Context(), token, a.verb, a.resource, nameIn(pattern, r.URL))
	var (
		unauthenticated Unauthenticated
		forbidden       Forbidden
	)
	switch {
	case err == nil:
		return context.WithValue(r.Context(), userKey{}, user), nil
	case errors.As(err, &unauthenticated):
		return nil, httpserver.Failure(http.StatusUnauthorized, "%v", err)
	case errors.As(err, &forbidden):
		return nil, httpserver.Failure(http.StatusForbidden, "%v", err)
	default:
		return nil, httpserver.Failure(http.StatusServiceUnavailable,
			"it could not be found out whether this is allowed: %v", err)
	}
}

func bearer(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// nameIn is what the last segment of a path names, as mux reads it; "" when the pattern has no such segment. Addresses
// are named in their one canonical form, so that rules for a name hold however it is spelt.
func nameIn(pattern string, at *url.URL) string {
	if !strings.HasSuffix(pattern, "}") {
		return ""
	}
	path := at.EscapedPath()
	name, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	if err != nil {
		return ""
	}
	if addr, err := ipam.ParseAddr(name); err == nil && strings.HasSuffix(pattern, "{ip}") {
		return addr.String()
	}
	return name
}

// attributed writes into the log who made a request.
type attributed struct{ extender.Replica }

// maxUser keeps the names of users in the log short.
const maxUser = 256

// Do is that of the replica.
func (r attributed) Do(ctx context.Context, cause string, command allocator.Command) (allocator.Result, error) {
	if user := UserOf(ctx); user != "" {
		if len(user) > maxUser {
			user = strings.ToValidUTF8(user[:maxUser], "") + "..."
		}
		cause += " by " + user
	}
	return r.Replica.Do(ctx, cause, command)
}
