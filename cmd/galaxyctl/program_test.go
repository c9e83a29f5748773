package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/internal/cli"
)

func mustAddr(text string) netip.Addr { return netip.MustParseAddr(text) }

// call runs the program without an etcd or a server of its own.
func call(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func everyCommand(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if c.Name() != "completion" && c.Name() != "help" {
			all = append(all, everyCommand(c)...)
		}
	}
	return all
}

// Every command explains itself, and its examples are commands that exist with flags that exist.
func TestHelp(t *testing.T) {
	for _, c := range everyCommand(newRoot(&command.Globals{})) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			if c.Short == "" || c.Long == "" || c.Example == "" {
				t.Error("it has no short help, long help or examples")
			}
			for line := range strings.Lines(c.Example) {
				line, _, _ = strings.Cut(line, "|")
				args := words(strings.TrimSpace(strings.NewReplacer(`"`, "'").Replace(line)))
				called, rest, err := newRoot(&command.Globals{}).Find(args)
				if err != nil {
					t.Fatal(line, err)
				}
				if called.HasSubCommands() {
					t.Errorf("%s: is no command that does something", line)
				}
				if err := called.ParseFlags(rest); err != nil {
					t.Error(line, err)
				}
				if err := called.ValidateArgs(called.Flags().Args()); err != nil {
					t.Error(line, err)
				}
			}
		})
	}
}

// The words that a flag takes are completed by the shell.
func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"log show --output ":  "yaml",
		"ip list --sort ip":   "ip desc",
		"ip reserve --type d": "deployment",
		"log tail --stream ":  "nodes",
		"log ver":             "verify",
	} {
		args := append([]string{cobra.ShellCompNoDescRequestCmd}, strings.Split(line, " ")...)
		code, out, errs := call(t, args...)
		if code != cli.OK || !strings.Contains(out, want) {
			t.Errorf("%s<TAB>: %q, want %q in it; %s", line, out, want, errs)
		}
	}
}

func TestMisuse(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token") // would cross the network unencrypted
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"nonsense", "log nonsense", "log show --nonsense", "log show -o xml", "log show more", "log backup",
		"log restore", "log restore --abort file",
		"log tail --from-now --lines 3", "log state --at soon", "log show --etcd-timeout 0s",
		"log show --etcd-endpoints ftp://here:1",
		"log show --etcd-endpoints here", "log show --etcd-cert cert", "log show --etcd-ca ca", "ip get", "ip get here",
		"ip list --server here",
		"ip list --size 0", "ip reserve 10.0.0.1", "ip release", "ip release 10.0.0.1 nothing", "pool set blue",
		"pool get", "pool set blue --size -1",
		"pool list --server-client-cert cert", "pool list --server http://192.0.2.1:9041 --token-file " + token,
		"pool list --server http://galaxy.example:9041 --token-file " + token,
	} {
		if code, out, errs := call(t, strings.Fields(line)...); code != cli.Misuse ||
			!strings.Contains(errs, "--help") {
			t.Errorf("galaxyctl %s: exit %d, want %d\n%s%s", line, code, cli.Misuse, out, errs)
		}
	}
}

// deaf takes connections and never answers.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) //nolint:errcheck // the test is over
	return "http://" + l.Addr().String()
}

// closed is where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return "http://" + l.Addr().String()
}

// Nobody waits long for an etcd or a server that is not there.
func TestUnreachable(t *testing.T) {
	gone, mute := closed(t), deaf(t)
	for _, c := range []struct {
		line string
		says []string
	}{
		{"log verify --etcd-endpoints " + gone, []string{gone, "refused", "--etcd-endpoints"}},
		{"log show --etcd-endpoints " + gone + "," + gone, []string{gone, "refused"}},
		{"log tail --etcd-timeout 300ms --etcd-endpoints " + mute, []string{mute, "300ms", "healthy"}},
		{"log restore --abort --etcd-timeout 300ms --etcd-endpoints " + mute, []string{mute, "300ms"}},
		{"log verify --etcd-ca /none --etcd-endpoints https://127.0.0.1:1", []string{"--etcd-ca", "/none"}},
		{"ip list --server " + gone, []string{gone, "refused", "--server"}},
	} {
		began := time.Now()
		code, out, errs := call(t, strings.Fields(c.line)...)
		if took := time.Since(began); code != cli.Failure || took > 3*time.Second {
			t.Errorf("galaxyctl %s: exit %d after %s\n%s%s", c.line, code, took, out, errs)
		}
		for _, words := range c.says {
			if !strings.Contains(errs, words) {
				t.Errorf("galaxyctl %s says %q, want %q in it", c.line, errs, words)
			}
		}
	}
}

// What is no galaxy-ipam is distinguished from one that says no.
func TestForeignServer(t *testing.T) {
	for body, status := range map[string]int{"<html>": http.StatusOK, "gateway": http.StatusBadGateway} {
		port := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			w.Write([]byte(body)) //nolint:errcheck // the client fails then
		}))
		code, _, errs := call(t, "ip", "list", "--server", port.URL)
		if code != cli.Failure || !strings.Contains(errs, "is --server its REST port") ||
			!strings.Contains(errs, port.URL) {
			t.Errorf("%s: exit %d, %s", body, code, errs)
		}
		port.Close()
	}
}

// All pages are fetched, and put together as if they were one.
func TestListAll(t *testing.T) {
	var asked []string
	port := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := r.URL.Query().Get("page")
		asked = append(asked, page)
		json.NewEncoder(w).Encode(map[string]any{ //nolint:errcheck // the client fails then
			"last": page == "2", "first": page == "0", "totalElements": 3, "totalPages": 3,
			"content": []map[string]any{{"ip": "10.0.0." + page, "state": "free"}},
		})
	}))
	defer port.Close()
	code, out, errs := call(t, "ip", "list", "--all", "--server", port.URL)
	if code != cli.OK || strings.Count(out, "free") != 3 || strings.Join(asked, "") != "012" {
		t.Errorf("exit %d, pages %v:\n%s%s", code, asked, out, errs)
	}
}

// A history of many pages is put together in order.
func TestLongHistory(t *testing.T) {
	port := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		response := map[string]any{"ip": "10.0.0.1", "entries": []map[string]any{{"seq": 3, "type": "third"}},
			"older": 2}
		switch r.URL.Query().Get("newest") {
		case "2":
			response = map[string]any{"ip": "10.0.0.1",
				"entries": []map[string]any{{"seq": 1, "type": "first"}, {"seq": 2, "type": "second"}}}
		case "":
		default:
			http.NotFound(w, r)
		}
		json.NewEncoder(w).Encode(response) //nolint:errcheck // the client fails then
	}))
	defer port.Close()
	for limit, want := range map[string]string{"0": "first second third", "1": "third"} {
		code, out, errs := call(t, "ip", "history", "10.0.0.1", "--limit", limit, "--server", port.URL)
		var types []string
		for _, word := range strings.Fields(out) {
			if strings.Contains("first second third", word) {
				types = append(types, word)
			}
		}
		if got := strings.Join(types, " "); code != cli.OK || got != want {
			t.Errorf("limit %s: exit %d, %q, want %q\n%s", limit, code, got, want, errs)
		}
	}
}

// Flags are named the same way wherever they mean the same.
func TestFlagNames(t *testing.T) {
	usage := map[string]string{}
	for _, c := range everyCommand(newRoot(&command.Globals{})) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if strings.ToLower(f.Name) != f.Name || strings.Contains(f.Name, "_") {
				t.Errorf("%s --%s: want lower case and dashes", c.CommandPath(), f.Name)
			}
			if known, ok := usage[f.Name]; ok && (f.Name == "namespace" || f.Name == "at") && known != f.Usage {
				t.Errorf("%s --%s means %q here, and %q elsewhere", c.CommandPath(), f.Name, f.Usage, known)
			}
			usage[f.Name] = f.Usage
		})
	}
}

// What would be refused is reported before it is applied, all at once, whichever form the file has.
func TestConfigCheck(t *testing.T) {
	const good = `[{"nodeSubnets":["10.0.0.0/24"],"ips":["10.1.0.2~10.1.0.9"],"subnet":"10.1.0.0/24","gateway":"10.1.0.1"}]`
	const taken = `[{"nodeSubnets":["10.0.0.0/24"],"ips":["10.1.0.1~10.1.0.9"],"subnet":"10.1.0.0/24","gateway":"10.1.0.1","zone":"a"}]`
	object := func(text string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: floatingip-config}\ndata:\n  floatingips: '" + text +
			"'\n"
	}
	for text, want := range map[string]struct {
		code  int
		parts []string
	}{
		good:           {cli.OK, []string{"10.1.0.0/24", "would be put in force: 1 subnets"}},
		object(good):   {cli.OK, []string{"would be put in force: 1 subnets"}},
		taken:          {cli.Failure, []string{"would be refused", "zone", "10.1.0.1"}},
		object(taken):  {cli.Failure, []string{"would be refused", "zone", "10.1.0.1"}},
		"kind: Secret": {cli.Failure, []string{`no key "floatingips"`}},
	} {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := call(t, "config", "check", file)
		for _, part := range want.parts {
			if code != want.code || !strings.Contains(out+errs, part) {
				t.Errorf("%s\nexit %d, want %d with %q:\n%s%s", text, code, want.code, part, out, errs)
			}
		}
	}
}
