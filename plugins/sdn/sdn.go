// Package sdn is galaxy-sdn, the plugin that container runtimes run: it hands the question to the agent of the node, and
// prints the answer as it came. It knows nothing of networks; a result that it does not understand is none of its business.
package sdn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"galaxy/nodeagent/wire"
	"galaxy/plugins"
)

// Name is the type in a network configuration.
const Name = "galaxy-sdn"

// About is a sentence for people.
const About = "galaxy-sdn asks the galaxy agent of this node to do what a container runtime wants"

// How long an answer may take. Runtimes give up after some minutes themselves.
const (
	addTime   = 4 * time.Minute
	otherTime = time.Minute
	askTime   = 5 * time.Second // for STATUS, which runtimes ask every few seconds
)

// Relay is one call of galaxy-sdn.
type Relay struct {
	// Environ is the environment of the process, which goes to the agent whole.
	Environ []string
	Stdout  io.Writer
	// Patience is how long an ADD and a DEL wait for an agent that is not reachable, as while it restarts. Both fail after
	// that, and the runtime repeats them. A DEL fails too, although nothing may be left to delete: were it to succeed, the
	// addresses of the pod would be lost until somebody collects garbage. The runtime keeps the sandbox and asks again, and a
	// drain goes on as soon as the agent is back.
	Patience time.Duration
}

// Patience is what galaxy-sdn has.
const Patience = 5 * time.Second

// Funcs are the operations.
func (r Relay) Funcs(ctx context.Context) skel.CNIFuncs {
	return skel.CNIFuncs{
		Add:    func(args *skel.CmdArgs) error { return r.add(ctx, args) },
		Del:    func(args *skel.CmdArgs) error { return r.silent(ctx, args, r.Patience, otherTime) },
		Check:  func(args *skel.CmdArgs) error { return r.silent(ctx, args, 0, otherTime) },
		GC:     func(args *skel.CmdArgs) error { return r.silent(ctx, args, 0, otherTime) },
		Status: func(args *skel.CmdArgs) error { return r.status(ctx, args) },
	}
}

func (r Relay) add(ctx context.Context, args *skel.CmdArgs) error {
	answer, err := r.ask(ctx, args, r.Patience, addTime)
	if err != nil {
		return err
	}
	if len(answer) == 0 {
		return plugins.Errorf(types.ErrInternal, "the galaxy agent answered ADD with nothing; its log says more")
	}
	if _, err := r.Stdout.Write(answer); err != nil {
		return plugins.Errorf(types.ErrIOFailure, "print the result: %w", err)
	}
	return nil
}

func (r Relay) silent(ctx context.Context, args *skel.CmdArgs, patience, limit time.Duration) error {
	_, err := r.ask(ctx, args, patience, limit)
	return err
}

func (r Relay) status(ctx context.Context, args *skel.CmdArgs) error {
	_, err := r.ask(ctx, args, 0, askTime)
	var known *types.Error
	if errors.As(err, &known) && known.Code == types.ErrTryAgainLater {
		return types.NewError(types.ErrPluginNotAvailable, known.Msg, known.Details)
	}
	return err
}

func (r Relay) ask(ctx context.Context, args *skel.CmdArgs, patience, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client := wire.Client{Socket: socketOf(args.StdinData)}
	req := wire.Request{Env: wire.Environ(r.Environ), Config: args.StdinData}
	for end := time.Now().Add(patience); ; {
		answer, err := client.Ask(ctx, req)
		if !errors.Is(err, wire.ErrUnreachable) {
			return answer, err
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return nil, unreachable(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func unreachable(err error) error {
	return types.NewError(types.ErrTryAgainLater, err.Error(), fmt.Sprintf("is the galaxy DaemonSet's pod of this node running? "+
		"its log says why not (kubectl -n kube-system get pods -o wide, crictl ps -a); it serves %s", wire.Socket))
}

// socketOf is where the agent listens: the configuration may name another socket than the usual one.
func socketOf(conf []byte) string {
	var c struct {
		Socket string `json:"socket"`
	}
	_ = json.Unmarshal(conf, &c) // what is wrong with it is for the agent to say
	return c.Socket
}
