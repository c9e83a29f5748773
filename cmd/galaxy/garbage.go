package main

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"galaxy/cmd/internal/cli"
	"galaxy/nodeagent/cni"
	"galaxy/nodeagent/runtime"
)

// collectGarbage undoes what containers have left that the runtime no longer has, until ctx ends. Without a socket it
// is left to the runtime to call GC.
func (p *program) collectGarbage(ctx context.Context) (err error) {
	if p.options.criSocket == "" {
		return nil
	}
	asked, err := runtime.Open(p.options.criSocket)
	if err != nil {
		return cli.Usage("--cri-socket: %w", err)
	}
	defer func() { err = errors.Join(err, asked.Close()) }()
	p.logger.Info("the container runtime is asked which sandboxes it has", zap.String("socket", p.options.criSocket),
		zap.Duration("every", p.options.gcInterval))
	garbage := cni.Garbage{Server: p.server, Sandboxes: asked.Sandboxes, Inhabited: runtime.Inhabited,
		Every: p.options.gcInterval, Grace: p.options.gcGrace, Now: time.Now}
	return garbage.Run(ctx)
}
