package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"

	"galaxy/wire"
)

// Limits of the socket; wire.Handler bounds how long a question may take to come.
const (
	drainFor       = 10 * time.Second // for requests in hand at the end
	headerTimeout  = 10 * time.Second
	idleTimeout    = time.Minute
	mostQuestions  = 512 // connections at a time; others wait
	socketPoll     = 500 * time.Millisecond
	maxHeaderBytes = 16 << 10
)

// listen answers galaxy-sdn on the socket, and galaxyctl about the state of the node, until ctx ends.
func (p *program) listen(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle(wire.Path, wire.Handler(p.respond))
	mux.HandleFunc("GET /v1/status", p.status)
	if err := serveAt(ctx, p.options.socket, mux, p.logger); err != nil {
		return err
	}
	p.server.Wait()
	return nil
}

// serveAt serves at a socket until ctx ends. One whose file was removed or replaced, so that nobody reaches it, is made
// again.
func serveAt(ctx context.Context, socket string, handler http.Handler, log *zap.Logger) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes}
	ended := make(chan error, 1)
	open := func() (made os.FileInfo, err error) {
		listener, made, err := listenAt(socket)
		if err != nil {
			return nil, fmt.Errorf("--socket: %w", err)
		}
		log.Info("listening", zap.String("socket", socket))
		go func() { ended <- server.Serve(netutil.LimitListener(listener, mostQuestions)) }()
		return made, nil
	}
	made, err := open()
	if err != nil {
		return err
	}
	poll := time.NewTicker(socketPoll)
	defer poll.Stop()
	for ctx.Err() == nil {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
		case <-poll.C:
			if there, err := os.Lstat(socket); err == nil && os.SameFile(there, made) {
				continue
			}
			log.Warn("socket removed or replaced; listening again", zap.String("socket", socket))
			if made, err = open(); err != nil {
				return err
			}
		}
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	if err := server.Shutdown(draining); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// listenAt makes the socket, mode 0600, instead of one that an earlier life has left.
func listenAt(path string) (net.Listener, os.FileInfo, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, err
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close() // it was only to see who is there
		return nil, nil, fmt.Errorf("another agent listens at %s: stop it first", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		return nil, nil, err
	}
	listener.SetUnlinkOnClose(false) // by then the path may be another's
	made, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	return listener, made, nil
}

func (p *program) respond(ctx context.Context, request wire.Request) ([]byte, error) {
	start := time.Now()
	result, err := p.server.Handle(ctx, request)
	fields := []zap.Field{
		zap.String("command", request.Command()), zap.String("container", request.Env["CNI_CONTAINERID"]),
		zap.String("args", request.Env["CNI_ARGS"]), zap.Duration("took", time.Since(start)),
	}
	switch {
	case err != nil:
		p.logger.Warn("CNI request failed", append(fields, zap.Error(err))...)
	case request.Command() == "STATUS":
		p.logger.Debug("CNI request", fields...)
	default:
		p.logger.Info("CNI request", fields...)
	}
	return result, err
}

// status is what galaxyctl shows of this node.
func (p *program) status(w http.ResponseWriter, r *http.Request) {
	status, err := p.agent.Status(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(status) // who is gone asks again
}
