package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"galaxy/plugins/sdn"
	"galaxy/plugins/sdn/short/shorttest"
)

// result is what agents answer here.
const result = `{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.2/24"}]}`

// A runtime cannot distinguish galaxy-sdn from galaxy-cni under its name, nor can an agent, but for the protocol.
func TestSameAsTheFullProgram(t *testing.T) {
	large := `{"cniVersion":"1.1.0","name":"n","socket":"s","large":"` + strings.Repeat("x", 300<<10) + `"}`
	larger := `{"cniVersion":"1.1.0","name":"n","socket":"s","large":"` + strings.Repeat("x", 2<<20) + `"}`
	done := respond(200, result)
	for name, c := range map[string]struct {
		call
		// short is whether the small program asks the agent itself.
		short bool
		code  int
		// words is whether the details of an error are those of net/http for the one and of the kernel for the other.
		words bool
	}{
		"ADD": {call: call{env: shorttest.Environ("ADD"), config: plain, response: done},
			short: true},
		"DEL": {call: call{env: shorttest.Environ("DEL"), config: plain,
			response: respond(200, "")}, short: true},
		"DEL without namespace": {call: call{env: shorttest.Environ("DEL", "CNI_NETNS"), config: plain,
			response: done}, short: true},
		"no version": {call: call{env: shorttest.Environ("ADD"), config: `{"name":"n","socket":"s"}`,
			response: done}, short: true},
		"answer of no length": {call: call{env: shorttest.Environ("ADD"), config: plain,
			response: raw("PROTO 200 OK\r\nConnection: close\r\n\r\n" + result + "\n")}, short: true},
		"large configuration": {call: call{env: shorttest.Environ("ADD"), config: large, response: done},
			short: true},
		"larger configuration": {call: call{env: shorttest.Environ("ADD"), config: larger, response: done}},
		"large answer": {call: call{env: shorttest.Environ("ADD"), config: plain,
			response: respond(200, strings.Repeat("[", 300<<10))}, short: true},
		"too large a response": {call: call{env: shorttest.Environ("ADD"), config: plain,
			response: respond(200, strings.Repeat("[", 16<<20+1))}, short: true, code: 1},
		"empty answer": {call: call{env: shorttest.Environ("ADD"), config: plain,
			response: respond(200, "")}, short: true, code: 1},
		"error object": {call: call{env: shorttest.Environ("ADD"), config: plain,
			response: respond(500, `{"cniVersion":"1.1.0","code":11,"msg":"<not> yet","details":"soon"}`)}, short: true,
			code: 1},
		"error object for DEL": {call: call{env: shorttest.Environ("DEL"), config: plain,
			response: respond(400, `{"code":4,"msg":"m"}`)}, short: true, code: 1},
		"text, 400": {call: call{env: shorttest.Environ("ADD"), config: plain,
			response: respond(400, "no pod\n")}, short: true, code: 1},
		"text, 500": {call: call{env: shorttest.Environ("DEL"), config: plain,
			response: respond(500, "no pod & no <name>\u2028\n")}, short: true, code: 1},
		"status alone": {call: call{env: shorttest.Environ("ADD"), config: plain,
			response: respond(503, "")}, short: true, code: 1},
		"cut off in the response": {call: call{env: shorttest.Environ("ADD"), config: plain,
			response: raw("PROTO 200 OK\r\nContent-Length: 99\r\n\r\n{")}, short: true, code: 1},
		"cut off after the head": {call: call{env: shorttest.Environ("DEL"), config: plain,
			response: raw("PROTO 200 OK\r\nContent-Length: 99\r\n\r\n")}, short: true, code: 1},
		"cut off in the head": {call: call{env: shorttest.Environ("DEL"), config: plain,
			response: raw("PROTO 200 OK\r\nContent-")}, short: true, code: 1, words: true},
		"cut off": {call: call{env: shorttest.Environ("DEL"), config: plain, response: raw("")},
			short: true, code: 1, words: true},
		"no HTTP": {call: call{env: shorttest.Environ("ADD"), config: plain,
			response: raw("hello\r\n\r\n")}, short: true, code: 1, words: true},
		"refused ADD":        {call: call{env: shorttest.Environ("ADD"), config: plain, refused: true}, code: 1},
		"refused DEL":        {call: call{env: shorttest.Environ("DEL"), config: plain, refused: true}},
		"DEL without socket": {call: call{env: shorttest.Environ("DEL"), config: plain}},
		"missing variables": {call: call{env: shorttest.Environ("ADD", "CNI_NETNS", "CNI_PATH"), config: plain,
			response: done}, code: 1},
		"bad container": {call: call{env: shorttest.Environ("DEL", "CNI_CONTAINERID=../a"), config: plain,
			response: done}, code: 1},
		"bad interface": {call: call{env: shorttest.Environ("ADD", "CNI_IFNAME=a/b"), config: plain,
			response: done}, code: 1},
		"interface not in ASCII": {call: call{env: shorttest.Environ("ADD", "CNI_IFNAME=é"), config: plain,
			response: done}},
		"own namespace": {call: call{env: shorttest.Environ("ADD", "CNI_NETNS=/proc/self/ns/net"),
			config: plain, response: done}, code: 1},
		"own namespace, DEL": {call: call{env: shorttest.Environ("DEL", "CNI_NETNS=/proc/self/ns/net"),
			config: plain, response: respond(200, "")}},
		"own namespace, wanted": {call: call{env: shorttest.Environ("ADD", "CNI_NETNS=/proc/self/ns/net",
			"CNI_NETNS_OVERRIDE=true"), config: plain, response: done}},
		"foreign version": {call: call{env: shorttest.Environ("ADD"),
			config: `{"cniVersion":"9.9.9","name":"n","socket":"s"}`, response: done}, code: 1},
		"no name": {call: call{env: shorttest.Environ("DEL"),
			config: `{"cniVersion":"1.1.0","socket":"s"}`, response: done}, code: 1},
		"name in capitals": {call: call{env: shorttest.Environ("DEL"), config: `{"NAME":"n","socket":"s"}`,
			response: done}},
		"name twice": {call: call{env: shorttest.Environ("DEL"),
			config: `{"name":"","name":"n","socket":"s"}`, response: done}},
		"socket that is no text": {call: call{env: shorttest.Environ("DEL"),
			config: `{"name":"n","Socket":"s","socket":1}`, response: done}},
		"no JSON": {call: call{env: shorttest.Environ("ADD"), config: `{"name":"n"`, response: done},
			code: 1},
		"no configuration": {call: call{env: shorttest.Environ("ADD"), response: done}, code: 1},
		"environment not in UTF-8": {call: call{env: shorttest.Environ("ADD", "LC_NAME=\xff"), config: plain,
			response: done}},
		"odd environment": {call: call{env: shorttest.Environ("ADD", "A=<\u2028\x01\"\\\n>", "B=", "C=d=e"),
			config: plain, response: done}, short: true},
		"no command":      {call: call{env: shorttest.Environ("", "CNI_COMMAND"), config: plain, response: done}},
		"foreign command": {call: call{env: shorttest.Environ("GROW"), config: plain, response: done}, code: 1},
		"VERSION":         {call: call{env: shorttest.Environ("VERSION"), config: `{"cniVersion":"1.1.0"}`}},
		"STATUS": {call: call{env: shorttest.Environ("STATUS"), config: plain,
			response: respond(200, "")}},
		"STATUS without agent": {call: call{env: shorttest.Environ("STATUS"), config: plain}, code: 1},
		"CHECK": {call: call{env: shorttest.Environ("CHECK"), config: plain,
			response: respond(200, "")}},
		"GC":                  {call: call{env: shorttest.Environ("GC"), config: plain, response: respond(200, "")}},
		"--version":           {call: call{args: []string{"--version"}}},
		"--help, as a plugin": {call: call{env: shorttest.Environ("ADD"), args: []string{"--help"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // some wait as long as galaxy-cni has patience
			full := c.run(t, filepath.Join(programs(t), "galaxy-cni"), sdn.Name)
			small := c.run(t, filepath.Join(programs(t), "galaxy-sdn"))
			for _, proto := range small.protos {
				if (proto == "HTTP/1.0") != c.short {
					t.Errorf("the agent was asked in %s", proto)
				}
			}
			if c.short && len(small.protos) != 1 {
				t.Errorf("the agent was asked %d times", len(small.protos))
			}
			full.protos, small.protos = nil, nil
			if c.words {
				full.out, small.out = withoutDetails(t, full.out), withoutDetails(t, small.out)
			}
			if small.code != c.code || !reflect.DeepEqual(small, full) {
				t.Errorf("want code %d and\n%.1000s\ngot\n%.1000s", c.code, show(t, full), show(t, small))
			}
		})
	}
}

func withoutDetails(t *testing.T, text string) string {
	t.Helper()
	var e types.Error
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Errorf("%q is no error object: %v", text, err)
	}
	e.Details = ""
	return e.Error()
}

func show(t *testing.T, o outcome) string {
	t.Helper()
	text, err := json.Marshal([]any{o.out, o.err, o.code, o.note, o.asked})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Without galaxy-cni beside it the small program does what it can, and says what to do about the rest.
func TestAlone(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(programs(t), "galaxy-sdn"))
	if err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(t.TempDir(), "galaxy-sdn")
	if err := os.WriteFile(alone, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if o := (call{env: shorttest.Environ("ADD"), config: plain, response: respond(200, result)}).run(t,
		alone); o.code != 0 || o.out != result {
		t.Errorf("ADD: %+v", o)
	}
	for name, c := range map[string]call{"VERSION": {env: shorttest.Environ("VERSION")},
		"DEL with no agent": {env: shorttest.Environ("DEL"), config: plain}} {
		o := c.run(t, alone)
		var e types.Error
		if err := json.Unmarshal([]byte(o.out), &e); err != nil || o.code != 1 || e.Code != types.ErrIOFailure ||
			!strings.Contains(e.Msg, filepath.Dir(alone)+"/galaxy-cni, which cannot be run: no such file") ||
			!strings.Contains(e.Details, "galaxy-cni install "+filepath.Dir(alone)) {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
}

// An installed galaxy-sdn may be reached by another name, and finds galaxy-cni beside itself and not beside that.
func TestByALink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(programs(t), "galaxy-sdn"), link); err != nil {
		t.Fatal(err)
	}
	if o := (call{env: shorttest.Environ("VERSION")}).run(t, link); o.code != 0 ||
		!strings.Contains(o.out, "supportedVersions") {
		t.Errorf("VERSION: %+v", o)
	}
}

// What takes long to start is not in the program: that is what it is there for.
func TestNothingHeavyIsLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 20 {
		t.Fatalf("only %v are linked: this test looks in the wrong place", deps)
	}
	for _, path := range deps {
		for _, heavy := range []string{"net", "fmt", "context", "encoding/json", "regexp", "log", "crypto",
			"go.uber.org", "github.com/containernetworking", "galaxy/wire"} {
			if path == heavy || strings.HasPrefix(path, heavy+"/") && path != "galaxy/wire/terms" {
				t.Errorf("%s is linked", path)
			}
		}
	}
}
