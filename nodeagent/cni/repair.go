package cni

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
)

// Repair makes again what the host has lost of the interfaces of all containers, as a route that somebody has flushed.
// An error is what cannot be made again, as its place is another's. A container that is worked at is left for the next
// time.
func (s *Server) Repair(ctx context.Context) error {
	all, err := s.state.containers(time.Time{})
	failed := []error{err}
	for _, id := range all {
		if ctx.Err() != nil {
			break
		}
		if s.locks.busy(id) {
			continue
		}
		if err := s.guard.do(id, func() error { return s.repairOne(ctx, id) }); err != nil {
			failed = append(failed, fmt.Errorf("container %s: %w", id, err))
		}
	}
	return errors.Join(failed...)
}

func (s *Server) repairOne(ctx context.Context, id string) error {
	unlock, err := s.locks.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	all, _, err := s.state.load(id)
	if err != nil {
		return nil //nolint:nilerr // it was said when the file was read first
	}
	var failed []error
	for _, a := range all {
		if a.Result != nil && !a.Ending {
			failed = append(failed, s.run.repair(ctx, a, skel.CmdArgs{ContainerID: id}))
		}
	}
	return errors.Join(failed...)
}
