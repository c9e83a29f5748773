// Package plugins has what all CNI plugins of galaxy share. A plugin is one value of type Plugin: the stand-alone
// binary and the agent, which runs it in its own process, call the same functions.
package plugins

import (
	"context"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"go.uber.org/zap"
)

// Plugin is one CNI plugin. Its functions may be called at the same time for different containers. They mean what the
// operations of the CNI specification 1.1 mean: an Add that fails leaves nothing behind, Del succeeds when there is
// nothing left to delete, and Check, GC and Status change nothing that works. Errors are *types.Error where the
// specification has a code.
type Plugin struct {
	// Name is the type in a network configuration, and the name of the binary.
	Name string
	// About is a sentence for people.
	About string

	Add    func(ctx context.Context, host Host, args *skel.CmdArgs) (*types100.Result, error)
	Del    func(ctx context.Context, host Host, args *skel.CmdArgs) error
	Check  func(ctx context.Context, host Host, args *skel.CmdArgs) error
	GC     func(ctx context.Context, host Host, args *skel.CmdArgs) error // nil if there is nothing to collect
	Status func(ctx context.Context, host Host, args *skel.CmdArgs) error // nil if it can always take an Add
	// Repair is no operation of the specification. It makes again what the host, not the container, has lost of an
	// interface: args are those of Check. What is another's is left alone, and an error. It is nil if there is nothing
	// on the host.
	Repair func(ctx context.Context, host Host, args *skel.CmdArgs) error
}

// Host is what a plugin may use of the process in which it runs.
type Host struct {
	// IPAM is where addresses come from for a configuration whose ipam.type has no binary; in the agent it is the log.
	// With nil, or for another type than Type says, the binary of that name is run.
	IPAM IPAM
	// Exec runs other plugins' binaries; nil for the operating system.
	Exec invoke.Exec
	// Later takes work that a DEL need not wait for: the kernel takes its time to delete a link, and nobody can see the
	// difference. Work for one container is done before its next ADD. With nil it is done at once.
	Later func(work func() error)
	Log   *zap.Logger
}

// IPAM gives and takes addresses in the process of the plugin, as an IPAM plugin does by its binary.
type IPAM interface {
	// Type is the ipam.type of the configurations that are meant for it.
	Type() string
	// Add takes addresses for the container and interface of args. To ask again gives the same.
	Add(ctx context.Context, args *skel.CmdArgs) (*types100.Result, error)
	// Del gives back what Add took; nothing held is no error.
	Del(ctx context.Context, args *skel.CmdArgs) error
	// Check says whether the addresses in the prevResult of args are held for it.
	Check(ctx context.Context, args *skel.CmdArgs) error
}

// IPAMType is the ipam.type of the agent's own IPAM, whose addresses are events of the node's stream in the log.
const IPAMType = "galaxy-ipam"
