package sdn

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"galaxy/wire"
)

type call struct {
	relay Relay
	args  *skel.CmdArgs
	notes wire.Notes
	out   *strings.Builder
}

// called is a call of galaxy-sdn with a folder of its own, in which there may be an agent.
func called(t *testing.T, command string) call {
	t.Helper()
	dir := t.TempDir()
	c := call{notes: wire.Notes{Dir: filepath.Join(dir, "notes")}, out: new(strings.Builder)}
	c.relay = Relay{Stdout: c.out, Patience: 100 * time.Millisecond, Environ: []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=box", "CNI_IFNAME=eth0", "CNI_NETNS=/gone",
		"CNI_ARGS=K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web",
	}}
	c.args = &skel.CmdArgs{ContainerID: "box", IfName: "eth0", StdinData: []byte(
		`{"cniVersion":"1.1.0","name":"galaxy-sdn","type":"galaxy-sdn","socket":"` + filepath.Join(dir, "sock") +
			`","notes":"` + c.notes.Dir + `"}`)}
	return c
}

// agent answers in the call's folder.
func (c call) agent(t *testing.T, status int, text string) {
	t.Helper()
	listener, err := net.Listen("unix", pathsOf(c.args.StdinData).Socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text)) // who is gone needs no response
	})}
	go server.Serve(listener)                //nolint:errcheck // it ends with the test
	t.Cleanup(func() { _ = server.Close() }) // and so does this
}

func (c call) noted(t *testing.T) []string {
	t.Helper()
	all, err := c.notes.Containers()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// With no agent, a DEL leaves a note and succeeds; everything else says what to look at.
func TestNoAgent(t *testing.T) {
	c := called(t, "DEL")
	if err := c.relay.Funcs(t.Context()).Del(c.args); err != nil {
		t.Fatal(err)
	}
	notes, err := c.notes.Read("box")
	if err != nil || len(notes) != 1 || notes[0].Damage != nil {
		t.Fatalf("the notes are %+v, %v", notes, err)
	}
	if noted := notes[0].Request; noted.Command() != "DEL" || noted.Env["CNI_ARGS"] == "" ||
		string(noted.Config) != string(c.args.StdinData) {
		t.Errorf("noted is %+v", noted)
	}
	for command, run := range map[string]func(skel.CNIFuncs) error{
		"ADD":    func(f skel.CNIFuncs) error { return f.Add(c.args) },
		"CHECK":  func(f skel.CNIFuncs) error { return f.Check(c.args) },
		"GC":     func(f skel.CNIFuncs) error { return f.GC(c.args) },
		"STATUS": func(f skel.CNIFuncs) error { return f.Status(c.args) },
	} {
		c := called(t, command)
		err := run(c.relay.Funcs(t.Context()))
		want := types.ErrTryAgainLater
		if command == "STATUS" {
			want = types.ErrPluginNotAvailable
		}
		var known *types.Error
		if !errors.As(err, &known) || known.Code != want || !strings.Contains(known.Details, "DaemonSet") ||
			len(c.noted(t)) > 0 {
			t.Errorf("%s: %v, and notes of %v", command, err, c.noted(t))
		}
	}
}

// The folder of the notes is the usual one where the configuration names none, whatever else is wrong with it.
func TestPaths(t *testing.T) {
	for conf, want := range map[string]paths{`{"notes":"/n","socket":"/s"}`: {Notes: "/n", Socket: "/s"},
		`{"socket":"/s"}`: {Notes: wire.NotesDir, Socket: "/s"}, `{`: {Notes: wire.NotesDir}} {
		if got := pathsOf([]byte(conf)); got != want {
			t.Errorf("%s: %+v, want %+v", conf, got, want)
		}
	}
}

// Only of an agent that nobody reaches is it said where to look.
func TestExplained(t *testing.T) {
	other := errors.New("no address")
	var known *types.Error
	if !errors.Is(explained(other), other) || explained(nil) != nil || !errors.As(explained(wire.ErrUnreachable), &known) {
		t.Errorf("%v, %v, %v", explained(other), explained(nil), explained(wire.ErrUnreachable))
	}
}

// Who starts while an agent is on its way is served: it is waited for, and not beyond the caller's patience.
func TestAgentStartsLate(t *testing.T) {
	c := called(t, "ADD")
	c.relay.Patience = time.Minute
	time.AfterFunc(100*time.Millisecond, func() { c.agent(t, http.StatusOK, `{"cniVersion":"1.1.0"}`) })
	if err := c.relay.Funcs(t.Context()).Add(c.args); err != nil || !strings.Contains(c.out.String(), "1.1.0") {
		t.Errorf("%v, %s", err, c.out)
	}
	c = called(t, "ADD")
	c.relay.Patience = time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.relay.Funcs(ctx).Add(c.args); err == nil || ctx.Err() != nil {
		t.Errorf("without patience: %v, %v", err, ctx.Err())
	}
}

// A note that cannot be left is no success: the runtime has to ask again.
func TestNoNote(t *testing.T) {
	c := called(t, "DEL")
	c.args.StdinData = []byte(strings.Replace(string(c.args.StdinData), c.notes.Dir, "/proc/none", 1))
	if err := c.relay.Funcs(t.Context()).Del(c.args); err == nil ||
		!strings.Contains(err.Error(), "leave a note of container box") {
		t.Errorf("DEL: %v", err)
	}
}

// What an agent answers goes to the runtime as it is; its refusal of a DEL is no reason for a note.
func TestResponses(t *testing.T) {
	c := called(t, "ADD")
	c.agent(t, 200, `{"cniVersion":"1.1.0"}`)
	if err := c.relay.Funcs(t.Context()).Add(c.args); err != nil || c.out.String() != `{"cniVersion":"1.1.0"}` {
		t.Errorf("ADD: %v, %s", err, c.out)
	}
	c = called(t, "ADD")
	c.agent(t, 200, "")
	if err := c.relay.Funcs(t.Context()).Add(c.args); err == nil || !strings.Contains(err.Error(), "with nothing") {
		t.Errorf("an empty answer: %v", err)
	}
	c = called(t, "DEL")
	c.agent(t, 500, `{"code":11,"msg":"the disk is full"}`)
	if err := c.relay.Funcs(t.Context()).Del(c.args); err == nil || err.Error() != "the disk is full" ||
		len(c.noted(t)) > 0 {
		t.Errorf("a refused DEL: %v, and notes of %v", err, c.noted(t))
	}
}
