package plugins

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// AddIPAM takes addresses for an interface. A caller that fails later, also one that fails here, gives them back with
// DelIPAM.
func AddIPAM(ctx context.Context, host Host, ipam string, args *skel.CmdArgs) (*types100.Result, error) {
	result, err := addIPAM(ctx, host, ipam, args)
	if err != nil {
		return nil, In(fmt.Sprintf("take an address from IPAM %q", ipam), types.ErrInternal, err)
	}
	if len(result.IPs) == 0 {
		return nil, Errorf(types.ErrInternal, "IPAM %q returned no address", ipam)
	}
	return result, nil
}

func addIPAM(ctx context.Context, host Host, ipam string, args *skel.CmdArgs) (*types100.Result, error) {
	if !host.serves(ipam) {
		return ExecAdd(ctx, host, ipam, args)
	}
	result, err := host.IPAM.Add(ctx, args)
	if err != nil {
		return nil, err
	}
	return result, CheckResult(result)
}

// DelIPAM gives addresses back; a configuration without IPAM holds none.
func DelIPAM(ctx context.Context, host Host, ipam string, args *skel.CmdArgs) error {
	switch {
	case ipam == "":
		return nil
	case host.serves(ipam):
		return host.IPAM.Del(ctx, args)
	}
	return Exec(ctx, host, "DEL", ipam, args)
}

// CheckIPAM says whether the addresses in the prevResult of args are held.
func CheckIPAM(ctx context.Context, host Host, ipam string, args *skel.CmdArgs) error {
	switch {
	case ipam == "":
		return nil
	case host.serves(ipam):
		return host.IPAM.Check(ctx, args)
	}
	return Exec(ctx, host, "CHECK", ipam, args)
}

// GCIPAM has the binary of an IPAM collect garbage; addresses in the log have a collector of their own.
func GCIPAM(ctx context.Context, host Host, ipam string, args *skel.CmdArgs) error {
	if ipam == "" || host.serves(ipam) {
		return nil
	}
	return Exec(ctx, host, "GC", ipam, args)
}

// StatusIPAM says whether an ADD would find the binary of an IPAM ready.
func StatusIPAM(ctx context.Context, host Host, ipam string, args *skel.CmdArgs) error {
	if ipam == "" || host.serves(ipam) {
		return nil
	}
	return Exec(ctx, host, "STATUS", ipam, args)
}

// serves reports whether addresses of this type come from this process.
func (h Host) serves(ipam string) bool { return h.IPAM != nil && ipam != "" && h.IPAM.Type() == ipam }

// ExecAdd runs the binary of a plugin for an ADD; its result has passed CheckResult. Unlike the functions of libcni for
// delegation it takes nothing from the environment of this process but what has no CNI_ name: the agent works for many
// containers at once.
func ExecAdd(ctx context.Context, host Host, plugin string, args *skel.CmdArgs) (*types100.Result, error) {
	path, exec, err := find(host, plugin, args)
	if err != nil {
		return nil, err
	}
	ran := &watched{Exec: exec}
	result, err := invoke.ExecPluginWithResult(ctx, path, args.StdinData, environment("ADD", args), ran)
	if err != nil && !ran.well {
		return nil, ended(ctx, plugin, err)
	}
	var newest *types100.Result
	if err == nil {
		newest, err = NewestResult(result)
	}
	if err != nil {
		return nil, Errorf(ErrResult, "plugin %s has returned a result that cannot be used: %w", plugin, err)
	}
	return newest, nil
}

// watched remembers whether a plugin has ended well.
type watched struct {
	invoke.Exec
	well bool
}

// ExecPlugin implements invoke.Exec.
func (w *watched) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	out, err := w.Exec.ExecPlugin(ctx, path, stdin, environ)
	w.well = err == nil
	return out, err
}

// Exec runs the binary of a plugin for an operation that has no result.
func Exec(ctx context.Context, host Host, command, plugin string, args *skel.CmdArgs) error {
	path, exec, err := find(host, plugin, args)
	if err != nil {
		return err
	}
	if err := invoke.ExecPluginWithoutResult(ctx, path, args.StdinData, environment(command, args), exec); err != nil {
		return ended(ctx, plugin, err)
	}
	return nil
}

func environment(command string, args *skel.CmdArgs) *invoke.Args {
	return &invoke.Args{
		Command: command, ContainerID: args.ContainerID, NetNS: args.Netns, PluginArgsStr: args.Args,
		IfName: args.IfName, Path: args.Path,
	}
}

func find(host Host, plugin string, args *skel.CmdArgs) (string, invoke.Exec, error) {
	exec := host.Exec
	if exec == nil {
		exec = &programs{}
	}
	path, err := exec.FindInPath(plugin, filepath.SplitList(args.Path))
	if err != nil {
		return "", nil, Errorf(types.ErrInvalidNetworkConfig,
			"there is no plugin %q: put its binary into one of the folders of CNI_PATH (%s), or correct the type: %w",
			plugin, args.Path, err)
	}
	return path, exec, nil
}

// ended distinguishes a plugin that was stopped, as its time was up, from one that failed.
func ended(ctx context.Context, plugin string, err error) error {
	if ctx.Err() != nil {
		return Errorf(types.ErrTryAgainLater, "plugin %s was stopped: %w", plugin, errors.Join(context.Cause(ctx), err))
	}
	return err
}
