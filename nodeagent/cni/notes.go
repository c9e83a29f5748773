package cni

import (
	"context"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"go.uber.org/zap"

	"galaxy/pause"
)

// notesEvery is how often it is looked for notes, which come only while no agent is there, or one that is too busy to listen.
const notesEvery = 5 * time.Second

// CatchUp undoes, at once and then now and then until ctx ends, the networks of containers of which galaxy-sdn has left notes, and finishes
// what an agent before this one was killed over.
func (s *Server) CatchUp(ctx context.Context) error {
	told := map[string]string{} // so that each fault is told once
	for {
		s.finishAll(ctx, told)
		s.catchUp(ctx, told)
		if pause.For(ctx, notesEvery) != nil {
			return nil
		}
	}
}

func (s *Server) catchUp(ctx context.Context, told map[string]string) {
	ids, err := s.Notes.Containers()
	s.forEach(ctx, told, ids, err, s.undoNoted)
}

// forEach does something for each of the listed containers, with its lock, until ctx ends. listed is what came of listing them.
func (s *Server) forEach(ctx context.Context, told map[string]string, ids []string, listed error, do func(ctx context.Context, containerID string) error) {
	if listed != nil {
		s.tell(told, "", listed)
		return
	}
	for _, id := range ids {
		unlock := s.locks.lock(id)
		err := do(ctx, id)
		unlock()
		if ctx.Err() != nil {
			return
		}
		s.tell(told, id, err)
	}
}

func (s *Server) tell(told map[string]string, id string, err error) {
	switch {
	case err == nil:
		delete(told, id)
	case told[id] != err.Error():
		told[id] = err.Error()
		s.Log.Warn("cannot undo the networks of a container; trying again", zap.String("container", id), zap.Error(err))
	}
}

// undoNoted does what the note of a container says, if there is one. Its caller has the container's lock, so that an ADD that comes
// after the DEL of the note is not undone.
func (s *Server) undoNoted(ctx context.Context, containerID string) error {
	if s.Notes.Dir == "" {
		return nil
	}
	requests, err := s.Notes.Read(containerID)
	if err != nil {
		return err
	}
	for _, request := range requests {
		args, _, err := request.Args()
		if err != nil {
			return err
		}
		if args.ContainerID != containerID || request.Command() != "DEL" {
			return types.NewError(types.ErrInternal, "the note of container "+containerID+" is of another, or no DEL; remove it from "+s.Notes.Dir, "")
		}
		args.Path = s.path(args.Path)
		if err := s.undo(ctx, *args); err != nil {
			return err
		}
		if err := s.Notes.Drop(containerID, ""); err != nil { // of a release that kept one for all interfaces
			return err
		}
		s.Log.Info("undid the networks of a container whose DEL was put off", zap.String("container", containerID), zap.String("interface", args.IfName))
	}
	return nil
}
