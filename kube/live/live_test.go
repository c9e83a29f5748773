package live

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"
)

// Whoever waits for the objects of an API server that is away, or that refuses, gets an error why they have not been
// read.
func TestWhyNothingWasRead(t *testing.T) {
	line, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := line.Addr().String()
	if err := line.Close(); err != nil {
		t.Fatal(err)
	}
	clients, err := NewClients(&rest.Config{Host: "http://" + away})
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{Clients: clients, Log: zap.NewNop(), Actor: "test"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Run(ctx)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	for deadline := time.Now().Add(20 * time.Second); ; {
		waiting, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := c.WaitForSync(waiting)
		stop()
		if err != nil && strings.Contains(err.Error(), "connection refused") &&
			strings.Contains(err.Error(), "have not been read yet") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it says %v", err)
		}
	}
}
