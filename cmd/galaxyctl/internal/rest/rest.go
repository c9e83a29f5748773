// Package rest asks galaxy-ipam over its REST port.
package rest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"galaxy/cmd/internal/cli"
	"galaxy/cmd/internal/localhost"
	"galaxy/extender/api"
)

// Waits of the REST client. galaxy-ipam itself gives up after 30 s.
const (
	dialTimeout     = 3 * time.Second
	responseTimeout = 40 * time.Second
)

// Server is a galaxy-ipam that is asked.
type Server struct {
	base   string
	token  string // "" for none
	client *http.Client
	most   int64 // bytes of a response
}

// Dial makes a client, and asks nothing yet.
func (f *Flags) Dial() (*Server, error) {
	u, err := url.Parse(f.server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, cli.Usage("--server %q: want http://<host>:<port>", f.server)
	}
	if (f.cert == "") != (f.key == "") {
		return nil, cli.Usage("--server-client-cert and --server-client-key go together")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	if transport.TLSClientConfig, err = f.tls(); err != nil {
		return nil, err
	}
	token, err := f.token()
	if err != nil {
		return nil, err
	}
	if token != "" && u.Scheme == "http" && !f.insecure && !localhost.Is(u.Hostname()) {
		return nil, cli.Usage("--server %q: a token would cross the network unencrypted: use https (--server-ca), or "+
			"say --insecure", f.server)
	}
	return &Server{strings.TrimSuffix(f.server, "/"), token,
		&http.Client{Transport: transport, Timeout: responseTimeout}, maxResponse}, nil
}

// Flags say where galaxy-ipam is, who asks it, and whom it takes for galaxy-ipam.
type Flags struct {
	server                   string
	tokenFile, ca, cert, key string
	insecure                 bool
}

// Add defines the flags.
func (f *Flags) Add(flags *pflag.FlagSet) {
	flags.StringVar(&f.server, "server", "http://127.0.0.1:9041", "URL of galaxy-ipam's REST port")
	flags.StringVar(&f.tokenFile, "token-file", "",
		"file with a bearer token of the cluster, which galaxy-ipam wants for all that changes something; \"-\" "+
			"reads it from standard input")
	flags.BoolVar(&f.insecure, "insecure", false, "send the token although --server is http and another host")
	flags.StringVar(&f.ca, "server-ca", "", "file with the certificates that galaxy-ipam's is checked against")
	flags.StringVar(&f.cert, "server-client-cert", "", "file with the client certificate for galaxy-ipam")
	flags.StringVar(&f.key, "server-client-key", "", "file with the key of that certificate")
}

func (f *Flags) token() (string, error) {
	if f.tokenFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(f.tokenFile)
	if f.tokenFile == "-" {
		text, err = io.ReadAll(os.Stdin)
	}
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (f *Flags) tls() (*tls.Config, error) {
	return cli.ClientTLS(cli.File{Flag: "server-ca", Path: f.ca}, cli.File{Flag: "server-client-cert", Path: f.cert},
		cli.File{Flag: "server-client-key", Path: f.key})
}

// maxResponse bounds a response of galaxy-ipam, in bytes.
const maxResponse = 256 << 20

// Refused is a response of galaxy-ipam that says no.
type Refused struct {
	Status  int
	Message string
}

func (r *Refused) Error() string { return "galaxy-ipam: " + r.Message }

// Ask sends a request and decodes the response into a value, unless that is nil. The status is returned with it.
func (s *Server) Ask(ctx context.Context, method, path string, query url.Values, body,
	into any) (status int, err error) {
	request, err := s.request(ctx, method, path, query, body)
	if err != nil {
		return 0, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, s.explain(ctx, err)
	}
	defer response.Body.Close() //nolint:errcheck // it was only read from
	text, err := io.ReadAll(http.MaxBytesReader(nil, response.Body, s.most))
	if err != nil {
		return 0, fmt.Errorf("the response of galaxy-ipam at %s broke off: %w", s.base, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return response.StatusCode, s.refusal(response.StatusCode, text)
	}
	if into == nil {
		return response.StatusCode, nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return response.StatusCode, fmt.Errorf("%s does not answer as galaxy-ipam does: %w; is --server its REST port?",
			s.base, err)
	}
	return response.StatusCode, nil
}

func (s *Server) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	where := s.base + path
	if len(query) > 0 {
		where += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, where, content)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

// refusal reads the sentence in a response that says no.
func (s *Server) refusal(status int, text []byte) error {
	var said api.Failure
	_ = json.Unmarshal(text, &said) // what is no response of galaxy-ipam has no message
	if said.Message == "" {
		said.Message = fmt.Sprintf("status %d from %s: %.200s; is --server its REST port?", status, s.base,
			bytes.TrimSpace(text))
	}
	if status == http.StatusUnauthorized && s.token == "" {
		said.Message += " (galaxyctl sends that of --token-file)"
	}
	return &Refused{status, said.Message}
}

// explain says what can be done when there is no response.
func (s *Server) explain(ctx context.Context, err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	var timeout net.Error
	if ctx.Err() == nil && errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("no response from galaxy-ipam at %s: %w; see whether it runs and is ready (/readyz)", s.base,
			err)
	}
	return fmt.Errorf("no galaxy-ipam at %s: %w; start it, or name the right place with --server", s.base, err)
}
