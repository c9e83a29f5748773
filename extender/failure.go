package extender

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/allocator"
)

// Failure is the answer to a request that was refused or failed.
type Failure struct {
	Code    int    `json:"code" doc:"The HTTP status"`
	Message string `json:"message" doc:"One sentence after the kind of failure: bad request, not allowed, not found, server error"`
}

func (f *Failure) Error() string { return f.Message }

// GetStatus tells huma the HTTP status.
func (f *Failure) GetStatus() int { return f.Code }

// failure makes a Failure with the contract's prefix for the status.
func failure(status int, format string, args ...any) *Failure {
	prefix := "bad request: "
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		prefix = "not allowed: "
	case status == http.StatusNotFound:
		prefix = "not found: "
	case status >= http.StatusInternalServerError:
		prefix = "server error: "
	}
	return &Failure{Code: status, Message: prefix + fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return failure(http.StatusBadRequest, format, args...)
}

func notFound(format string, args ...any) error {
	return failure(http.StatusNotFound, format, args...)
}

// failureOf maps an error of the allocator or the log to an answer.
func failureOf(err error) error {
	var (
		own       *Failure
		holder    *allocator.HolderError
		unknown   *allocator.UnknownAddressError
		exhausted *allocator.ExhaustedError
		limit     *allocator.LimitError
		full      *allocator.PoolFullError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case errors.As(err, &unknown), errors.Is(err, allocator.ErrNoPool):
		return failure(http.StatusNotFound, "%v", err)
	case errors.As(err, &holder), errors.As(err, &exhausted), errors.As(err, &limit), errors.As(err, &full):
		return failure(http.StatusConflict, "%v", err)
	case errors.Is(err, allocator.ErrUnsupported):
		return failure(http.StatusBadRequest, "%v", err)
	case errors.Is(err, allocator.ErrNotLeader), errors.Is(err, context.DeadlineExceeded):
		return failure(http.StatusServiceUnavailable, "%v", err)
	default:
		return failure(http.StatusInternalServerError, "%v", err)
	}
}

// schemaOf is the schema of a type in the OpenAPI document.
func schemaOf[T any](api huma.API, name string) *huma.Schema {
	return api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, name)
}
