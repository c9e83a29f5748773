package wire

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
)

// Handler is the agent's side: it reads a question, has it answered, and writes the response. What answer returns is
// sent as it is; an error is sent as an error object of the CNI specification.
func Handler(respond func(ctx context.Context, req Request) ([]byte, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != Path {
			http.Error(w, "the agent answers only "+Path, http.StatusNotFound)
			return
		}
		// The question must come soon; the response may take as long as plugins do.
		deadline := http.NewResponseController(w)
		_ = deadline.SetReadDeadline(time.Now().Add(questionTimeout)) // where it cannot be set there is no slow client
		req, err := Decode(r.Body)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.Header().Set("Connection", "close")
			http.Error(w, "the question did not come in time", http.StatusRequestTimeout)
			return
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = deadline.SetReadDeadline(time.Time{})
		result, err := respond(r.Context(), req)
		if err != nil {
			writeError(w, req, err)
			return
		}
		write(w, http.StatusOK, result)
	})
}

// questionTimeout is how long a question, of some kilobytes, may take to come.
var questionTimeout = 10 * time.Second

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // nothing else in HTTP/1.0 shows that a response is whole
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone asks again
}

// failure is the error object of the CNI specification.
type failure struct {
	CNIVersion string `json:"cniVersion,omitempty"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

func writeError(w http.ResponseWriter, req Request, err error) {
	f := failure{Code: types.ErrInternal, Msg: err.Error()}
	var known *types.Error
	if errors.As(err, &known) {
		f.Code, f.Msg, f.Details = known.Code, known.Msg, known.Details
	}
	if version, err := create.DecodeVersion(req.Config); err == nil {
		f.CNIVersion = version
	}
	status := http.StatusInternalServerError
	if f.Code == types.ErrInvalidEnvironmentVariables {
		status = http.StatusBadRequest
	}
	body, _ := json.Marshal(f) // strings and a number can be encoded
	write(w, status, body)
}
