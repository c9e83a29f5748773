package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"galaxy/wire"
)

// folder is where build has put the programs.
var folder string

// build puts both programs into one folder, as an installation does.
var build = sync.OnceValue(func() (err error) {
	if folder, err = os.MkdirTemp("", "galaxy-sdn"); err != nil {
		return err
	}
	out, err := exec.Command("go", "build", "-o", folder, "galaxy/cmd/galaxy-cni",
		"galaxy/cmd/galaxy-sdn").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(folder) // it may not be there
	os.Exit(code)
}

func programs(t *testing.T) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return folder
}

// response is what an agent does with a connection once it has read the question.
type response func(proto string, to io.Writer)

// raw answers with bytes; PROTO in them stands for the protocol of the question.
func raw(text string) response {
	return func(proto string, to io.Writer) {
		_, _ = io.WriteString(to, strings.Replace(text, "PROTO", proto, 1)) // who is gone needs no response
	}
}

func respond(status int, body string) response {
	return raw(fmt.Sprintf("PROTO %d %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status,
		http.StatusText(status), len(body), body))
}

// agent notes what it is asked.
type agent struct {
	t        *testing.T
	response response
	mutex    sync.Mutex
	asked    []wire.Request
	protos   []string
}

// serve takes one connection after the other until the listener is closed.
func (a *agent) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		proto, err := a.read(conn)
		if err != nil {
			a.t.Errorf("the agent was asked what it does not understand: %v", err)
		} else {
			a.response(proto, conn)
		}
		_ = conn.Close() // the response is what counts
	}
}

func (a *agent) read(conn net.Conn) (proto string, err error) {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return "", err
	}
	asked, err := wire.Decode(req.Body)
	if err != nil {
		return "", err
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.asked, a.protos = append(a.asked, asked), append(a.protos, req.Proto)
	return req.Proto, nil
}

// seen are the questions, and their protocol: HTTP/1.0 is that of the small program.
func (a *agent) seen() ([]wire.Request, []string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return slices.Clone(a.asked), slices.Clone(a.protos)
}

// call is one call of the plugin by a runtime. Places in its configuration are relative to a folder that is made for
// it.
type call struct {
	env      []string
	config   string
	args     []string
	response response // of the agent, if there is one
	// refused is for a socket that nobody is behind.
	refused bool
}

const plain = `{"cniVersion":"1.1.0","name":"galaxy-sdn","type":"galaxy-sdn","socket":"s","notes":"notes"}`

// outcome is what there is of a call when it is over.
type outcome struct {
	out, err string
	code     int
	asked    []wire.Request
	protos   []string
	note     string
}

func (c call) run(t *testing.T, program string, args ...string) outcome {
	t.Helper()
	dir, err := os.MkdirTemp("", "") // t.TempDir's are too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // it is a temporary one
	a := &agent{t: t, response: c.response}
	if c.response != nil || c.refused {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		listener.SetUnlinkOnClose(false)
		if c.refused {
			_ = listener.Close() // its file stays
		} else {
			go a.serve(listener)
			defer listener.Close() //nolint:errcheck // nobody asks any more
		}
	}
	cmd := exec.Command(program, append(args, c.args...)...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, c.env, strings.NewReader(c.config)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := outcome{out: out.String(), err: said.String(), code: cmd.ProcessState.ExitCode()}
	o.asked, o.protos = a.seen()
	note, err := os.ReadFile(filepath.Join(dir, "notes", "c80a21"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	o.note = string(note)
	return o
}
