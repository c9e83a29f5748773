package cni

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"go.uber.org/zap"

	"galaxy/pause"
	"galaxy/plugins"
)

// Garbage undoes what was made for containers that are gone without a DEL, as after a reboot or with a container
// runtime that has lost what it knew. The runtime is asked which there are, since none of them calls GC by itself.
//
// Three things must agree before anything is undone. The container had its networks before the runtime was asked, and
// is not among its response: not found, or ended. That was so in the pass before, too, and if it is not found, for as
// long as a runtime may be at work to make a sandbox, which it lists only when it is done. And no process lives in its
// network namespace, which spares pods that a runtime with an empty memory denies. Clocks of others are not compared.
type Garbage struct {
	*Server
	// Sandboxes are all that the runtime has, by container id: true for those that may still use their networks.
	Sandboxes func(ctx context.Context) (map[string]bool, error)
	// Inhabited are those of some network namespaces, given by their paths, in which processes live.
	Inhabited func(paths []string) (map[string]bool, error)
	Every     time.Duration // between two passes
	Grace     time.Duration // how long a container that is not found may be one that is only just made
	Now       func() time.Time

	missed map[string]time.Time // in the last pass, and since when
	logged map[string]bool      // what was said of containers that are kept
	silent string               // why the runtime has not answered, as it was said last
}

// DefaultGrace is how long a kubelet waits for a runtime to make a sandbox: twice its --runtime-request-timeout of two
// minutes.
const DefaultGrace = 4 * time.Minute

// Run collects now, and again and again until ctx ends.
func (g *Garbage) Run(ctx context.Context) error {
	for {
		err := g.Collect(ctx)
		if text := fmt.Sprint(err); text != g.silent && ctx.Err() == nil {
			g.silent = text
			if err != nil {
				g.Log.Warn("not all that containers have left can be undone; it is tried again", zap.Error(err))
			}
		}
		if pause.For(ctx, g.Every) != nil {
			return nil
		}
	}
}

// Collect compares once what is held with what the runtime has. Without a whole response nothing is undone, and the
// count of two passes goes on.
func (g *Garbage) Collect(ctx context.Context) error {
	held, err := g.held() // before the question, so that what is made meanwhile is not missed in the response
	if err != nil {
		return err
	}
	alive, err := g.Sandboxes(ctx)
	if err != nil {
		return err
	}
	again := g.miss(held, alive)
	gone, err := g.empty(again, len(alive) == 0)
	failed := []error{err}
	for _, id := range gone {
		_, listed := alive[id]
		why := evidence(listed) + ", and no process is in its network namespace"
		g.Log.Info("container gone; undoing its networks", zap.String("container", id),
			zap.Int("sandboxes", len(alive)),
			zap.String("evidence", why), zap.Duration("for", g.Now().Sub(g.missed[id])))
		if err := g.guard.do(id, func() error { return g.reclaim(plugins.WithEvidence(ctx, why), id) }); err != nil {
			failed = append(failed, fmt.Errorf("container %s: %w", id, err))
		}
	}
	return errors.Join(failed...)
}

// miss notes which containers are not alive, and returns those of which that is known for long enough.
func (g *Garbage) miss(held []string, alive map[string]bool) (again []string) {
	now, missing := g.Now(), map[string]time.Time{}
	for _, id := range held {
		if alive[id] {
			continue
		}
		since, before := g.missed[id]
		if !before {
			since = now
		}
		missing[id] = since
		if _, listed := alive[id]; before && (listed || now.Sub(since) >= g.Grace) {
			again = append(again, id)
		}
	}
	g.missed = missing
	maps.DeleteFunc(g.logged, func(id string, _ bool) bool {
		_, still := missing[id]
		return !still
	})
	return again
}

func evidence(listed bool) string {
	if listed {
		return "its sandbox was not ready in two passes, without a container that waits or runs"
	}
	return "the runtime did not have its sandbox in two passes"
}

// held are the containers that have networks or addresses, but for those of which an ADD or DEL is at work.
func (g *Garbage) held() ([]string, error) {
	known, err := g.state.containers(time.Time{})
	if err != nil {
		return nil, err
	}
	all := append(known, g.Held()...)
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), g.locks.busy), nil
}

// empty are those of some containers in whose namespaces no process is. A runtime that knows of no sandbox at all while
// such processes live is not believed in anything.
func (g *Garbage) empty(ids []string, nothing bool) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	paths := map[string][]string{}
	var known, all []string
	var failed error
	for _, id := range ids {
		err := g.guard.do(id, func() error {
			paths[id] = g.namespaces(id)
			return nil
		})
		if err != nil { // where it may be is not known, and it is kept
			failed = errors.Join(failed, fmt.Errorf("container %s: %w", id, err))
			continue
		}
		known, all = append(known, id), append(all, paths[id]...)
	}
	inhabited, err := g.Inhabited(all)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	lives := func(id string) bool {
		return slices.ContainsFunc(paths[id], func(p string) bool { return inhabited[p] })
	}
	if nothing && slices.ContainsFunc(known, lives) {
		g.logOnce("", "the runtime has no sandbox at all, but processes are in the network namespaces of pods: it is "+
			"not believed, and all is kept")
		return nil, failed
	}
	return slices.DeleteFunc(known, func(id string) bool {
		if lives(id) {
			g.logOnce(id, "the runtime does not have a container, but processes are in its network namespace: its "+
				"networks are kept")
		}
		return lives(id)
	}), failed
}

// logOnce logs once why something is kept.
func (g *Garbage) logOnce(id, what string) {
	if g.logged == nil {
		g.logged = map[string]bool{}
	}
	if !g.logged[id] {
		g.Log.Warn(what, zap.String("container", id))
	}
	g.logged[id] = true
}

// namespaces are the network namespaces in which a container was given interfaces.
func (s *Server) namespaces(containerID string) []string {
	all, _, err := s.state.load(containerID)
	if err != nil {
		return nil // to undo it will say what is wrong
	}
	var paths []string
	for _, a := range all {
		if a.Result == nil {
			continue
		}
		for _, link := range a.Result.Interfaces {
			if link.Sandbox != "" && !slices.Contains(paths, link.Sandbox) {
				paths = append(paths, link.Sandbox)
			}
		}
	}
	return paths
}

// reclaim takes networks and addresses from a container. The evidence that it is gone, in ctx, goes into the log.
func (s *Server) reclaim(ctx context.Context, containerID string) error {
	if err := s.del(ctx, skel.CmdArgs{ContainerID: containerID, Path: strings.Join(s.Path, ":")}); err != nil {
		return err
	}
	return s.Release(ctx, containerID)
}
