package short

import (
	"bytes"
	"strconv"
	"strings"

	"galaxy/wire/terms"
)

// maxHead is how much of a response may stand before its body.
const maxHead = 64 << 10

// MaxResponse is how much is read of a response: what is longer is too large in any case.
const MaxResponse = maxHead + terms.MaxResponse + 1

// Nothing is for an ADD that was answered with nothing.
const Nothing = "the galaxy agent answered ADD with nothing; its log says more"

// Response is what a runtime gets: a result, which is to be printed, or a failure. Text is all that the agent has sent
// until the connection ended; broken says why it ended, and is empty if the agent ended it.
func (c Call) Response(text []byte, broken string) (result []byte, failure *terms.Failure) {
	head, body, whole := bytes.Cut(text, []byte("\r\n\r\n"))
	if !whole {
		return failed(cutOff(broken, "unexpected EOF"))
	}
	if len(head) > maxHead {
		return failed(terms.CutOff("what stands before its body is too large"))
	}
	// others would see its end elsewhere (RFC 9112, section 2.2)
	if bytes.Count(head, []byte("\n")) != bytes.Count(head, []byte("\r\n")) {
		return failed(terms.CutOff("malformed HTTP response: a line ends without a carriage return"))
	}
	response, wrong := parseHead(string(head))
	switch {
	case wrong != "":
		return failed(terms.CutOff(wrong))
	case len(body) > terms.MaxResponse && response.length == unknown, response.length > terms.MaxResponse:
		return failed(terms.TooLarge())
	case response.length == unknown && broken != "", len(body) < response.length:
		return failed(cutOff(broken, "unexpected EOF"))
	case response.length != unknown:
		body = body[:response.length]
	}
	switch {
	case response.status != terms.StatusOK:
		return failed(terms.Refusal(response.status, response.reason, body))
	case !c.add:
		return nil, nil
	case len(body) == 0:
		return failed(terms.Failure{Code: terms.Internal, Msg: Nothing})
	}
	return body, nil
}

func failed(f terms.Failure) ([]byte, *terms.Failure) { return nil, &f }

func cutOff(broken, ended string) terms.Failure {
	if broken == "" {
		broken = ended
	}
	return terms.CutOff(broken)
}

// unknown is the length of a body that ends with the connection.
const unknown = -1

// head is what stands before the body of a response.
type head struct {
	status int
	reason string
	length int
}

// parseHead reads it; wrong says what cannot be read.
func parseHead(text string) (h head, wrong string) {
	h.length = unknown
	first, rest, more := strings.Cut(text, "\r\n")
	protocol, status, _ := strings.Cut(first, " ")
	status, h.reason, _ = strings.Cut(status, " ")
	code, err := strconv.ParseUint(status, 10, 16)
	if !strings.HasPrefix(protocol, "HTTP/1.") || len(status) != 3 || err != nil {
		return h, "malformed HTTP response " + strconv.Quote(first)
	}
	h.status = int(code)
	for more {
		var line string
		line, rest, more = strings.Cut(rest, "\r\n")
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); {
		case strings.EqualFold(name, "Content-Length"):
			length, err := strconv.ParseUint(value, 10, 31)
			if err != nil || h.length != unknown && h.length != int(length) {
				return h, "bad Content-Length " + strconv.Quote(value)
			}
			h.length = int(length)
		case strings.EqualFold(name, "Transfer-Encoding"):
			return h, "unsupported transfer encoding " + strconv.Quote(value)
		}
	}
	return h, ""
}
