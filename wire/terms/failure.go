package terms

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Codes of errors in the CNI specification.
const (
	InvalidEnvironment uint = 4
	IOFailure          uint = 5
	TryAgainLater      uint = 11
	Internal           uint = 999
)

// Failure is the error object of the CNI specification.
type Failure struct {
	Code         uint
	Msg, Details string
}

// CutOff is for a question that was sent and not answered: whether it was done is unknown, so that the runtime has to
// repeat it.
func CutOff(why string) Failure {
	return Failure{TryAgainLater, "the galaxy agent took the question but did not answer", why}
}

// TooLarge is for a response beyond MaxResponse.
func TooLarge() Failure {
	return Failure{Internal, "the response of the galaxy agent is larger than " + strconv.Itoa(MaxResponse) + " bytes",
		""}
}

// Refusal is what a response with another status than 200 means, whether its body is an error object or a text. Reason
// stands for a body that is empty.
func Refusal(status int, reason string, body []byte) Failure {
	if f, err := decode(body); err == nil && f.Code != 0 && f.Msg != "" {
		return f
	}
	message := strings.TrimSpace(string(body))
	if message == "" {
		message = "the galaxy agent answered " + reason
	}
	if status == StatusBadRequest {
		return Failure{InvalidEnvironment, message, ""}
	}
	return Failure{Internal, message, ""}
}

// decode reads an error object as encoding/json does: names in any case, of a name that comes twice the last, what is
// null not at all.
func decode(text []byte) (f Failure, err error) {
	err = Object(text, f.read, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return f, err
}

var errNoFailure = errors.New("this is no error object")

// read takes one value of the object.
func (f *Failure) read(name string, from *jsontext.Decoder) error {
	var text *string
	switch {
	case strings.EqualFold(name, "code"):
	case strings.EqualFold(name, "msg"):
		text = &f.Msg
	case strings.EqualFold(name, "details"):
		text = &f.Details
	case strings.EqualFold(name, "cniVersion"):
		text = new(string)
	default:
		return from.SkipValue()
	}
	token, err := from.ReadToken()
	switch {
	case err != nil:
		return err
	case token.Kind() == 'n':
		return nil
	case token.Kind() == '"' && text != nil:
		*text = token.String()
		return nil
	case token.Kind() == '0' && text == nil:
		code, err := strconv.ParseUint(token.String(), 10, strconv.IntSize)
		f.Code = uint(code)
		return err
	}
	return errNoFailure
}

// JSON is the object in the form in which the CNI library prints errors.
func (f Failure) JSON() []byte {
	tokens := []jsontext.Token{jsontext.BeginObject, jsontext.String("code"), jsontext.Uint(uint64(f.Code)),
		jsontext.String("msg"), jsontext.String(f.Msg)}
	if f.Details != "" {
		tokens = append(tokens, jsontext.String("details"), jsontext.String(f.Details))
	}
	var out bytes.Buffer
	encoder := jsontext.NewEncoder(&out, jsontext.WithIndent("    "), jsontext.EscapeForHTML(true),
		jsontext.EscapeForJS(true), jsontext.AllowInvalidUTF8(true))
	for _, token := range append(tokens, jsontext.EndObject) {
		_ = encoder.WriteToken(token) // these are in order, and a buffer takes all
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
