package cni

import (
	"context"
	"errors"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"go.uber.org/zap"

	"galaxy/durable"
	"galaxy/pause"
	"galaxy/wire"
)

// notesEvery is how often it is looked for notes, which come only while no agent is there, or one that is too busy to
// listen.
const notesEvery = 5 * time.Second

// CatchUp undoes, at once and then now and then until ctx ends, the networks of containers of which galaxy-sdn has left
// notes, and finishes what an agent before this one was killed over.
func (s *Server) CatchUp(ctx context.Context) error {
	logged := map[string]string{} // so that each error is logged once
	for {
		s.finishAll(ctx, logged)
		s.catchUp(ctx, logged)
		if pause.For(ctx, notesEvery) != nil {
			return nil
		}
	}
}

func (s *Server) catchUp(ctx context.Context, logged map[string]string) {
	ids, err := s.Notes.Containers()
	s.forEach(ctx, logged, ids, err, s.undoNoted)
}

// forEach does something for each of the listed containers, with its lock, until ctx ends. listed is what came of
// listing them.
func (s *Server) forEach(ctx context.Context, logged map[string]string, ids []string, listed error,
	do func(ctx context.Context, containerID string) error) {
	if listed != nil {
		s.logOnce(logged, "", listed)
		return
	}
	for _, id := range ids {
		unlock, err := s.locks.lock(ctx, id)
		if err != nil {
			return
		}
		err = s.guard.do(id, func() error { return do(ctx, id) })
		unlock()
		if ctx.Err() != nil {
			return
		}
		s.logOnce(logged, id, err)
	}
}

func (s *Server) logOnce(logged map[string]string, id string, err error) {
	switch {
	case err == nil:
		delete(logged, id)
	case logged[id] != err.Error():
		logged[id] = err.Error()
		s.Log.Warn("undoing container networks failed; retrying", zap.String("container", id), zap.Error(err))
	}
}

// undoNoted does what the notes of a container say, if there are any. Its caller has the container's lock, so that an
// ADD that comes after the DEL of a note is not undone.
func (s *Server) undoNoted(ctx context.Context, containerID string) error {
	requests, err := s.noted(containerID)
	if err != nil {
		return err
	}
	for _, request := range requests {
		args, _, err := request.Args()
		if err != nil {
			return err
		}
		args.Path = s.path(args.Path)
		if err := s.undo(ctx, *args); err != nil {
			return err
		}
		if err := s.Notes.Drop(containerID, ""); err != nil { // of a release that kept one for all interfaces
			return err
		}
		s.Log.Info("undid the networks of a container whose DEL was put off", zap.String("container", containerID),
			zap.String("interface", args.IfName))
	}
	return nil
}

// noted are the DELs in the notes of a container. A note that is damaged is set aside: it says nothing, and must keep
// no container.
func (s *Server) noted(containerID string) (requests []wire.Request, err error) {
	if s.Notes.Dir == "" {
		return nil, nil
	}
	notes, err := s.Notes.Read(containerID)
	for _, note := range notes {
		if note.Damage == nil {
			requests = append(requests, note.Request)
			continue
		}
		aside, failed := durable.SetAside(note.File)
		if failed != nil {
			err = errors.Join(err, note.Damage, failed)
			continue
		}
		s.Log.Error("the note of a DEL is damaged and is set aside; if its container is gone, garbage collection "+
			"undoes its networks",
			zap.String("container", containerID), zap.String("file", aside), zap.Error(note.Damage))
	}
	return requests, err
}

// dropNote removes the note of an interface that is undone, and what is damaged among the container's.
func (s *Server) dropNote(args skel.CmdArgs) error {
	if s.Notes.Dir == "" {
		return nil
	}
	if _, err := s.noted(args.ContainerID); err != nil {
		s.Log.Warn("not all notes of a container can be read", zap.String("container", args.ContainerID),
			zap.Error(err))
	}
	return s.Notes.Drop(args.ContainerID, args.IfName)
}
