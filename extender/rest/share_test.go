package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"galaxy/extender/api"
)

func as(user string) context.Context {
	return context.WithValue(context.Background(), userKey{}, user)
}

func refusedWith(err error) int {
	var f *api.Failure
	if !errors.As(err, &f) {
		return 0
	}
	return f.Code
}

// However many one client asks, another gets its turn; what a client gave back it may have again.
func TestShares(t *testing.T) {
	s := newShares("the past", maxPastReads, pastShare)
	var greedy []func()
	for range 100 {
		ctx, cancel := context.WithCancel(as("greedy"))
		if len(greedy) == 1 {
			cancel() // it waits behind its first one no longer
		}
		if giveBack, err := s.take(ctx); err == nil {
			greedy = append(greedy, giveBack)
		} else if code := refusedWith(err); code != http.StatusTooManyRequests &&
			code != http.StatusServiceUnavailable {
			t.Fatal(err)
		}
		cancel()
	}
	if len(greedy) > pastShare {
		t.Fatalf("one client has %d", len(greedy))
	}
	for _, giveBack := range greedy {
		giveBack()
	}
	for range 10 {
		giveBack, err := s.take(as("other"))
		if err != nil {
			t.Fatal(err)
		}
		giveBack()
	}
	if len(s.of) != 0 {
		t.Errorf("clients that have nothing in hand are remembered: %v", s.of)
	}
}

// One who waits has its share, too: a hundred clients cannot be one that waits a hundred times.
func TestSharesOfThoseWhoWait(t *testing.T) {
	s := newShares("the past", 1, pastShare)
	giveBack, err := s.take(as("first"))
	if err != nil {
		t.Fatal(err)
	}
	waiting, cancel := context.WithCancel(as("second"))
	ended := make(chan error)
	for range pastShare {
		go func() {
			_, err := s.take(waiting)
			ended <- err
		}()
	}
	for !func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.of["user second"] == pastShare }() {
	}
	if _, err := s.take(as("second")); refusedWith(err) != http.StatusTooManyRequests {
		t.Errorf("%v", err)
	}
	cancel()
	for range pastShare {
		if err := <-ended; refusedWith(err) != http.StatusServiceUnavailable {
			t.Errorf("%v", err)
		}
	}
	giveBack()
	if len(s.of) != 0 {
		t.Error(fmt.Sprint(s.of))
	}
}

// Clients that ask for lists and do not read them hold a bounded number of responses, and others are still answered.
func TestReadersThatDoNotRead(t *testing.T) {
	mux, reached, read := http.NewServeMux(), make(chan struct{}, 1000), make(chan struct{})
	mux.HandleFunc("GET /v1/ip", func(http.ResponseWriter, *http.Request) {
		reached <- struct{}{}
		<-read // the response is written, and the client does not take it
	})
	handler := fromHost(newShares("lists", maxListReads, listShare).bounded(mux, mux))
	var asking sync.WaitGroup
	refused := make(chan int, 1000)
	ask := func(host string) {
		r, w := httptest.NewRequest(http.MethodGet, "/v1/ip?size=9999", nil), httptest.NewRecorder()
		r.RemoteAddr = host + ":1"
		if handler.ServeHTTP(w, r); w.Code != http.StatusOK {
			refused <- w.Code
		}
	}
	for range 100 {
		asking.Go(func() { ask("10.0.0.1") })
	}
	for range listShare {
		<-reached
	}
	for range 100 - listShare {
		if code := <-refused; code != http.StatusTooManyRequests {
			t.Fatal(code)
		}
	}
	asking.Go(func() { ask("10.0.0.2") })
	<-reached // another client is served beside it
	close(read)
	asking.Wait()
}
