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
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// ErrUnreachable is for a question that nobody took: it may be asked again without harm.
var ErrUnreachable = errors.New("the galaxy agent is not reachable")

// Client asks the agent.
type Client struct {
	// Socket is the path of the agent's socket; Socket of this package if empty.
	Socket string
}

// Ask gives the bytes that the plugin shall print. An error of the agent is a *types.Error, whether it came as a text or as an
// error object of the CNI specification.
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
	answer, err := transport.RoundTrip(question)
	if errors.Is(err, ErrUnreachable) {
		return nil, err
	}
	if err != nil {
		return nil, cutOff(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, cutOff(err)
	case len(text) > maxAnswer:
		return nil, types.NewError(types.ErrInternal, fmt.Sprintf("the answer of the galaxy agent is larger than %d bytes", maxAnswer), "")
	case answer.StatusCode != http.StatusOK:
		return nil, decodeError(answer.StatusCode, text)
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

// cutOff is for a question that was sent and not answered: whether it was done is unknown, so that the runtime has to repeat it.
func cutOff(err error) error {
	return types.NewError(types.ErrTryAgainLater, "the galaxy agent took the question but did not answer", err.Error())
}

// failure is the error object of the CNI specification.
type failure struct {
	CNIVersion string `json:"cniVersion,omitempty"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

func decodeError(status int, text []byte) error {
	var f failure
	if json.Unmarshal(text, &f) == nil && f.Code != 0 && f.Msg != "" {
		return types.NewError(f.Code, f.Msg, f.Details)
	}
	message := strings.TrimSpace(string(text))
	if message == "" {
		message = "the galaxy agent answered " + http.StatusText(status)
	}
	if status == http.StatusBadRequest {
		return types.NewError(types.ErrInvalidEnvironmentVariables, message, "")
	}
	return types.NewError(types.ErrInternal, message, "")
}
