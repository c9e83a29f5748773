// Package flannel is galaxy-flannel: it turns what the file subnet.env says of this node into the configuration of
// another plugin, the delegate, and has that do the work. A delegate that is one of ours runs in this process.
//
// The configuration of the delegate is kept in a file per container, so that a DEL gives it the same, whatever the
// node's subnet is by then.
package flannel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/utils"
	"go.uber.org/zap"

	"galaxy/plugins"
)

// Name is the type in a network configuration.
const Name = "galaxy-flannel"

// Where things are if the configuration does not say.
const (
	subnetFile = "/run/flannel/subnet.env"
	dataDir    = "/var/lib/cni/flannel"
)

type config struct {
	CNIVersion string         `json:"cniVersion"`
	Name       string         `json:"name"`
	SubnetFile string         `json:"subnetFile"`
	DataDir    string         `json:"dataDir"`
	Delegate   map[string]any `json:"delegate"`
	IPAM       map[string]any `json:"ipam"`

	PrevResult json.RawMessage `json:"prevResult"`
}

// flannel runs delegates.
type flannel struct {
	ours map[string]plugins.Plugin
}

// Plugin is galaxy-flannel with the delegates that it runs in this process; others are run as binaries.
func Plugin(delegates ...plugins.Plugin) plugins.Plugin {
	f := flannel{ours: map[string]plugins.Plugin{}}
	for _, d := range delegates {
		f.ours[d.Name] = d
	}
	return plugins.Plugin{
		Name:  Name,
		About: "galaxy-flannel has another plugin join a pod to the subnet that flannel gave to this node",
		Add:   f.add, Del: f.del, Check: f.check, GC: f.collect, Status: f.status, Repair: f.repair,
	}
}

func parse(args *skel.CmdArgs) (config, error) {
	c := config{SubnetFile: subnetFile, DataDir: dataDir}
	err := plugins.DecodeConfig(args, &c)
	return c, err
}

func (f flannel) add(ctx context.Context, host plugins.Host, args *skel.CmdArgs) (*types100.Result, error) {
	conf, err := parse(args)
	if err != nil {
		return nil, err
	}
	if err := utils.ValidateContainerID(args.ContainerID); err != nil {
		return nil, err // it becomes the name of a file
	}
	node, err := readSubnet(conf.SubnetFile)
	if err != nil {
		return nil, err
	}
	filled, err := node.fill(conf)
	if err != nil {
		return nil, err
	}
	delegate, err := json.Marshal(filled)
	if err != nil {
		return nil, plugins.Errorf(types.ErrInternal, "encode the delegate of network %q: %w", conf.Name, err)
	}
	state := open(conf.DataDir, args.ContainerID)
	// Before the work: one that dies in the midst of it must leave a note of what to clean up. An interface that is
	// kept already is being used; the delegate refuses it, and its note must outlive that.
	before, err := state.load(args.IfName)
	if err != nil && !errors.Is(err, errDamaged) {
		return nil, err
	}
	if before == nil {
		if err := state.save(args.IfName, delegate); err != nil {
			return nil, err
		}
	}
	result, err := f.runAdd(ctx, host, with(args, delegate))
	if err != nil && before == nil {
		err = plugins.Undone(err, f.undo(context.WithoutCancel(ctx), host, with(args, delegate), state, err))
	}
	return result, err
}

// undo takes back what is left of an ADD that has failed, and the note of it. A delegate that fails leaves nothing; one
// whose result cannot be used has done its work.
func (f flannel) undo(ctx context.Context, host plugins.Host, args *skel.CmdArgs, state state, reason error) error {
	var known *types.Error
	if errors.As(reason, &known) && known.Code == plugins.ErrResult {
		if err := f.run(ctx, host, "DEL", args); err != nil {
			return err // the note stays, for the next DEL
		}
	}
	return state.drop(args.IfName)
}

func (f flannel) runAdd(ctx context.Context, host plugins.Host, args *skel.CmdArgs) (*types100.Result, error) {
	kind, err := typeOf(args.StdinData)
	if err != nil {
		return nil, err
	}
	if d, ok := f.ours[kind]; ok {
		return d.Add(ctx, host, args)
	}
	result, err := plugins.ExecAdd(ctx, host, kind, args)
	if err != nil {
		return nil, plugins.In("delegate "+kind, types.ErrInternal, err)
	}
	return result, nil
}

func (f flannel) del(ctx context.Context, host plugins.Host, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	if err := utils.ValidateContainerID(args.ContainerID); err != nil {
		return err
	}
	state := open(conf.DataDir, args.ContainerID)
	delegate, err := state.load(args.IfName)
	if errors.Is(err, errDamaged) {
		return f.delDamaged(ctx, host, conf, args, state, err)
	}
	if err != nil || delegate == nil {
		return err // nothing was added, or all is deleted
	}
	if err := f.run(ctx, host, "DEL", with(args, delegate)); err != nil {
		return err // the note stays, for the next DEL
	}
	return state.drop(args.IfName)
}

// delDamaged deletes what a damaged note was about: the delegate gets what it would get for an ADD now. Then the note
// is set aside, also where nothing can be given any more.
func (f flannel) delDamaged(ctx context.Context, host plugins.Host, conf config, args *skel.CmdArgs, state state,
	damage error) error {
	node, unknown := readSubnet(conf.SubnetFile)
	filled, err := node.fill(conf)
	if err == nil {
		var delegate []byte
		if delegate, err = json.Marshal(filled); err == nil {
			err = f.run(ctx, host, "DEL", with(args, delegate))
		}
	}
	if err != nil && unknown == nil && !plugins.Unreadable(err) {
		return err // the note stays, for the next DEL
	}
	if host.Log != nil {
		host.Log.Error("the note of a delegate is damaged and is set aside; it was asked to delete what it would "+
			"make now",
			zap.String("container", args.ContainerID), zap.String("interface", args.IfName), zap.Error(damage),
			zap.NamedError("delegate", err))
	}
	return state.drop(args.IfName)
}

func (f flannel) check(ctx context.Context, host plugins.Host, args *skel.CmdArgs) error {
	return f.again(ctx, host, "CHECK", args)
}

func (f flannel) repair(ctx context.Context, host plugins.Host, args *skel.CmdArgs) error {
	return f.again(ctx, host, "REPAIR", args)
}

// again gives the delegate what it got for ADD, with the result of that.
func (f flannel) again(ctx context.Context, host plugins.Host, command string, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	if err := utils.ValidateContainerID(args.ContainerID); err != nil {
		return err
	}
	delegate, err := open(conf.DataDir, args.ContainerID).load(args.IfName)
	if errors.Is(err, errDamaged) {
		return plugins.Errorf(plugins.ErrChanged, "%s of container %s: %w", args.IfName, args.ContainerID, err)
	}
	if err != nil {
		return err
	}
	if delegate == nil {
		return plugins.Errorf(plugins.ErrChanged, "the note of %s of container %s in %s is lost", args.IfName,
			args.ContainerID, conf.DataDir)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(delegate, &fields); err != nil {
		return plugins.Errorf(types.ErrDecodingFailure, "read the note of the delegate: %w", err)
	}
	if conf.PrevResult != nil {
		fields["prevResult"] = conf.PrevResult
	}
	if delegate, err = json.Marshal(fields); err != nil {
		return plugins.Errorf(types.ErrInternal, "encode the configuration of the delegate: %w", err)
	}
	return f.run(ctx, host, command, with(args, delegate))
}

// collect deletes what is kept for this network and belongs to no valid attachment.
func (f flannel) collect(ctx context.Context, host plugins.Host, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	spared, err := plugins.ValidAttachments(args.StdinData)
	if err != nil {
		return err
	}
	kept, err := list(conf.DataDir, conf.Name)
	if err != nil {
		return err
	}
	valid := map[types.GCAttachment]bool{}
	for _, a := range spared {
		valid[a] = true
	}
	var failed []error
	for _, k := range kept {
		if valid[k.attachment] {
			continue
		}
		gone := with(args, k.delegate)
		gone.ContainerID, gone.IfName, gone.Netns = k.attachment.ContainerID, k.attachment.IfName, ""
		err := f.run(ctx, host, "DEL", gone)
		if err == nil {
			err = open(conf.DataDir, k.attachment.ContainerID).drop(k.attachment.IfName)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("delete %s of container %s: %w", gone.IfName, gone.ContainerID, err))
		}
	}
	return errors.Join(failed...)
}

func (f flannel) status(_ context.Context, _ plugins.Host, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	if _, err := readSubnet(conf.SubnetFile); err != nil {
		return plugins.Errorf(types.ErrPluginNotAvailable, "%w", err)
	}
	return nil
}

// run runs an operation without a result.
func (f flannel) run(ctx context.Context, host plugins.Host, command string, args *skel.CmdArgs) error {
	kind, err := typeOf(args.StdinData)
	if err != nil {
		return err
	}
	d, ours := f.ours[kind]
	switch {
	case command == "REPAIR":
		if !ours || d.Repair == nil {
			return nil
		}
		return d.Repair(ctx, host, args)
	case !ours:
		return plugins.Exec(ctx, host, command, kind, args)
	case command == "CHECK":
		return d.Check(ctx, host, args)
	}
	return d.Del(ctx, host, args)
}

// with is the same question with another configuration.
func with(args *skel.CmdArgs, conf []byte) *skel.CmdArgs {
	other := *args
	other.StdinData = conf
	return &other
}

// typeOf is the plugin that a delegate's configuration is for.
func typeOf(conf []byte) (string, error) {
	var c struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(conf, &c); err != nil {
		return "", plugins.Errorf(types.ErrDecodingFailure, "read the delegate's configuration: %w", err)
	}
	if c.Type == "" || strings.ContainsAny(c.Type, "/\\\x00") {
		return "", plugins.Errorf(types.ErrInvalidNetworkConfig, "the delegate's type is %q, want the name of a plugin",
			c.Type)
	}
	return c.Type, nil
}
