package httpserver

import (
	"net/http"

	"go.uber.org/zap"
)

// Recovered turns a panic of a handler into a 500 and a line in the log, so that one bad request harms no other.
func Recovered(log *zap.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch reason := recover(); reason {
			case nil:
			case http.ErrAbortHandler:
				panic(reason)
			default:
				log.Error("a request handler panicked", zap.String("method", r.Method), zap.String("path", r.URL.Path),
					zap.Any("panic", reason), zap.Stack("stack"))
				http.Error(w, "server error: the request could not be served; the log of galaxy-ipam says why",
					http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}
