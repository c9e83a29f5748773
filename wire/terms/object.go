package terms

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

var errNoObject = errors.New("this is not one JSON object")

// Object reads a JSON object: field is called with each name at its top, and reads the value from the decoder.
func Object(text []byte, field func(name string, from *jsontext.Decoder) error, options ...jsontext.Options) error {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(text), options...)
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != '{' {
		return errors.Join(errNoObject, err)
	}
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err == nil {
			err = field(name.String(), decoder)
		}
		if err != nil {
			return err
		}
	}
	if _, err := decoder.ReadToken(); err != nil {
		return err
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.Join(errNoObject, err)
	}
	return nil
}
