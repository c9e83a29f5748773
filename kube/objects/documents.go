package objects

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"sigs.k8s.io/yaml"

	"galaxy/kube/stream"
)

// document is one object as JSON, and its place in the stream, counted from 1.
type document struct {
	number int
	json   []byte
}

// eachDocument yields the documents of a stream: YAML documents between lines of "---", each of which may also be JSON,
// or several JSON values one after the other. Empty documents are passed over, but counted.
func eachDocument(text []byte, yield func(document) error) error {
	number := 0
	for len(text) > 0 {
		var part []byte
		part, text = cutDocument(text)
		if trimmed := bytes.TrimSpace(part); len(trimmed) > 0 && trimmed[0] == '{' {
			read, err := eachValue(trimmed, number, yield)
			if err != nil {
				return err
			}
			number += read
			continue
		}
		number++
		object, err := yaml.YAMLToJSONStrict(part)
		if err != nil {
			return fmt.Errorf("document %d: %w", number, err)
		}
		if string(object) == "null" { // nothing but comments
			continue
		}
		if err := yield(document{number, object}); err != nil {
			return err
		}
	}
	return nil
}

// cutDocument splits off what stands before the next line of "---".
func cutDocument(text []byte) (part, rest []byte) {
	for at := 0; at < len(text); {
		end := len(text)
		if newline := bytes.IndexByte(text[at:], '\n'); newline >= 0 {
			end = at + newline + 1
		}
		line := text[at:end]
		if tail, ok := bytes.CutPrefix(line, []byte("---")); ok &&
			(len(tail) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(tail[0]))) {
			return text[:at], text[at+3:]
		}
		at = end
	}
	return text, nil
}

// eachValue reads JSON values that follow one another.
func eachValue(text []byte, before int, yield func(document) error) (read int, err error) {
	for dec := stream.New(text); ; read++ {
		value, err := dec.ReadValue()
		if errors.Is(err, io.EOF) {
			return read, nil
		}
		var syntax *jsontext.SyntacticError
		if read == 0 && errors.As(err, &syntax) {
			// A YAML document may start with a brace, too: {a: b}.
			if object, yamlErr := yaml.YAMLToJSONStrict(text); yamlErr == nil {
				return 1, yield(document{before + 1, object})
			}
		}
		if err != nil {
			return read, fmt.Errorf("document %d: %w", before+read+1, err)
		}
		if err := yield(document{before + read + 1, bytes.Clone(value)}); err != nil {
			return read, err
		}
	}
}
