package short_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"

	"galaxy/plugins/sdn/short"
	"galaxy/plugins/sdn/short/shorttest"
	"galaxy/wire"
)

const plainConfig = `{"cniVersion":"1.1.0","name":"galaxy-sdn","type":"galaxy-sdn"}`

func TestOf(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		plain   bool
	}{
		{"add", shorttest.Environ("ADD"), true},
		{"del", shorttest.Environ("DEL"), true},
		{"del without namespace", shorttest.Environ("DEL", "CNI_NETNS"), true},
		{"add without namespace", shorttest.Environ("ADD", "CNI_NETNS"), false},
		{"without path", shorttest.Environ("DEL", "CNI_PATH"), false},
		{"without id", shorttest.Environ("DEL", "CNI_CONTAINERID"), false},
		{"without interface", shorttest.Environ("ADD", "CNI_IFNAME"), false},
		{"empty path", shorttest.Environ("ADD", "CNI_PATH="), false},
		{"path as id", shorttest.Environ("DEL", "CNI_CONTAINERID=../../etc"), false},
		{"id that begins with a point", shorttest.Environ("DEL", "CNI_CONTAINERID=.c"), false},
		{"all that an id may have", shorttest.Environ("DEL", "CNI_CONTAINERID=aZ09_.-"), true},
		{"long id", shorttest.Environ("DEL", "CNI_CONTAINERID="+strings.Repeat("a", 64)), true},
		{"path as interface", shorttest.Environ("DEL", "CNI_IFNAME=a/b"), false},
		{"interface with a space", shorttest.Environ("DEL", "CNI_IFNAME=a b"), false},
		{"interface not in ASCII", shorttest.Environ("DEL", "CNI_IFNAME=é"), false},
		{"folder as interface", shorttest.Environ("DEL", "CNI_IFNAME=.."), false},
		{"longest interface", shorttest.Environ("DEL", "CNI_IFNAME=123456789012345"), true},
		{"longer interface", shorttest.Environ("DEL", "CNI_IFNAME=1234567890123456"), false},
		{"check", shorttest.Environ("CHECK"), false},
		{"status", shorttest.Environ("STATUS"), false},
		{"gc", shorttest.Environ("GC"), false},
		{"version", shorttest.Environ("VERSION"), false},
		{"small letters", shorttest.Environ("add"), false},
		{"nothing", nil, false},
	} {
		if _, plain := short.Of(c.environ); plain != c.plain {
			t.Errorf("%s: plain is %t", c.name, plain)
		}
	}
}

func TestSocket(t *testing.T) {
	for config, want := range map[string]string{
		plainConfig:    "/var/run/galaxy/galaxy.sock",
		`{"name":"n"}`: "/var/run/galaxy/galaxy.sock",
		`{"cniVersion":"","name":"n","socket":""}`:                         "/var/run/galaxy/galaxy.sock",
		` { "name" : "n" , "socket" : "\/a\u0062" , "notes" : 1 } ` + "\n": "/ab",
		`{"name":"n","socket":"@abstract","plugins":[{"socket":"/b"}]}`:    "@abstract",
		`{"cniVersion":"9.9.9","name":"n"}`:                                "",
		`{"cniVersion":null,"name":"n"}`:                                   "",
		`{"cniVersion":"1.0.0"}`:                                           "",
		`{"name":""}`:                                                      "",
		`{"name":"a/b"}`:                                                   "",
		`{"name":"n","name":"n"}`:                                          "",
		`{"name":"n","Socket":"/a"}`:                                       "",
		`{"name":"n","\u017focket":"/a"}`:                                  "",
		`{"name":"n","socket":1}`:                                          "",
		`{"name":"n"} {}`:                                                  "",
		`{"name":"n"`:                                                      "",
		`["name"]`:                                                         "",
		"{\"name\":\"n\",\"a\":\"\xff\"}":                                  "",
		"":                                                                 "",
		`{"name":"n","a":` + strings.Repeat("[", 9999) + strings.Repeat("]", 9999) +
			`}`: "/var/run/galaxy/galaxy.sock",
		`{"name":"n","a":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`: "",
	} {
		path, plain := short.Socket([]byte(config))
		if plain != (want != "") || plain && path != want {
			t.Errorf("%.60s: got %q, %t", config, path, plain)
		}
		if plain && json.Unmarshal([]byte(config), &struct{ Name string }{}) != nil {
			t.Errorf("%.60s is plain, and encoding/json does not read it", config)
		}
	}
}

// All versions that there are take the short way.
func TestVersions(t *testing.T) {
	for _, v := range version.All.SupportedVersions() {
		if _, plain := short.Socket([]byte(fmt.Sprintf(`{"cniVersion":%q,"name":"n"}`, v))); !plain {
			t.Errorf("%s does not", v)
		}
	}
}

// The question is what wire.Client would have asked.
func TestQuestion(t *testing.T) {
	for _, environ := range [][]string{
		shorttest.Environ("ADD"), shorttest.Environ("ADD", "NOTHING", "A=", "=B", "C=d=e\n\"\\\x01<&>\u2028é😀", "D"),
		append(shorttest.Environ("DEL"), "alone"), {}, {"alone"},
	} {
		c, _ := short.Of(environ)
		text, ok := c.Question([]byte(plainConfig))
		if !ok {
			t.Errorf("%q: there is no question", environ)
			continue
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		asked, err := wire.Decode(req.Body)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		if want := (wire.Request{Env: wire.Environ(environ), Config: []byte(plainConfig)}); !reflect.DeepEqual(asked,
			want) {
			t.Errorf("got %v, want %v", asked, want)
		}
		if req.Method != "POST" || req.URL.Path != wire.Path || req.Proto != "HTTP/1.0" {
			t.Errorf("got %s %s %s", req.Method, req.URL, req.Proto)
		}
	}
	c, _ := short.Of(shorttest.Environ("ADD", "A=\xff"))
	if text, ok := c.Question(nil); ok {
		t.Errorf("what is not UTF-8 became %s", text)
	}
}

// input is a file that stands for the standard input of this process.
func input(f *testing.F) *os.File {
	file, err := os.CreateTemp(f.TempDir(), "")
	if err != nil {
		f.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = file
	f.Cleanup(func() {
		os.Stdin = before
		_ = file.Close() // it goes with its folder
	})
	return file
}

// What takes the short way is what the CNI library would have let through to the full program, which would have asked
// the same socket.
func FuzzCall(f *testing.F) {
	stdin := input(f)
	f.Add("ADD", "c80a21", "/n", "eth0", "/opt/cni/bin", []byte(plainConfig))
	f.Add("DEL", "c80a21", "", "eth0", "/opt/cni/bin",
		[]byte(`{"cniVersion":"0.4.0","name":"n","socket":"/a","x":[{"name":1}]}`))
	f.Add("DEL", ".", "", "..", "", []byte(`{"NAME":"n","name":"m","cniVersion":null}`))
	f.Fuzz(func(t *testing.T, command, container, netns, ifname, path string, config []byte) {
		if netns != "" {
			netns = "/nobody's" // a name that was made up may be of a file that one waits for
		}
		vars := map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_NETNS": netns,
			"CNI_IFNAME": ifname, "CNI_PATH": path}
		var environ []string
		for name, value := range vars {
			if strings.Contains(value, "\x00") {
				return
			}
			environ = append(environ, name+"="+value)
			t.Setenv(name, value)
		}
		c, plain := short.Of(environ)
		socket, plainConfig := short.Socket(config)
		if !plain || !plainConfig {
			return
		}
		if err := rewind(stdin, config); err != nil {
			t.Fatal(err)
		}
		called := ""
		note := func(command string) func(*skel.CmdArgs) error {
			return func(*skel.CmdArgs) error {
				called = command
				return nil
			}
		}
		if err := skel.PluginMainFuncsWithError(skel.CNIFuncs{Add: note("ADD"), Del: note("DEL")}, version.All,
			""); err != nil || called != command {
			t.Fatalf("%q with %q: %q was called, %v", environ, config, called, err)
		}
		var paths struct{ Socket string }
		if err := json.Unmarshal(config, &paths); err != nil || socket != paths.Socket &&
			(paths.Socket != "" || socket != wire.Socket) {
			t.Fatalf("%q: asks %q, %v", config, socket, err)
		}
		if _, ok := c.Question(config); !ok && !strings.Contains(fmt.Sprintf("%q", path), `\x`) {
			t.Fatalf("%q cannot be said", environ)
		}
	})
}

func rewind(file *os.File, text []byte) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	if _, err := file.WriteAt(text, 0); err != nil {
		return err
	}
	_, err := file.Seek(0, 0)
	return err
}
