package wire

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A question whose body does not come is not waited for for ever; one that came may take its time.
func TestQuestionsMustCome(t *testing.T) {
	questionTimeout = 100 * time.Millisecond
	t.Cleanup(func() { questionTimeout = 10 * time.Second })
	server := httptest.NewServer(Handler(func(ctx context.Context, _ Request) ([]byte, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(4 * questionTimeout):
			return []byte("{}"), nil
		}
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	if _, err := io.WriteString(conn, "POST "+Path+
		" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"env\""); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if response, err := io.ReadAll(conn); err != nil || !strings.Contains(string(response), "408") {
		t.Errorf("half a question is answered with %q, %v", response, err)
	}
	response, err := http.Post(server.URL+Path, "application/json",
		strings.NewReader(`{"env":{"CNI_COMMAND":"ADD"},"config":"e30="}`))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("a question that takes its time: %+v, %v", response, err)
	}
}
