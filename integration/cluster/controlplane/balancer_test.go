package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// replica is a server that says its name, and is ready when it is set so.
type replica struct {
	*httptest.Server
	ready atomic.Bool
}

func newReplica(t *testing.T, b *Balancer, name string) *replica {
	t.Helper()
	r := &replica{Server: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, name) // a client that is gone is no matter here
	}))}
	t.Cleanup(r.Close)
	r.ready.Store(true)
	b.Add(name, strings.TrimPrefix(r.URL, "http://"), func(context.Context) error {
		if !r.ready.Load() {
			return errors.New("not ready")
		}
		return nil
	})
	return r
}

func newBalancer(t *testing.T) *Balancer {
	t.Helper()
	b, err := NewBalancer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// ask asks on a new connection.
func ask(url string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func waitReady(t *testing.T, b *Balancer, want ...string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for fmt.Sprint(b.Ready()) != fmt.Sprint(want) {
		if time.Now().After(deadline) {
			t.Fatalf("ready are %v, want %v", b.Ready(), want)
		}
		time.Sleep(time.Millisecond)
	}
}

// counts asks n times and counts who answers.
func counts(t *testing.T, b *Balancer, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		name, err := ask(b.URL())
		if err != nil {
			t.Fatal(err)
		}
		got[name]++
	}
	return got
}

// Connections go in turn to the replicas that are ready, past those that do not accept.
func TestBalancerTakesTurns(t *testing.T) {
	b := newBalancer(t)
	one, two := newReplica(t, b, "one"), newReplica(t, b, "two")
	waitReady(t, b, "one", "two")
	if got := counts(t, b, 10); got["one"] != 5 || got["two"] != 5 {
		t.Errorf("10 connections went to %v", got)
	}
	two.ready.Store(false)
	waitReady(t, b, "one")
	if got := counts(t, b, 4); got["one"] != 4 {
		t.Errorf("with one ready, 4 connections went to %v", got)
	}
	two.ready.Store(true)
	waitReady(t, b, "one", "two")
	one.Close() // it refuses connections, and its probe still says that it is ready
	if got := counts(t, b, 4); got["two"] != 4 {
		t.Errorf("with one that refuses, 4 connections went to %v", got)
	}
	b.Remove("one")
	waitReady(t, b, "two")
}

// With no replica, a client learns that at once.
func TestBalancerRefuses(t *testing.T) {
	b := newBalancer(t)
	start := time.Now()
	if name, err := ask(b.URL()); err == nil {
		t.Errorf("%q answers, and there is nobody", name)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the refusal took %s", took)
	}
}

// A connection that waits for a response ends when the balancer cuts it.
func TestBalancerCuts(t *testing.T) {
	b := newBalancer(t)
	arrived, hold := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-hold
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hold) })
	b.Add("one", strings.TrimPrefix(server.URL, "http://"), func(context.Context) error { return nil })
	waitReady(t, b, "one")
	ended := make(chan error, 1)
	go func() {
		_, err := ask(b.URL())
		ended <- err
	}()
	<-arrived
	b.Cut()
	if err := <-ended; err == nil {
		t.Error("a connection that was cut got a response")
	}
}
