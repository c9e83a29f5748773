package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"galaxy/wire"
	"galaxy/wire/terms"
)

func request(env ...string) wire.Request {
	return wire.Request{Env: wire.Environ(env),
		Config: []byte(`{"cniVersion":"0.4.0","name":"galaxy-sdn","type":"galaxy-sdn"}`)}
}

// pod is what containerd sends.
const pod = "K8S_POD_INFRA_CONTAINER_ID=c80a21;K8S_POD_UID=ded4422b;IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=probe"

func TestArgs(t *testing.T) {
	full := []string{"CNI_CONTAINERID=c80a21", "CNI_NETNS=/var/run/netns/a", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
		"CNI_ARGS=" + pod}
	without := func(command string, names ...string) []string {
		env := []string{"CNI_COMMAND=" + command}
		for _, entry := range full {
			name, _, _ := strings.Cut(entry, "=")
			if !strings.Contains(strings.Join(names, " "), name) {
				env = append(env, entry)
			}
		}
		return env
	}
	for _, c := range []struct {
		name string
		env  []string
		fail string // part of the error; none if empty
	}{
		{"add", without("ADD"), ""},
		{"del", without("DEL"), ""},
		{"del without namespace", without("DEL", "CNI_NETNS"), ""},
		{"del without args", without("DEL", "CNI_NETNS", "CNI_ARGS", "CNI_PATH"), ""},
		{"check", without("CHECK"), ""},
		{"status", without("STATUS", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"), ""},
		{"gc", without("GC", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"), ""},
		{"no command", full, `CNI_COMMAND is ""`},
		{"foreign command", without("GROW"), `CNI_COMMAND is "GROW"`},
		{"add without namespace", without("ADD", "CNI_NETNS", "CNI_IFNAME"),
			"ADD needs CNI_NETNS, CNI_IFNAME in the environment"},
		{"add without pod", without("ADD", "CNI_ARGS"), "ADD needs K8S_POD_NAMESPACE and K8S_POD_NAME in CNI_ARGS"},
		{"path as id", append(without("DEL", "CNI_CONTAINERID"), "CNI_CONTAINERID=../../etc"),
			"invalid characters in containerID"},
		{"path as interface", append(without("DEL", "CNI_IFNAME"), "CNI_IFNAME=a/b"), "interface name contains /"},
		{"as long an id as may be", append(without("ADD", "CNI_CONTAINERID"),
			"CNI_CONTAINERID="+strings.Repeat("c", wire.MaxContainerID)), ""},
		{"a longer id", append(without("ADD", "CNI_CONTAINERID"),
			"CNI_CONTAINERID="+strings.Repeat("c", wire.MaxContainerID+1)), "at most"},
		{"a longer id goes", append(without("DEL", "CNI_CONTAINERID"),
			"CNI_CONTAINERID="+strings.Repeat("c", wire.MaxContainerID+1)), ""},
		{"path as pod", append(without("ADD", "CNI_ARGS"), "CNI_ARGS=K8S_POD_NAMESPACE=a;K8S_POD_NAME=../b"),
			"is no name of a pod"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, p, err := request(c.env...).Args()
			if c.fail != "" {
				var known *types.Error
				if !errors.As(err, &known) || known.Code != types.ErrInvalidEnvironmentVariables ||
					!strings.Contains(err.Error(), c.fail) {
					t.Fatalf("got error %v, want code 4 and %q", err, c.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(strings.Join(c.env, " "), pod) &&
				p != (wire.PodArgs{"default", "probe", "ded4422b", "c80a21"}) {
				t.Errorf("got pod %+v", p)
			}
			if len(args.StdinData) == 0 {
				t.Error("the configuration is lost")
			}
		})
	}
}

func TestParseArgs(t *testing.T) {
	got := wire.ParseArgs(" a = b ;; c=d=e; f ;=g;a=h")
	want := map[string]string{"a": "h", "c": "d=e", "": "g"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "EOF",
		"[]":                          "not one object",
		"{}":                          "has no env",
		`{"env":{},"config":"?"}`:     "not one object",
		`{"env":{"a":1},"config":""}`: "not one object",
		`{"env":{}} {}`:               "something follows",
		`{"env":{"a":"` + strings.Repeat("x", 5<<20) + `"}}`: "larger than",
		`{"env":{}}` + strings.Repeat(" ", 5<<20):            "larger than",
	} {
		if _, err := wire.Decode(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got error %v, want %q", text, err, want)
		}
	}
}

// serve answers on a socket until the test ends.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)                //nolint:errcheck // it ends with the test
	t.Cleanup(func() { _ = server.Close() }) // nobody asks any more
	return path
}

func TestAsk(t *testing.T) {
	result := []byte(`{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24"},"unknown":[1]}` + "\n")
	path := serve(t, wire.Handler(func(_ context.Context, req wire.Request) ([]byte, error) {
		switch req.Command() {
		case "ADD":
			return result, nil
		case "CHECK":
			return nil, types.NewError(types.ErrTryAgainLater, "not yet", "soon")
		case "GC":
			return nil, errors.New("a plain error")
		case "STATUS":
			_, _, err := req.Args()
			return nil, fmt.Errorf("wrapped: %w", err)
		}
		return nil, nil
	}))
	for _, c := range []struct {
		env  []string
		want string
		code uint
		fail string
	}{
		{[]string{"CNI_COMMAND=ADD"}, string(result), 0, ""},
		{[]string{"CNI_COMMAND=DEL"}, "", 0, ""},
		{[]string{"CNI_COMMAND=CHECK"}, "", types.ErrTryAgainLater, "not yet; soon"},
		{[]string{"CNI_COMMAND=GC"}, "", types.ErrInternal, "a plain error"},
		{[]string{"CNI_COMMAND=STATUS", "CNI_IFNAME=a/b"}, "", types.ErrInvalidEnvironmentVariables,
			"interface name contains / or : or whitespace characters"},
	} {
		got, err := wire.Client{Socket: path}.Ask(t.Context(), request(c.env...))
		if string(got) != c.want {
			t.Errorf("%v: got %q, want %q", c.env, got, c.want)
		}
		var known *types.Error
		if errors.As(err, &known) != (c.code != 0) || known != nil &&
			(known.Code != c.code || known.Error() != c.fail) {
			t.Errorf("%v: got error %v, want %d %s", c.env, err, c.code, c.fail)
		}
	}
}

// A response that is too large is no response; the largest is one. A question that makes no sense is answered as one, and
// every other failure as ours.
func TestAskSizes(t *testing.T) {
	for size, well := range map[int]bool{terms.MaxResponse: true, terms.MaxResponse + 1: false} {
		path := serve(t, wire.Handler(func(context.Context, wire.Request) ([]byte, error) { return make([]byte, size), nil }))
		if got, err := (wire.Client{Socket: path}).Ask(t.Context(), request("CNI_COMMAND=ADD")); (err == nil) != well ||
			well && len(got) != size {
			t.Errorf("%d bytes: %d, %v", size, len(got), err)
		}
	}
	for code, status := range map[uint]int{types.ErrInvalidEnvironmentVariables: http.StatusBadRequest,
		types.ErrInternal: http.StatusInternalServerError} {
		w := httptest.NewRecorder()
		handler := wire.Handler(func(context.Context, wire.Request) ([]byte, error) { return nil, types.NewError(code, "no", "") })
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/cni", strings.NewReader(`{"env":{"CNI_COMMAND":"ADD"},"config":"e30="}`)))
		if w.Code != status {
			t.Errorf("code %d is answered with %d, want %d", code, w.Code, status)
		}
	}
}

// The agent of the reference answers errors as text.
func TestAskUnderstandsText(t *testing.T) {
	for status, code := range map[int]uint{400: types.ErrInvalidEnvironmentVariables, 500: types.ErrInternal} {
		path := serve(t, http.HandlerFunc(func(w http.ResponseWriter,
			_ *http.Request) {
			http.Error(w, "no pod ns/p", status)
		}))
		_, err := wire.Client{Socket: path}.Ask(t.Context(), request())
		var known *types.Error
		if !errors.As(err, &known) || known.Code != code || known.Msg != "no pod ns/p" {
			t.Errorf("%d: got error %#v", status, err)
		}
	}
}

func TestAskTellsUnreachableFromCutOff(t *testing.T) {
	_, err := wire.Client{Socket: filepath.Join(t.TempDir(), "nobody")}.Ask(t.Context(), request())
	if !errors.Is(err, wire.ErrUnreachable) {
		t.Errorf("no socket: got error %v", err)
	}
	path := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	_, err = wire.Client{Socket: path}.Ask(t.Context(), request())
	var known *types.Error
	if errors.Is(err, wire.ErrUnreachable) || !errors.As(err, &known) || known.Code != types.ErrTryAgainLater {
		t.Errorf("cut off: got error %v, want code 11", err)
	}
}

func FuzzDecode(f *testing.F) {
	sample, err := json.Marshal(request("CNI_COMMAND=ADD", "CNI_CONTAINERID=a", "CNI_NETNS=/n", "CNI_IFNAME=eth0",
		"CNI_ARGS="+pod))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte(`{"env":{"CNI_COMMAND":"DEL"},"config":"e30="}`))
	f.Add([]byte(`{"env":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		req, err := wire.Decode(strings.NewReader(string(text)))
		if err != nil {
			return
		}
		args, p, err := req.Args()
		if err != nil {
			if args != nil {
				t.Fatal("both args and an error")
			}
			return
		}
		if strings.ContainsAny(args.ContainerID+args.IfName+p.Name+p.Namespace, "/\x00") {
			t.Fatalf("a name leads out of its folder: %+v %+v", args, p)
		}
		again, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := wire.Decode(strings.NewReader(string(again))); err != nil ||
			fmt.Sprint(twice) != fmt.Sprint(req) {
			t.Fatalf("%v became %v, %v", req, twice, err)
		}
	})
}
