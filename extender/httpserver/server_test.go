package httpserver_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/extender/httpserver"
)

func TestServer(t *testing.T) {
	s := httpserver.New(zap.NewNop())
	entered, leave := make(chan struct{}), make(chan struct{})
	at, err := s.Listen("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = w.Write([]byte("done"))
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	response := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + at.String())
		if err != nil {
			response <- err.Error()
			return
		}
		text, _ := io.ReadAll(resp.Body)
		response <- string(text)
	}()
	<-entered
	cancel()
	time.Sleep(20 * time.Millisecond)
	close(leave)
	if got := <-response; got != "done" {
		t.Errorf("the request in hand at the end got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := httpserver.New(zap.NewNop()).Listen("nonsense", nil); err == nil {
		t.Error("no port: no error")
	}
}
