package short_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"galaxy/plugins/sdn/short"
	"galaxy/plugins/sdn/short/shorttest"
	"galaxy/wire/terms"
)

func TestResponse(t *testing.T) {
	large := strings.Repeat("x", terms.MaxResponse)
	for _, c := range []struct {
		name, text, broken string
		add                string // what an ADD prints; what it fails with after "!"
	}{
		{"whole", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "", "{}"},
		{"whole, and then broken", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "reset", "{}"},
		{"of no length", "HTTP/1.1 200\r\nConnection: close\r\n\r\n{}\n", "", "{}\n"},
		{"of no length, broken", "HTTP/1.0 200 OK\r\n\r\n{}", "reset", "!11 reset"},
		{"longer than it says", "HTTP/1.0 200 OK\r\ncontent-length:2\r\n\r\n{}x", "", "{}"},
		{"cut off", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n{}", "", "!11 unexpected EOF"},
		{"cut off in its head", "HTTP/1.0 200 OK\r\nContent-Le", "", "!11 unexpected EOF"},
		{"nothing", "", "", "!11 unexpected EOF"},
		{"nothing in time", "", "no response within 4m0s", "!11 no response within 4m0s"},
		{"empty", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "", "!999 "},
		{"an error object", "HTTP/1.0 500 Internal Server Error\r\n\r\n" + `{"code":7,"msg":"m","details":"d"}`, "",
			"!7 d"},
		{"a text", "HTTP/1.0 400 Bad Request\r\n\r\nno pod", "", "!4 "},
		{"a status alone", "HTTP/1.0 503 Service Unavailable\r\n\r\n", "", "!999 "},
		{"a status that is none", "HTTP/1.0 +20 OK\r\n\r\n", "", `!11 malformed HTTP response "HTTP/1.0 +20 OK"`},
		{"another protocol", "SSH-2.0-OpenSSH\r\n\r\n", "", `!11 malformed HTTP response "SSH-2.0-OpenSSH"`},
		{"two lengths", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\n{}", "",
			`!11 bad Content-Length "1"`},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "",
			`!11 unsupported transfer encoding "chunked"`},
		{"the largest", "HTTP/1.0 200 OK\r\n\r\n" + large, "", large},
		{"too large", "HTTP/1.0 200 OK\r\n\r\n" + large + "x", "", "!999 "},
		{"too large a head", "HTTP/1.0 200 " + strings.Repeat("O", 65<<10) + "\r\n\r\n{}", "",
			"!11 what stands before its body is too large"},
	} {
		for _, command := range []string{"ADD", "DEL"} {
			call, plain := short.Of(shorttest.Environ(command))
			if !plain {
				t.Fatal("the environment is not plain")
			}
			want := c.add
			if command == "DEL" && (!strings.HasPrefix(want, "!") || c.name == "empty") {
				want = ""
			}
			result, failure := call.Response([]byte(c.text), c.broken)
			got := string(result)
			if failure != nil {
				got += "!" + string(failure.JSON()[len("{\n    \"code\": "):])
				got, _, _ = strings.Cut(got, ",")
				got += " " + failure.Details
			}
			if got != want {
				t.Errorf("%s, %s: got %.80q, want %.80q", command, c.name, got, want)
			}
		}
	}
}

// A response never breaks the program, and what is printed of it is what net/http would have read.
func FuzzResponse(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 500 Oh\r\n\r\n{\"code\":7,\"msg\":\"m\"}",
		"HTTP/1.0 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
		"HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "\r\n\r\n",
		"HTTP/1.0 200 \n\r\n\r\n0",
	} {
		f.Add([]byte(text), "")
		f.Add([]byte(text), "reset")
	}
	call, _ := short.Of(shorttest.Environ("ADD"))
	f.Fuzz(func(t *testing.T, text []byte, broken string) {
		result, failure := call.Response(text, broken)
		if (len(result) == 0) != (failure != nil) {
			t.Fatalf("got %q and %v", result, failure)
		}
		if failure != nil {
			return
		}
		response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)),
			&http.Request{Method: http.MethodPost})
		if err != nil {
			return // it knows more of what may stand in a head
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK || string(body) != string(result) {
			t.Fatalf("got %q; net/http %d with %q, %v", result, response.StatusCode, body, err)
		}
	})
}
