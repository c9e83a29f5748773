// Package short is the short way of galaxy-sdn: what a small program has to know to ask the agent about a plain ADD or
// DEL. All that is not plain is left to the full program, package sdn, so nothing is refused here that it would not
// refuse, too, and the words of a refusal are its own.
package short

import (
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"galaxy/wire/terms"
)

// How long a response may take. Runtimes give up after some minutes themselves.
const (
	AddTime = 4 * time.Minute
	DelTime = time.Minute
)

// Patience is how long galaxy-sdn waits for an agent that is not reachable.
const Patience = 5 * time.Second

// MaxConfig is how large a configuration may be for the short way. It is usually less than a kilobyte.
const MaxConfig = 1 << 20

// Call is a plain ADD or DEL.
type Call struct {
	// Netns is the path of the container's network namespace; none if empty.
	Netns string

	add     bool
	environ []string
}

// Of makes a call of the environment of a process; ok is false if it is not a plain one.
func Of(environ []string) (c Call, ok bool) {
	vars := map[string]string{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, "CNI_") {
			vars[name] = value
		}
	}
	c = Call{Netns: vars["CNI_NETNS"], add: vars["CNI_COMMAND"] == "ADD", environ: environ}
	known := c.add && c.Netns != "" || vars["CNI_COMMAND"] == "DEL"
	return c, known && vars["CNI_PATH"] != "" && isName(vars["CNI_CONTAINERID"]) && isInterface(vars["CNI_IFNAME"])
}

// isName reports whether a container or a network may be called that: the rule of the CNI library.
func isName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return name != ""
}

// isInterface reports whether an interface may be called that. The library allows more than ASCII.
func isInterface(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == '/' || c == ':' {
			return false
		}
	}
	return name != "" && len(name) <= 15 && name != "." && name != ".."
}

// Limit is how long the response may take.
func (c Call) Limit() time.Duration {
	if c.add {
		return AddTime
	}
	return DelTime
}

// versions are those of the CNI specification; a configuration that names none is of the first.
var versions = []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// Socket is where a configuration says that the agent listens; ok is false if the configuration is not a plain one.
func Socket(config []byte) (path string, ok bool) {
	version, name := "", ""
	known := map[string]*string{"cniVersion": &version, "name": &name, "socket": &path}
	err := terms.Object(config, func(field string, from *jsontext.Decoder) error {
		for plain, text := range known {
			if field == plain {
				return readText(from, text)
			}
			if strings.EqualFold(field, plain) {
				return errNotPlain // encoding/json takes it for the same
			}
		}
		return from.SkipValue()
	})
	if version == "" {
		version = versions[0]
	}
	if path == "" {
		path = terms.Socket
	}
	return path, err == nil && isName(name) && slices.Contains(versions, version)
}

var errNotPlain = errors.New("this is for the full program")

func readText(from *jsontext.Decoder, to *string) error {
	token, err := from.ReadToken()
	if err != nil || token.Kind() != '"' {
		return errors.Join(errNotPlain, err)
	}
	*to = token.String()
	return nil
}

// Question is what is sent to the agent; ok is false if the environment cannot be said in JSON as it is.
func (c Call) Question(config []byte) (request []byte, ok bool) {
	body := []byte(`{"env":{`)
	for _, entry := range c.environ {
		name, value, ok := strings.Cut(entry, "=")
		if !ok {
			continue
		}
		if body[len(body)-1] != '{' {
			body = append(body, ',')
		}
		var err1, err2 error
		body, err1 = jsontext.AppendQuote(body, name)
		body, err2 = jsontext.AppendQuote(append(body, ':'), value)
		if err1 != nil || err2 != nil {
			return nil, false
		}
	}
	body = append(body, `},"config":"`...)
	body = base64.StdEncoding.AppendEncode(body, config)
	body = append(body, `"}`...)
	// A response in HTTP/1.0 comes in one piece and ends with the connection.
	head := "POST " + terms.Path + " HTTP/1.0\r\nHost: dummy\r\nContent-Type: application/json\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(head), body...), true
}
