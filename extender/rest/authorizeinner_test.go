package rest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type everybody struct{}

func (everybody) Authorize(context.Context, string, string, string, string) (string, error) {
	return "jane", nil
}

// TestAuthorizeUnknown: what was added without saying who may do it is done by nobody.
func TestAuthorizeUnknown(t *testing.T) {
	mux, done := http.NewServeMux(), 0
	mux.HandleFunc("/v1/new", func(http.ResponseWriter, *http.Request) { done++ })
	handler := authorized(everybody{}, false, mux, mux)
	for method, want := range map[string]int{http.MethodPost: http.StatusForbidden,
		http.MethodPatch: http.StatusForbidden, http.MethodGet: http.StatusOK} {
		r, w := httptest.NewRequest(method, "/v1/new", strings.NewReader("{}")), httptest.NewRecorder()
		r.Header.Set("Authorization", "Bearer x")
		if handler.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s: %d %s, want %d", method, w.Code, w.Body, want)
		}
	}
	r, w := httptest.NewRequest(http.MethodGet, "/v1/new", nil), httptest.NewRecorder()
	r.Header.Set("Authorization", "Bearer x")
	if authorized(everybody{}, true, mux, mux).ServeHTTP(w, r); w.Code != http.StatusForbidden {
		t.Errorf("a read, where reads are asked about: %d", w.Code)
	}
	if done != 1 {
		t.Errorf("done %d times, want the read only", done)
	}
}
