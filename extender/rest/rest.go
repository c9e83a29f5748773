package rest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/extender"
	"galaxy/extender/api"
	"galaxy/extender/forward"
	"galaxy/extender/httpserver"
	"galaxy/kube/stream"
	"galaxy/projections"
)

// Config is what the REST port needs. Replica, Metrics, Log, Events and Version are required.
type Config struct {
	Replica extender.Replica
	Cluster func() extender.Cluster // the newest cluster; nil when there is none
	Metrics http.Handler            // GET /metrics
	Log     *zap.Logger
	Events  eventlog.Log
	Version string // of this program, for the OpenAPI document

	Identity string                 // of this replica, for people
	Replicas func() []api.ReplicaAt // who else is there, for GET /v1/state; may be nil
	Todo     func() []string        // what a person has to do before all goes on; may be nil

	Forward   *forward.Forwarder // nil: a replica that does not lead refuses what has to be decided
	Authorize Authorizer         // nil: whoever reaches the port may write
	// AuthorizeReads has the Authorizer asked for reads, too, but for health checks and the OpenAPI document.
	AuthorizeReads bool
}

// REST serves the interface for people and tools (contract section 5.2).
type REST struct {
	Config
	past, long *shares // who reads the log's past, and long lists
}

// Bounds of the REST interface.
const (
	maxBody        = 1 << 20
	requestTimeout = 30 * time.Second
	maxReleased    = 10_000  // addresses in one release
	maxSorted      = 200_000 // rows that are sorted other than by address
	maxPoolSize    = allocator.MaxPoolSize
	maxLogPage     = 1000
	defaultLogPage = 100
)

// New makes a REST.
func New(config Config) *REST {
	config.Replica = attributed{config.Forward.Watched(config.Replica)}
	return &REST{Config: config, past: newShares("the past", maxPastReads, pastShare),
		long: newShares("lists", maxListReads, listShare)}
}

// Handler serves /v1, /openapi.json, /metrics and the health checks.
func (rest *REST) Handler() http.Handler {
	mux := http.NewServeMux()
	routes := humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{OpenAPI: "3.1.0", Info: &huma.Info{
			Title: "Galaxy IPAM", Version: rest.Version,
			Description: "Floating addresses of pods, and the log that says why.",
		}},
		Formats:       huma.DefaultFormats,
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{ownErrors},
	})
	rest.registerAddresses(routes)
	rest.registerPools(routes)
	rest.registerLog(routes)
	rest.registerState(routes)
	httpserver.AddHealth(mux, rest.Replica)
	mux.Handle("GET /metrics", rest.Metrics)
	document, err := json.Marshal(routes.OpenAPI())
	if err != nil {
		panic(err) // the operations above are wrong, whatever the input
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter,
		_ *http.Request) {
		httpserver.WriteJSON(w, document)
	})
	return httpserver.Recovered(rest.Log, fromHost(unmatched(mux, httpserver.Guarded(reject, rest.guarded(mux)))))
}

// ownErrors gives errors that huma makes by itself, as for a body that is too large, the form of ours.
func ownErrors(_ huma.Context, _ string, body any) (any, error) {
	model, ok := body.(*huma.ErrorModel)
	if !ok {
		return body, nil
	}
	sentence := model.Detail
	for _, detail := range model.Errors {
		sentence += "; " + detail.Error()
	}
	return httpserver.Failure(model.Status, "%s", sentence), nil
}

// unmatched answers requests for unknown paths and wrong methods in the form of our errors, and hands the others on.
func unmatched(mux *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern != "" {
			next.ServeHTTP(w, r)
			return
		}
		probe := &statusOnly{header: w.Header()}
		handler.ServeHTTP(probe, r)
		e := httpserver.Failure(http.StatusNotFound, "%s has nothing here; see /openapi.json", r.URL.Path)
		if probe.status == http.StatusMethodNotAllowed {
			e = httpserver.Failure(probe.status, "%s does not take %s; it takes %s", r.URL.Path, r.Method,
				w.Header().Get("Allow"))
		}
		httpserver.WriteFailure(w, e)
	})
}

// statusOnly keeps the status and the header of a response, and drops its text.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }

// operation fills in what all operations share. The success response is made from the handler's output.
func operation(routes huma.API, method, path, id, summary string) huma.Operation {
	failure := map[string]*huma.MediaType{"application/json": {Schema: schemaOf[api.Failure](routes, "Failure")}}
	responses := map[string]*huma.Response{"default": {
		Description: "The request was refused or failed; message says why.", Content: failure,
	}}
	if method != http.MethodGet {
		responses["403"] = &huma.Response{
			Description: "The sender may not do that, or a browser sends it for a page of another site.",
			Content:     failure,
		}
		responses["415"] = &huma.Response{
			Description: "There is a body, and its Content-Type is another than application/json.", Content: failure,
		}
	}
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Responses: responses,
		MaxBodyBytes: maxBody, BodyReadTimeout: httpserver.BodyTimeout, SkipValidateBody: true, // see describeBody
	}
}

// describeBody documents a body that the handler decodes by itself, so that its errors are ours.
func describeBody[T any](routes huma.API, path, method, name string) {
	item := routes.OpenAPI().Paths[path]
	op := item.Post
	if method == http.MethodPut {
		op = item.Put
	}
	op.RequestBody = &huma.RequestBody{Required: true,
		Content: map[string]*huma.MediaType{"application/json": {Schema: schemaOf[T](routes, name)}}}
}

// describeResponse documents one more status with the output of another.
func describeResponse(op huma.Operation, routes huma.API, status, description string) {
	item := routes.OpenAPI().Paths[op.Path].Post
	item.Responses[status] = &huma.Response{Description: description, Content: item.Responses["200"].Content}
}

type bodyInput struct {
	RawBody []byte `contentType:"application/json"`
}

// readJSON decodes a body; members that are not known are passed over, as the contract's clients send whole rows back.
func readJSON(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return badRequest("the body is empty; send JSON as /openapi.json describes it")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return badRequest("the body: %v; /openapi.json describes it", stream.Describe(err))
	}
	return nil
}

func nonEmpty(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// newCause names a request in the log.
func newCause() string { return "rest-" + rand.Text() }

// asOf is the state at a point of the past.
func (rest *REST) asOf(ctx context.Context, until projections.Until) (*projections.View, error) {
	giveBack, err := rest.past.take(ctx)
	if err != nil {
		return nil, err
	}
	defer giveBack()
	db, err := projections.Load(ctx, rest.Events, eventlog.StreamIPAM, until, nil)
	if err != nil {
		return nil, fmt.Errorf("build the state as of then: %w", err)
	}
	return db.View(), nil
}
