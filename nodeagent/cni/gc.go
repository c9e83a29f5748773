package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"go.uber.org/zap"

	"galaxy/plugins"
)

// gc undoes what was made for containers that the runtime no longer has (CNI specification 1.1, GC).
func (s *Server) gc(ctx context.Context, args skel.CmdArgs) error {
	valid, err := plugins.ValidAttachments(args.StdinData)
	if err != nil {
		return err
	}
	return s.sweep(ctx, callOf(args).Network, valid, time.Now(), args.Path)
}

// sweep undoes what was made for a network of the runtime and is not among its valid attachments, a list that was asked
// for at a moment: what was made after it is spared, and so is all of which it is not known for which network it was
// made. Path is where plugins are looked for, beside the server's own.
func (s *Server) sweep(ctx context.Context, network string, valid []types.GCAttachment, asked time.Time,
	path string) error {
	if network == "" {
		return types.NewError(types.ErrInvalidNetworkConfig, "GC needs the name of the network",
			"without it nobody would be spared")
	}
	ctx = plugins.WithEvidence(ctx, "the runtime's list of network "+network+" does not have it")
	containers, err := s.state.containers(asked)
	if err != nil {
		return err
	}
	var failed []error
	for _, id := range containers {
		if err := s.guard.do(id, func() error { return s.sweepOne(ctx, id, network, valid, path) }); err != nil {
			failed = append(failed, fmt.Errorf("container %s: %w", id, err))
		}
	}
	return errors.Join(failed...)
}

func (s *Server) sweepOne(ctx context.Context, id, network string, valid []types.GCAttachment, path string) error {
	unlock, err := s.locks.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	all, _, err := s.state.load(id)
	if err != nil {
		return err
	}
	var gone, kept []Attachment
	for _, a := range all {
		if a.Of.Network == network && !slices.Contains(valid,
			types.GCAttachment{ContainerID: id, IfName: a.Of.IfName}) {
			gone = append(gone, a)
		} else {
			kept = append(kept, a)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	s.Log.Info("undoing the networks of an attachment that is gone", zap.String("container", id),
		zap.String("network", network), zap.Int("interfaces", len(gone)))
	return s.delAll(ctx, skel.CmdArgs{ContainerID: id, Path: path}, kept, gone)
}

// status says whether an ADD would find everything in its place.
func (s *Server) status(ctx context.Context, args skel.CmdArgs) error {
	if err := s.Ready(); err != nil {
		return types.NewError(types.ErrPluginNotAvailable, err.Error(), "")
	}
	config := s.Networks()
	for _, name := range config.DefaultNetworks {
		n := config.Network(name)
		if n == nil {
			continue // it may be in a file of the host
		}
		for _, p := range n.Plugins {
			if _, ours := s.Builtin[p.Type]; !ours {
				continue // a plugin of an older version does not know STATUS
			}
			if err := s.run.quietly(ctx, "STATUS", Attachment{Network: *n}, p, args, nil); err != nil {
				return types.NewError(types.ErrPluginNotAvailable,
					fmt.Sprintf("network %s, plugin %s: %v", name, p.Type, err), "")
			}
		}
	}
	return nil
}
