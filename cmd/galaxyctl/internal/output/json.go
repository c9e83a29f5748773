package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

// damaged stands for a value that cannot be read.
type damaged struct {
	Seq     uint64 `json:"seq"`
	Damaged string `json:"damaged"` // its bytes, as Go quotes them
}

// oneLine is a stored value as one line of printable JSON.
func oneLine(seq uint64, text []byte) ([]byte, error) {
	if !json.Valid(text) {
		quoted := strconv.Quote(string(text))
		return json.Marshal(damaged{seq, quoted[1 : len(quoted)-1]})
	}
	if bytes.ContainsAny(text, "\r\n\t") { // between its parts, as strings have none
		var line bytes.Buffer
		if err := json.Compact(&line, text); err != nil {
			return nil, err
		}
		text = line.Bytes()
	}
	return printable(text), nil
}

// printable is JSON that says the same with all in its strings escaped that is not printable, and that a terminal might
// obey. What encoding/json escapes by itself is as it was, and so are line breaks between its parts.
func printable(text []byte) []byte {
	obeyed := func(r rune) bool { return r != '\n' && r <= 0xffff && !unicode.IsPrint(r) }
	if utf8.Valid(text) && bytes.IndexFunc(text, obeyed) < 0 {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size == 1 || obeyed(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = append(out, text[:size]...)
		}
		text = text[size:]
	}
	return out
}

// toYAML converts JSON from any source. It is written anew first, as YAML does not take all escapes of JSON, nor a name
// twice.
func toYAML(text []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	plain, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(printable(plain))
}
