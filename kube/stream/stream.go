// Package stream walks JSON as it comes, member by member, without building what nobody asks for. It is what makes a
// request with a thousand whole Node objects cheap: all but a few members of each are skipped.
package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Options are the decoder options of this package: a repeated member counts as encoding/json takes it, the last one
// wins.
var Options = jsontext.AllowDuplicateNames(true)

// New reads the JSON of a buffer. The bytes are not copied: they must not change until the last read.
func New(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), Options)
}

// Object calls member for each member of the object that comes next; member must read exactly the value. The name is
// valid only until then. null is an object without members.
func Object(dec *jsontext.Decoder, member func(name []byte) error) error {
	if null, err := enter(dec, '{', "an object"); null || err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		name, err := Bytes(dec)
		if err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// Array calls element for each element of the array that comes next; element must read exactly one value. null is
// empty.
func Array(dec *jsontext.Decoder, element func() error) error {
	if null, err := enter(dec, '[', "an array"); null || err != nil {
		return err
	}
	for {
		switch dec.PeekKind() {
		case ']':
			_, err := dec.ReadToken()
			return err
		case 0: // the next read says what is wrong
			_, err := dec.ReadToken()
			return err
		}
		if err := element(); err != nil {
			return err
		}
	}
}

// enter reads the start of an object or array, or null.
func enter(dec *jsontext.Decoder, start jsontext.Kind, want string) (null bool, err error) {
	kind := dec.PeekKind()
	if kind != start && kind != 'n' && kind != 0 {
		return false, typeError(dec, kind, want)
	}
	_, err = dec.ReadToken()
	return kind == 'n', err
}

// Bytes reads a string, or "" for null. It stays valid until the next read.
func Bytes(dec *jsontext.Decoder) ([]byte, error) {
	switch kind := dec.PeekKind(); kind {
	case '"', 0:
	case 'n':
		_, err := dec.ReadToken()
		return nil, err
	default:
		return nil, typeError(dec, kind, "a string")
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	return jsontext.AppendUnquote(nil, raw)
}

// Text reads a string of its own, or "" for null.
func Text(dec *jsontext.Decoder, into *string) error {
	b, err := Bytes(dec)
	*into = string(b)
	return err
}

// Bool reads true or false; null is false.
func Bool(dec *jsontext.Decoder, into *bool) error {
	switch kind := dec.PeekKind(); kind {
	case 't', 'f', 'n', 0:
	default:
		return typeError(dec, kind, "true or false")
	}
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	*into = token.Kind() == 't'
	return nil
}

// Int reads a whole number; null is 0.
func Int(dec *jsontext.Decoder, into *int64) error {
	kind := dec.PeekKind()
	if kind != '0' && kind != 'n' && kind != 0 {
		return typeError(dec, kind, "a whole number")
	}
	raw, err := dec.ReadValue()
	if err != nil || kind == 'n' {
		return err
	}
	if *into, err = strconv.ParseInt(string(raw), 10, 64); err != nil {
		return fmt.Errorf("%s: %s is not a whole number", Where(dec), raw)
	}
	return nil
}

// Skip reads a value that nobody wants.
func Skip(dec *jsontext.Decoder) error {
	_, err := dec.ReadValue()
	return err
}

// End makes sure that nothing follows.
func End(dec *jsontext.Decoder) error {
	if dec.PeekKind() == 0 {
		if _, err := dec.ReadToken(); errors.Is(err, io.EOF) {
			return nil
		}
	}
	return fmt.Errorf("something follows the value at byte %d", dec.InputOffset())
}

func typeError(dec *jsontext.Decoder, kind jsontext.Kind, want string) error {
	// Reading what is there, or its start, moves the decoder's pointer to it, so that the error names it.
	_, _ = dec.ReadToken()
	return fmt.Errorf("%s: want %s, have %s", Where(dec), want, kindName(kind))
}

func kindName(kind jsontext.Kind) string {
	switch kind {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 't', 'f':
		return kind.String()
	default:
		return "null"
	}
}

// Where names the value that was read last as people write it: spec.containers[0].name.
func Where(dec *jsontext.Decoder) string {
	var b strings.Builder
	for part := range dec.StackPointer().Tokens() {
		if _, err := strconv.Atoi(part); err == nil {
			b.WriteString("[" + part + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(part)
	}
	if b.Len() == 0 {
		return "the top level"
	}
	return b.String()
}
