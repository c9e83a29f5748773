package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
)

// endingPrefix begins the names of the files of containers whose DEL was answered while the kernel was still deleting
// their links: an agent that is killed by then leaves it to the next one.
const endingPrefix = ".ending-"

func (s states) ending(containerID string) string {
	return filepath.Join(s.dir, endingPrefix+containerID)
}

// end puts the file of a container aside until its links are gone.
func (s states) end(containerID string) error {
	err := os.Rename(s.path(containerID), s.ending(containerID))
	if errors.Is(err, fs.ErrExist) { // a folder, which is none of ours
		if err = s.ended(containerID); err == nil {
			err = os.Rename(s.path(containerID), s.ending(containerID))
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state of container %s: %w", containerID, err)
	}
	return nil
}

// ended says that a container's links are gone.
func (s states) ended(containerID string) error {
	if err := removeAny(s.ending(containerID)); err != nil {
		return fmt.Errorf("state of container %s: %w", containerID, err)
	}
	return nil
}

// endings are the containers whose links may be there still.
func (s states) endings() ([]string, error) {
	found, err := filepath.Glob(filepath.Join(s.dir, endingPrefix+"*"))
	for i, path := range found {
		found[i] = strings.TrimPrefix(filepath.Base(path), endingPrefix)
	}
	return found, err
}

// forget drops the state of a container of which nothing is left, but for links that are being deleted.
func (s *Server) forget(containerID string) error {
	if !s.later.busy(containerID) {
		return s.state.remove(containerID)
	}
	if err := s.state.end(containerID); err != nil {
		return err
	}
	s.later.of(containerID)(func() error { return s.state.ended(containerID) })
	return nil
}

// finish deletes what an agent before this one was killed over. Its caller has the container's lock.
func (s *Server) finish(ctx context.Context, containerID string) error {
	s.later.wait(containerID)
	if _, err := os.Lstat(s.state.ending(containerID)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := s.Lost(ctx, containerID, ""); err != nil {
		return err
	}
	s.Log.Info("deleted the links of a container whose DEL was answered before", zap.String("container", containerID))
	return s.state.ended(containerID)
}

// finishAll is finish for all containers.
func (s *Server) finishAll(ctx context.Context, logged map[string]string) {
	ids, err := s.state.endings()
	s.forEach(ctx, logged, ids, err, s.finish)
}
