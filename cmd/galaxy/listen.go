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

	"galaxy/nodeagent/wire"
)

// drainFor bounds how long requests in hand may take at the end.
const drainFor = 10 * time.Second

// listen answers galaxy-sdn on the socket, and galaxyctl about the state of the node, until ctx ends.
func (p *program) listen(ctx context.Context) error {
	listener, err := listenAt(p.options.socket)
	if err != nil {
		return fmt.Errorf("--socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle(wire.Path, wire.Handler(p.answer))
	mux.HandleFunc("GET /v1/status", p.status)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	p.logger.Info("listening", zap.String("socket", p.options.socket))
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	if err := server.Shutdown(draining); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	p.server.Wait()
	return nil
}

// listenAt makes the socket, mode 0600, instead of one that an earlier life has left.
func listenAt(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close() // it was only to see who is there
		return nil, fmt.Errorf("another agent listens at %s: stop it first", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return listener, os.Chmod(path, 0o600)
}

func (p *program) answer(ctx context.Context, request wire.Request) ([]byte, error) {
	start := time.Now()
	result, err := p.server.Answer(ctx, request)
	fields := []zap.Field{
		zap.String("command", request.Command()), zap.String("container", request.Env["CNI_CONTAINERID"]),
		zap.String("args", request.Env["CNI_ARGS"]), zap.Duration("took", time.Since(start)),
	}
	switch {
	case err != nil:
		p.logger.Warn("cannot do what the runtime asks for", append(fields, zap.Error(err))...)
	case request.Command() == "STATUS":
		p.logger.Debug("the runtime asked", fields...)
	default:
		p.logger.Info("the runtime asked", fields...)
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
