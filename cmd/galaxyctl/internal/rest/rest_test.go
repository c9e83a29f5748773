package rest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A response without end is given up, however small its parts.
func TestEndlessResponse(t *testing.T) {
	sent := 0
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for part := strings.Repeat(" ", 1<<10); ; sent += len(part) {
			if _, err := io.WriteString(w, part); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	s := &Server{base: endless.URL, client: endless.Client(), most: 1 << 20}
	if _, err := s.Ask(t.Context(), http.MethodGet, "/v1/ip", nil, nil, nil); err == nil ||
		!strings.Contains(err.Error(), "broke off") {
		t.Errorf("%v", err)
	}
	endless.Close() // waits for the handler
	if sent > 64<<20 {
		t.Errorf("%d bytes were taken", sent)
	}
}
