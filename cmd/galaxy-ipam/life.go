package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"galaxy/durable"
	"galaxy/lease"
)

// succeed ends the term of the former process. The folder of an embedded etcd is locked by the process that has it
// open, so whoever opens it knows that the identity which is kept beside the data is of a process that has ended.
func (p *program) succeed(ctx context.Context) error {
	if p.options.embeddedDir == "" {
		return nil
	}
	file := filepath.Join(p.options.embeddedDir, "galaxy-ipam.identity")
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("identity of the former life: %w", err)
	}
	if id := strings.TrimSpace(string(before)); id != "" {
		ctx, cancel := context.WithTimeout(ctx, p.options.etcd.Timeout)
		defer cancel()
		ended, err := lease.EndFormer(ctx, p.client, lease.LeaderKey(p.options.etcd.Prefix), id)
		if err != nil {
			p.logger.Warn("waiting for the term of the former process to end", zap.String("identity", id),
				zap.Error(err))
		}
		if ended {
			p.logger.Info("ended the term of the former process", zap.String("identity", id))
		}
	}
	if err := durable.WriteFile(file, []byte(p.identity+"\n"), 0o600); err != nil {
		return fmt.Errorf("identity of this life: %w", err)
	}
	return nil
}
