package output

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"sigs.k8s.io/yaml"
)

// hostile is what others may have written into a name.
var hostile = []string{
	"plain", "blå", "\x1b[2J", "a\x7fb", "a\u009b31mb", "a\u0085b", "\u202eright to left", "\u2028", "a\x00b", "\ufeff",
	"\ufffe", "😀", "\U000e0001", "<&>", `\u001b`, "\n\t\r",
}

// obeyed is what a terminal would take for a command, in a text.
func obeyed(text string) int {
	return strings.IndexFunc(text, func(r rune) bool {
		return r != '\n' && unicode.IsControl(r) ||
			r == unicode.ReplacementChar
	})
}

// Whatever a value has in it, it is printed so that no terminal obeys it, and it means the same to a program.
func TestHostileDocuments(t *testing.T) {
	rows := make([]map[string]string, 0, len(hostile))
	for _, name := range hostile {
		rows = append(rows, map[string]string{"name": name, name: "key"})
	}
	for _, f := range []Format{AsJSON, AsYAML} {
		var out bytes.Buffer
		if err := f.Document(&out, rows); err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if at := obeyed(out.String()); at >= 0 {
			t.Errorf("%s has a control character: %q", f, out.String()[at:])
		}
		var back []map[string]string
		if err := yaml.Unmarshal(out.Bytes(), &back); err != nil || !reflect.DeepEqual(back, rows) {
			t.Errorf("%s is read as %q, %v", f, back, err)
		}
		if f == AsJSON {
			if err := json.Unmarshal(out.Bytes(), &back); err != nil || !reflect.DeepEqual(back, rows) {
				t.Errorf("json is read as %q, %v", back, err)
			}
		}
	}
}

// A stored value is a line; its bytes are as they are, but for what a terminal would obey.
func TestLines(t *testing.T) {
	for _, c := range []struct{ text, json string }{
		{`{"b":1,"a":"x<y","n":12345678901234567890}`, `{"b":1,"a":"x<y","n":12345678901234567890}`},
		{`{"a":"` + "\u009b31m\x7f" + `"}`, `{"a":"\u009b31m\u007f"}`},
		{"{\"a\":\n\"b\",\r\t\"c\":1 }", `{"a":"b","c":1}`},
		{`{"a":"` + "\x9b" + `"}`, `{"a":"\ufffd"}`},
		{`{"a":"\ud83d\ude00","a":"\ud800"}`, `{"a":"\ud83d\ude00","a":"\ud800"}`},
		{"\x1b[2J", `{"seq":7,"damaged":"\\x1b[2J"}`},
		{"", `{"seq":7,"damaged":""}`},
		{"{\"a\":\xff\n", `{"seq":7,"damaged":"{\\\"a\\\":\\xff\\n"}`},
	} {
		var out bytes.Buffer
		if err := AsJSON.Line(&out, 7, []byte(c.text)); err != nil || out.String() != c.json+"\n" {
			t.Errorf("%q is printed as %q, %v; want %q", c.text, out.String(), err, c.json)
		}
		out.Reset()
		if err := AsYAML.Line(&out, 7, []byte(c.text)); err != nil || !strings.HasPrefix(out.String(), "---\n") {
			t.Errorf("%q in YAML: %q, %v", c.text, out.String(), err)
		}
		if at := strings.IndexFunc(out.String(),
			func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); at >= 0 {
			t.Errorf("%q in YAML has a control character: %q", c.text, out.String())
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, name := range hostile {
		text, _ := json.Marshal(map[string]string{name: name})
		f.Add(text)
		f.Add([]byte(name))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		if err := AsJSON.Line(&out, 1, text); err != nil {
			t.Fatal(err)
		}
		line := strings.TrimSuffix(out.String(), "\n")
		if strings.ContainsFunc(line, unicode.IsControl) || !json.Valid([]byte(line)) {
			t.Fatalf("%q is printed as %q", text, line)
		}
		var was, is any
		if json.Unmarshal(text, &was) == nil && (json.Unmarshal([]byte(line), &is) != nil ||
			!reflect.DeepEqual(was, is)) {
			t.Fatalf("%q is printed as %q", text, line)
		}
	})
}
