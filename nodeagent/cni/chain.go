package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"galaxy/nodeagent/netconf"
	"galaxy/plugins"
)

// PluginTimeout bounds one call of a plugin (contract section 1.3).
const PluginTimeout = 220 * time.Second

// Versions of the configurations that plugins are called with, where neither the configuration nor its list names one:
// ours know the newest, and every plugin that is still in use knows the other.
const (
	versionOfOurs   = "1.1.0"
	versionOfOthers = "0.4.0"
)

// runner runs the plugins of networks: ours in this process, others as binaries.
type runner struct {
	builtin map[string]plugins.Plugin
	host    plugins.Host
	timeout time.Duration
	// later gives what takes a container's work that need not be waited for; nil where there is none.
	later func(containerID string) func(work func() error)
	// defaults are keys for the configuration of one of our plugins that does not have them; nil for none.
	defaults func(plugin string) map[string]any
}

// add runs the plugins of a network in order, each with the result of the one before. When one fails, the caller undoes
// all of them: also the one that failed may have left something.
func (r *runner) add(ctx context.Context, w Attachment, args skel.CmdArgs) (*types100.Result, error) {
	var result *types100.Result
	for _, p := range w.Network.Plugins {
		next, err := r.addOne(ctx, w, p, args, result)
		if err != nil {
			return nil, plugins.In(fmt.Sprintf("network %s, plugin %s", w.Network.Name, p.Type), types.ErrInternal, err)
		}
		result = next
	}
	return result, nil
}

func (r *runner) addOne(ctx context.Context, w Attachment, p netconf.Plugin, args skel.CmdArgs,
	prev *types100.Result) (*types100.Result, error) {
	args, err := r.prepare(w, p, args, prev)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	ours, builtin := r.builtin[p.Type]
	if !builtin {
		return plugins.ExecAdd(ctx, r.host, p.Type, &args)
	}
	result, err := ours.Add(ctx, r.host, &args)
	if err != nil {
		return nil, err
	}
	if err := plugins.CheckResult(result); err != nil {
		return nil, plugins.Errorf(plugins.ErrResult, "it has returned a result that cannot be used: %w", err)
	}
	return result, nil
}

// del runs DEL of all plugins of a network, the last first. All are tried, whatever fails.
func (r *runner) del(ctx context.Context, w Attachment, args skel.CmdArgs) error {
	var failed []error
	for _, p := range slices.Backward(w.Network.Plugins) {
		if err := r.quietly(ctx, "DEL", w, p, args, w.Result); err != nil {
			failed = append(failed, fmt.Errorf("network %s, plugin %s: %w", w.Network.Name, p.Type, err))
		}
	}
	return errors.Join(failed...)
}

// check runs CHECK of all plugins of a network with the result of its ADD.
func (r *runner) check(ctx context.Context, w Attachment, args skel.CmdArgs) error {
	for _, p := range w.Network.Plugins {
		if err := r.quietly(ctx, "CHECK", w, p, args, w.Result); err != nil {
			return plugins.In(fmt.Sprintf("network %s, plugin %s", w.Network.Name, p.Type), types.ErrInternal, err)
		}
	}
	return nil
}

// repair has our plugins of a network make again what the host has lost of it. All are tried.
func (r *runner) repair(ctx context.Context, w Attachment, args skel.CmdArgs) error {
	var failed []error
	for _, p := range w.Network.Plugins {
		if _, ours := r.builtin[p.Type]; !ours {
			continue
		}
		if err := r.quietly(ctx, "REPAIR", w, p, args, w.Result); err != nil {
			failed = append(failed, fmt.Errorf("network %s, plugin %s: %w", w.Network.Name, p.Type, err))
		}
	}
	return errors.Join(failed...)
}

// quietly runs a command that has no result.
func (r *runner) quietly(ctx context.Context, command string, w Attachment, p netconf.Plugin, args skel.CmdArgs,
	prev *types100.Result) error {
	prepared, err := r.prepare(w, p, args, prev)
	if err != nil && command == "DEL" {
		// a result without a form in the plugin's version must not keep a container
		prepared, err = r.prepare(w, p, args, nil)
	}
	if err != nil {
		return err
	}
	args = prepared
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	ours, builtin := r.builtin[p.Type]
	if !builtin {
		return plugins.Exec(ctx, r.host, command, p.Type, &args)
	}
	host := r.host
	if command == "DEL" && r.later != nil {
		host.Later = r.later(args.ContainerID)
	}
	run := map[string]func(context.Context, plugins.Host, *skel.CmdArgs) error{"DEL": ours.Del, "CHECK": ours.Check,
		"GC": ours.GC, "STATUS": ours.Status, "REPAIR": ours.Repair}[command]
	if run == nil {
		return nil // it has nothing to say to that
	}
	return run(ctx, host, &args)
}

// prepare makes the arguments of one call: its own copy of the configuration, with the result before it in its version.
func (r *runner) prepare(w Attachment, p netconf.Plugin, args skel.CmdArgs,
	prev *types100.Result) (skel.CmdArgs, error) {
	_, builtin := r.builtin[p.Type]
	version, err := versionOf(w.Network, p, builtin)
	if err != nil {
		return args, err
	}
	extra := map[string]any{}
	if builtin && r.defaults != nil {
		for key, value := range r.defaults(p.Type) {
			if _, given := p.Conf[key]; !given {
				extra[key] = value
			}
		}
	}
	if prev != nil {
		converted, err := prev.GetAsVersion(version)
		if err != nil {
			return args, fmt.Errorf("the result of the plugin before it in the form of version %s: %w", version, err)
		}
		extra["prevResult"] = converted
	}
	args.IfName, args.Args = w.IfName, joinArgs(args.Args, w.Args)
	args.StdinData, err = p.With(w.Network.Name, version, extra)
	return args, err
}

// versionOf is the version of the specification that a plugin is spoken to in.
func versionOf(n netconf.Network, p netconf.Plugin, builtin bool) (string, error) {
	if raw, ok := p.Conf["cniVersion"]; ok {
		var version string
		if err := json.Unmarshal(raw, &version); err != nil {
			return "", fmt.Errorf(`"cniVersion" must be a string, and is %s`, raw)
		}
		if version != "" {
			return version, nil
		}
	}
	switch {
	case n.CNIVersion != "":
		return n.CNIVersion, nil
	case builtin:
		return versionOfOurs, nil
	default:
		return versionOfOthers, nil
	}
}

// joinArgs adds to CNI_ARGS.
func joinArgs(runtime, own string) string {
	switch {
	case own == "":
		return runtime
	case runtime == "":
		return own
	default:
		return runtime + ";" + own
	}
}
