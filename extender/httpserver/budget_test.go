package httpserver

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// However many bodies come at once, what is held of all of them is bounded; what is given back may be used again.
func TestBodiesInHandAreBounded(t *testing.T) {
	t.Parallel()
	b := &budget{most: 10 << 10}
	var held []*bytes.Buffer
	refused := 0
	for range 60 {
		into := &bytes.Buffer{}
		_, err := into.ReadFrom(&metered{from: strings.NewReader(strings.Repeat("x", 1000)), hold: b, into: into})
		if errors.Is(err, errFull) {
			refused++
		}
		held = append(held, into)
	}
	if refused != 50 || b.taken > b.most {
		t.Errorf("%d of 60 bodies are refused, and %d bytes are taken of %d", refused, b.taken, b.most)
	}
	for _, into := range held {
		b.giveBack(into)
		b.giveBack(into) // nothing is given back twice
	}
	if b.taken != 0 || len(b.of) != 0 {
		t.Errorf("%d bytes of %d buffers are never given back", b.taken, len(b.of))
	}
}

// A body for which there is no room is answered with 503, and takes nothing with it.
func TestBodyWithoutRoom(t *testing.T) {
	into := BorrowBuffer()
	filler := &bytes.Buffer{}
	inHand.mu.Lock()
	free := inHand.most - inHand.taken
	inHand.mu.Unlock()
	if err := inHand.take(filler, free); err != nil {
		t.Fatal(err)
	}
	err := ReadBody(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/filter",
		io.NopCloser(strings.NewReader("{}"))), 100, into)
	inHand.giveBack(filler)
	ReturnBuffer(into)
	var r *Refusal
	if !errors.As(err, &r) || r.Status != http.StatusServiceUnavailable {
		t.Errorf("%v", err)
	}
}
