package rest

import (
	"context"
	"errors"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/allocator"
	"galaxy/extender/api"
	"galaxy/extender/httpserver"
)

func badRequest(format string, args ...any) error {
	return httpserver.Failure(http.StatusBadRequest, format, args...)
}

func notFound(format string, args ...any) error {
	return httpserver.Failure(http.StatusNotFound, format, args...)
}

// failureOf maps an error of the allocator or the log to a response.
func failureOf(err error) error {
	var (
		own       *api.Failure
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
		return httpserver.Failure(http.StatusNotFound, "%v", err)
	case errors.As(err, &holder), errors.As(err, &exhausted), errors.As(err, &limit), errors.As(err, &full):
		return httpserver.Failure(http.StatusConflict, "%v", err)
	case errors.Is(err, allocator.ErrUnsupported):
		return httpserver.Failure(http.StatusBadRequest, "%v", err)
	case errors.Is(err, allocator.ErrNotLeader), errors.Is(err, context.DeadlineExceeded):
		return httpserver.Failure(http.StatusServiceUnavailable, "%v", err)
	default:
		return httpserver.Failure(http.StatusInternalServerError, "%v", err)
	}
}

// schemaOf is the schema of a type in the OpenAPI document.
func schemaOf[T any](routes huma.API, name string) *huma.Schema {
	return routes.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, name)
}
