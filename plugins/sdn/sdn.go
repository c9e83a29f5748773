// Package sdn is galaxy-sdn, the plugin that container runtimes run: it hands the question to the agent of the node,
// and prints the response as it came. It knows nothing of networks; a result that it does not understand is none of its
// business. Package short is a part of it that takes less time.
package sdn

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"galaxy/plugins"
	"galaxy/plugins/sdn/short"
	"galaxy/wire"
)

// Name is the type in a network configuration.
const Name = "galaxy-sdn"

// About is a sentence for people.
const About = "galaxy-sdn asks the galaxy agent of this node to do what a container runtime wants"

// How long a response may take.
const (
	otherTime = short.DelTime
	askTime   = 5 * time.Second // for STATUS, which runtimes ask every few seconds
)

// Relay is one call of galaxy-sdn.
type Relay struct {
	// Environ is the environment of the process, which goes to the agent whole.
	Environ []string
	Stdout  io.Writer
	// Patience is how long an ADD and a DEL wait for an agent that is not reachable, as while it restarts. An ADD fails
	// after that, and the runtime repeats it. A DEL leaves a note (wire.Notes) and succeeds, so that a node can be
	// drained while its agent is down: the agent gives the pod's addresses back when it is there again.
	Patience time.Duration
}

// Patience is what galaxy-sdn has.
const Patience = short.Patience

// Funcs are the operations.
func (r Relay) Funcs(ctx context.Context) skel.CNIFuncs {
	return skel.CNIFuncs{
		Add:    func(args *skel.CmdArgs) error { return r.add(ctx, args) },
		Del:    func(args *skel.CmdArgs) error { return r.del(ctx, args) },
		Check:  func(args *skel.CmdArgs) error { return r.silent(ctx, args) },
		GC:     func(args *skel.CmdArgs) error { return r.silent(ctx, args) },
		Status: func(args *skel.CmdArgs) error { return r.status(ctx, args) },
	}
}

func (r Relay) add(ctx context.Context, args *skel.CmdArgs) error {
	response, err := r.ask(ctx, args, r.Patience, short.AddTime)
	if err != nil {
		return explained(err)
	}
	if len(response) == 0 {
		return plugins.Errorf(types.ErrInternal, short.Nothing)
	}
	if _, err := r.Stdout.Write(response); err != nil {
		return plugins.Errorf(types.ErrIOFailure, "print the result: %w", err)
	}
	return nil
}

func (r Relay) del(ctx context.Context, args *skel.CmdArgs) error {
	_, err := r.ask(ctx, args, r.Patience, otherTime)
	if !errors.Is(err, wire.ErrUnreachable) {
		return err
	}
	if failed := (wire.Notes{Dir: pathsOf(args.StdinData).Notes}).Leave(r.request(args)); failed != nil {
		return explained(errors.Join(err, failed))
	}
	return nil
}

func (r Relay) silent(ctx context.Context, args *skel.CmdArgs) error {
	_, err := r.ask(ctx, args, 0, otherTime)
	return explained(err)
}

func (r Relay) status(ctx context.Context, args *skel.CmdArgs) error {
	_, err := r.ask(ctx, args, 0, askTime)
	var known *types.Error
	if errors.As(explained(err), &known) && known.Code == types.ErrTryAgainLater {
		return types.NewError(types.ErrPluginNotAvailable, known.Msg, known.Details)
	}
	return err
}

func (r Relay) request(args *skel.CmdArgs) wire.Request {
	return wire.Request{Env: wire.Environ(r.Environ), Config: args.StdinData}
}

func (r Relay) ask(ctx context.Context, args *skel.CmdArgs, patience, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client := wire.Client{Socket: pathsOf(args.StdinData).Socket}
	req := r.request(args)
	for end := time.Now().Add(patience); ; {
		response, err := client.Ask(ctx, req)
		if !errors.Is(err, wire.ErrUnreachable) {
			return response, err
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// explained turns the error of an agent that nobody reaches into one of CNI that says what to look at.
func explained(err error) error {
	if !errors.Is(err, wire.ErrUnreachable) {
		return err
	}
	return types.NewError(types.ErrTryAgainLater, err.Error(), "is the galaxy DaemonSet's pod of this node running? "+
		"its log says why not (kubectl -n kube-system get pods -o wide, crictl ps -a)")
}

// paths are where the agent listens and where notes for it lie: the configuration may name others than the usual ones.
type paths struct {
	Socket string `json:"socket"`
	Notes  string `json:"notes"`
}

func pathsOf(conf []byte) paths {
	var p paths
	_ = json.Unmarshal(conf, &p) // what is wrong with it is for the agent to say
	if p.Notes == "" {
		p.Notes = wire.NotesDir
	}
	return p
}
