package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// asked is what comes of a question to an agent that does with the connection what it likes.
func asked(t *testing.T, question string, within time.Duration, agent func(net.Conn)) (text, broken string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "") // t.TempDir's are too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // it is a temporary one
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nobody asks any more
	go func() {
		if conn, err := listener.Accept(); err == nil {
			agent(conn)
			_ = conn.Close() // the other side sees it
		}
	}()
	conn, err := dial(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	response, broken := ask(conn, []byte(question), within)
	return string(response), broken
}

// A question is bounded in time, and so is its sending; and what an agent says before it has read all is heard.
func TestAsk(t *testing.T) {
	large := strings.Repeat("x", 8<<20)
	over := make(chan struct{})
	defer close(over)
	silent := func(net.Conn) { <-over }
	says := func(c net.Conn) { _, _ = io.WriteString(c, "no") } // who is gone needs no response
	for _, c := range []struct {
		name, question string
		agent          func(net.Conn)
		text, broken   string
	}{
		{"an agent that is silent", "x", silent, "", "no response within 100ms"},
		{"an agent that does not read", large, silent, "", "no response within 100ms"},
		{"an agent that says no at once", large, says, "no", ""},
		{"an agent that has gone", large, func(net.Conn) {}, "", ""},
	} {
		text, broken := asked(t, c.question, 100*time.Millisecond, c.agent)
		if broken == "connection reset by peer" {
			broken = "" // the kernel calls an end so if it came before some of the question
		}
		if text != c.text || broken != c.broken {
			t.Errorf("%s: %q, %q", c.name, text, broken)
		}
	}
}

// Nobody behind the socket, or no socket, is distinguished from an agent that does not answer.
func TestDial(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "s"), strings.Repeat("/long", 40), "/dev/null"} {
		if conn, err := dial(path); err == nil {
			t.Errorf("%s: there is connection %d", path, conn)
		}
	}
}
