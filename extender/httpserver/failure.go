package httpserver

import (
	"encoding/json"
	"fmt"
	"net/http"

	"galaxy/extender/api"
)

// Failure makes a Failure with the contract's prefix for the status.
func Failure(status int, format string, args ...any) *api.Failure {
	prefix := "bad request: "
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		prefix = "not allowed: "
	case status == http.StatusNotFound:
		prefix = "not found: "
	case status >= http.StatusInternalServerError:
		prefix = "server error: "
	}
	return &api.Failure{Code: status, Message: prefix + fmt.Sprintf(format, args...)}
}

// WriteFailure answers as the REST interface does.
func WriteFailure(w http.ResponseWriter, f *api.Failure) {
	text, _ := json.Marshal(f) // two plain fields
	w.Header().Set("Content-Type", "application/json")
	w.Header().Del("Content-Length")
	w.WriteHeader(f.Code)
	_, _ = w.Write(text)
}
