package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/containernetworking/cni/pkg/types"

	"galaxy/wire/terms"
)

// ErrUnreachable is for a question that nobody took: it may be asked again without harm.
var ErrUnreachable = errors.New("the galaxy agent is not reachable")

// Client asks the agent.
type Client struct {
	// Socket is the path of the agent's socket; Socket of this package if empty.
	Socket string
}

// Ask gives the bytes that the plugin shall print. An error of the agent is a *types.Error, whether it came as a text
// or as an error object of the CNI specification.
func (c Client) Ask(ctx context.Context, req Request) ([]byte, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the question to the agent: %w", err)
	}
	question, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://dummy"+Path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the question to the agent: %w", err)
	}
	question.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{DialContext: c.dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(question)
	if errors.Is(err, ErrUnreachable) {
		return nil, err
	}
	if err != nil {
		return nil, cutOff(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(io.LimitReader(response.Body, terms.MaxResponse+1))
	switch {
	case err != nil:
		return nil, cutOff(err)
	case len(text) > terms.MaxResponse:
		return nil, asError(terms.TooLarge())
	case response.StatusCode != http.StatusOK:
		return nil, asError(terms.Refusal(response.StatusCode, http.StatusText(response.StatusCode), text))
	}
	return text, nil
}

func (c Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	path := c.Socket
	if path == "" {
		path = Socket
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrUnreachable, path, errors.Unwrap(err))
	}
	return conn, nil
}

// asError gives a failure the type that the CNI library prints.
func asError(f terms.Failure) error { return types.NewError(f.Code, f.Msg, f.Details) }

func cutOff(err error) error { return asError(terms.CutOff(err.Error())) }
