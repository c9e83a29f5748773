package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"go.uber.org/zap"

	"galaxy/plugins"
)

// gc undoes what was made for containers that the runtime no longer has (CNI specification 1.1, GC).
func (s *Server) gc(ctx context.Context, args skel.CmdArgs) error {
	var conf struct {
		Valid json.RawMessage `json:"cni.dev/valid-attachments"`
	}
	if err := json.Unmarshal(args.StdinData, &conf); err != nil {
		return types.NewError(types.ErrDecodingFailure, "the configuration of the network is not JSON", err.Error())
	}
	if conf.Valid == nil {
		return types.NewError(types.ErrInvalidNetworkConfig, "GC needs the list cni.dev/valid-attachments", "without it nobody would be spared")
	}
	var valid []types.GCAttachment // null is how the CNI project's library says that there are none
	if err := json.Unmarshal(conf.Valid, &valid); err != nil {
		return types.NewError(types.ErrDecodingFailure, "cni.dev/valid-attachments is no list of attachments", err.Error())
	}
	return s.Sweep(ctx, valid, time.Now(), args.Path)
}

// Sweep undoes what was made for containers that are not among valid, a list that was asked for at a moment: what was made after
// it is spared. Path is where plugins are looked for, beside the server's own.
func (s *Server) Sweep(ctx context.Context, valid []types.GCAttachment, asked time.Time, path string) error {
	ctx = plugins.WithEvidence(ctx, "the runtime's list does not have it")
	alive := map[string]bool{}
	for _, v := range valid {
		alive[v.ContainerID] = true
	}
	known, err := s.state.containers(asked)
	if err != nil {
		return err
	}
	var failed []error
	for _, id := range known {
		if alive[id] {
			continue
		}
		s.Log.Info("undoing the networks of a container that is gone", zap.String("container", id))
		if err := s.del(ctx, skel.CmdArgs{ContainerID: id, Path: path}); err != nil {
			failed = append(failed, fmt.Errorf("container %s: %w", id, err))
		}
	}
	return errors.Join(append(failed, s.Collect(ctx, valid, asked))...)
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
				return types.NewError(types.ErrPluginNotAvailable, fmt.Sprintf("network %s, plugin %s: %v", name, p.Type, err), "")
			}
		}
	}
	return nil
}
