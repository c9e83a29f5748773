package wire

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
)

// Handler is the agent's side: it reads a question, has it answered, and writes the answer. What answer returns is sent as it
// is; an error is sent as an error object of the CNI specification.
func Handler(answer func(ctx context.Context, req Request) ([]byte, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != Path {
			http.Error(w, "the agent answers only "+Path, http.StatusNotFound)
			return
		}
		req, err := Decode(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		result, err := answer(r.Context(), req)
		if err != nil {
			writeError(w, req, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(result) // a client that is gone asks again
	})
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
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(f) // a client that is gone asks again
}
