package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
)

// A socket whose file somebody removes, or puts another in place of, is made again; the end leaves another's file
// alone.
func TestSocketIsMadeAgain(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "run", "s")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serveAt(ctx, socket, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_,
				_ = w.Write([]byte("here"))
		}), zap.NewNop())
	}()
	answered := func(when string) {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			}}}
		var err error
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			var response *http.Response
			if response, err = client.Get("http://agent/"); err == nil {
				_ = response.Body.Close()
				return
			}
		}
		t.Fatalf("%s: %v", when, err)
	}
	answered("at first")
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	answered("after its file was removed")
	other := socket + ".other"
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, socket); err != nil {
		t.Fatal(err)
	}
	answered("after its file was replaced")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
