package httpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Limits of a connection, so that slow or idle clients cannot hold it for ever.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 3 * time.Minute
	maxHeader         = 64 << 10
	drainTimeout      = 20 * time.Second
)

// Server serves handlers on ports.
type Server struct {
	log     *zap.Logger
	servers []*http.Server
	lines   []net.Listener
	drain   time.Duration
}

// New makes a Server without ports.
func New(log *zap.Logger) *Server { return &Server{log: log, drain: drainTimeout} }

// Listen opens a port for a handler and returns its address; requests wait until Run. Port 0 takes any.
func (s *Server) Listen(address string, handler http.Handler) (net.Addr, error) {
	line, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	errorLog, err := zap.NewStdLogAt(s.log, zapcore.WarnLevel)
	if err != nil {
		errorLog = stdlog.New(io.Discard, "", 0)
	}
	s.lines = append(s.lines, line)
	s.servers = append(s.servers, &http.Server{
		Handler: handler, ErrorLog: errorLog, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout,
	})
	return line.Addr(), nil
}

// Run serves until ctx ends; then it takes no new connections, lets the requests in hand finish, and returns nil. It
// returns an error when a port fails, after closing the others.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, len(s.servers))
	for i, server := range s.servers {
		go func() {
			if err := server.Serve(s.lines[i]); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", s.lines[i].Addr(), err)
			}
		}()
	}
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-failed:
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
	defer cancel()
	return errors.Join(failure, s.shutdown(ending))
}

func (s *Server) shutdown(ctx context.Context) error {
	failures := make(chan error, len(s.servers))
	for _, server := range s.servers {
		go func() {
			err := server.Shutdown(ctx)
			if err != nil { // the time is up: those that still wait are cut off
				err = errors.Join(fmt.Errorf("end the requests in hand: %w", err), server.Close())
			}
			failures <- err
		}()
	}
	var all []error
	for range s.servers {
		all = append(all, <-failures)
	}
	return errors.Join(all...)
}

// Close gives the ports back when Run was never called.
func (s *Server) Close() error {
	var all []error
	for _, line := range s.lines {
		all = append(all, line.Close())
	}
	return errors.Join(all...)
}
