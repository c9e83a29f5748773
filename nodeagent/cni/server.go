package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"
	"go.uber.org/zap"

	"galaxy/nodeagent/netconf"
	"galaxy/nodeagent/wire"
	"galaxy/plugins"
)

// Pod is what is known of a pod that gets networks.
type Pod struct {
	netconf.Pod
	UID string
	// Args are added to CNI_ARGS of every network, as k=v;k=v.
	Args string
}

// Pods is where pods are known.
type Pods interface {
	// Get finds a pod. With a uid it is that pod and no other of its name. An error says what is wrong and how to mend it.
	Get(ctx context.Context, namespace, name, uid string) (Pod, error)
	// Show tells the cluster which networks a pod has; it is called after an ADD with several of them.
	Show(ctx context.Context, namespace, name, uid string, networks []NetworkStatus) error
}

// NetworkStatus is an entry of the annotation k8s.v1.cni.cncf.io/network-status (Network Plumbing Working Group, de-facto
// standard, section 5).
type NetworkStatus struct {
	Name      string    `json:"name"`
	Interface string    `json:"interface,omitempty"`
	IPs       []string  `json:"ips,omitempty"`
	MAC       string    `json:"mac,omitempty"`
	Default   bool      `json:"default,omitempty"`
	DNS       types.DNS `json:"dns"`
}

// Config is what a Server needs. All fields but Notes, Lookup, Collect, Held, Release, ExemptChanged, Settle, Defaults and Ready are required.
type Config struct {
	Builtin map[string]plugins.Plugin
	Host    plugins.Host
	Dir     string // of the containers' states
	// Notes are DELs that galaxy-sdn could not bring.
	Notes wire.Notes
	Pods  Pods
	// Networks is the configuration in force.
	Networks func() *netconf.Config
	// Lookup finds a network that the configuration does not have.
	Lookup func(name string) (*netconf.Network, error)
	// Path are folders with plugins' binaries, looked at after those of CNI_PATH.
	Path []string
	// Collect gives back what is held for containers that are not among the attachments of the runtime, a list that was asked for
	// at a moment.
	Collect func(ctx context.Context, valid []types.GCAttachment, asked time.Time) error
	// Held are the containers that have addresses, and Release gives back those of one that is gone; for Garbage.
	Held    func() []string
	Release func(ctx context.Context, containerID string) error
	// ExemptChanged is called when Exempt has another answer, before an ADD or DEL is answered.
	ExemptChanged func(ctx context.Context) error
	// Settle is called before an ADD or DEL is answered, so that what it has written down is everywhere where it should be.
	Settle func(ctx context.Context)
	// Defaults are keys for the configuration of one of our plugins that does not have them.
	Defaults func(plugin string) map[string]any
	// Ready says why the node cannot take an ADD; nil if it can.
	Ready func() error
	Log   *zap.Logger
}

// Server answers the questions of galaxy-sdn.
type Server struct {
	Config
	run   *runner
	state states
	locks keyLocks
	later laters
	// exempt are addresses that are not masqueraded.
	exempt exempt
}

// NewServer makes a Server.
func NewServer(c Config) *Server {
	if c.Lookup == nil {
		c.Lookup = func(string) (*netconf.Network, error) { return nil, nil }
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	if c.Settle == nil {
		c.Settle = func(context.Context) {}
	}
	if c.Collect == nil {
		c.Collect = func(context.Context, []types.GCAttachment, time.Time) error { return nil }
	}
	if c.Held == nil {
		c.Held = func() []string { return nil }
	}
	if c.Release == nil {
		c.Release = func(context.Context, string) error { return nil }
	}
	if c.ExemptChanged == nil {
		c.ExemptChanged = func(context.Context) error { return nil }
	}
	s := &Server{Config: c, run: &runner{builtin: c.Builtin, host: c.Host, timeout: PluginTimeout, defaults: c.Defaults}, state: states{c.Dir}}
	s.later.failed = func(containerID string, err error) {
		c.Log.Warn("something of a container is left; the kernel removes it with the container's namespace", zap.String("container", containerID), zap.Error(err))
	}
	s.run.later = s.later.of
	if err := s.state.tidy(); err != nil {
		c.Log.Warn("files that were half written are left", zap.Error(err))
	}
	s.readExempt()
	return s
}

// Wait waits for work that was put off.
func (s *Server) Wait() { s.later.all.Wait() }

// Answer does what a request asks for. The answer is the result in the version of the request, or empty.
func (s *Server) Answer(ctx context.Context, request wire.Request) ([]byte, error) {
	args, pod, err := request.Args()
	if err != nil {
		return nil, err
	}
	args.Path = s.path(args.Path)
	switch request.Command() {
	case "ADD":
		result, err := s.add(ctx, *args, pod)
		s.Settle(ctx)
		return result, err
	case "DEL":
		err := s.del(ctx, *args)
		s.Settle(ctx)
		return nil, err
	case "CHECK":
		return nil, s.check(ctx, *args)
	case "GC":
		return nil, s.gc(ctx, *args)
	case "STATUS":
		return nil, s.status(ctx, *args)
	default:
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_COMMAND %q is not for the agent", request.Command()), "")
	}
}

// path is where plugins are looked for: first where the runtime says.
func (s *Server) path(ofRuntime string) string {
	if len(s.Path) == 0 {
		return ofRuntime
	}
	return strings.Join(append(slices.DeleteFunc(strings.Split(ofRuntime, ":"), func(p string) bool { return p == "" }), s.Path...), ":")
}

// add makes all networks of a pod. The result is that of the first, which is the pod's own.
func (s *Server) add(ctx context.Context, args skel.CmdArgs, of wire.PodArgs) ([]byte, error) {
	wanted, err := create.DecodeVersion(args.StdinData)
	if err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "the configuration of the network is not JSON", err.Error())
	}
	if !slices.Contains(version.All.SupportedVersions(), wanted) {
		return nil, types.NewError(types.ErrIncompatibleCNIVersion, fmt.Sprintf("cniVersion %q is not known", wanted), "known are "+strings.Join(version.All.SupportedVersions(), ", "))
	}
	if err := s.Ready(); err != nil {
		return nil, types.NewError(types.ErrTryAgainLater, err.Error(), "")
	}
	pod, err := s.Pods.Get(ctx, of.Namespace, of.Name, of.UID)
	if err != nil {
		return nil, err
	}
	all, err := s.Networks().Resolve(pod.Pod, args.IfName, s.Lookup)
	if err != nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, err.Error(), "")
	}
	defer s.locks.lock(args.ContainerID)()
	if err := s.undoNoted(ctx, args.ContainerID); err != nil {
		return nil, err
	}
	attachments, err := s.attach(ctx, args, pod, all)
	if err != nil {
		return nil, err
	}
	if len(attachments) > 1 {
		if err := s.Pods.Show(ctx, of.Namespace, of.Name, pod.UID, statuses(attachments)); err != nil {
			s.Log.Warn("the networks of a pod are not shown on it", zap.String("pod", of.Namespace+"/"+of.Name), zap.Error(err))
		}
	}
	return encode(attachments[0].Result, wanted)
}

// attach makes the networks one after the other, and none if one fails. What is about to be made is saved before, so that it can
// be undone whatever happens.
func (s *Server) attach(ctx context.Context, args skel.CmdArgs, pod Pod, wanted []netconf.Wanted) ([]Attachment, error) {
	s.later.wait(args.ContainerID)
	if err := s.undoEarlier(ctx, args); err != nil {
		return nil, err
	}
	attachments := make([]Attachment, len(wanted))
	for i, w := range wanted {
		attachments[i] = Attachment{Network: *w.Network, IfName: w.IfName, Args: joinArgs(wishes(w), pod.Args), Exempt: w.Exempt}
	}
	if err := s.state.save(args.ContainerID, attachments); err != nil {
		return nil, err
	}
	for i := range attachments {
		result, err := s.run.add(ctx, attachments[i], args)
		if err != nil {
			s.undoFailed(ctx, args, attachments[:i+1])
			return nil, err
		}
		attachments[i].Result = result
	}
	if err := s.state.save(args.ContainerID, attachments); err != nil {
		return nil, err
	}
	if s.exempt.set(args.ContainerID, exemptOf(attachments)) {
		if err := s.ExemptChanged(ctx); err != nil {
			s.undoFailed(ctx, args, attachments)
			return nil, fmt.Errorf("keep the addresses of container %s from being masqueraded: %w", args.ContainerID, err)
		}
	}
	return attachments, nil
}

// undoFailed undoes what a failed ADD has made.
func (s *Server) undoFailed(ctx context.Context, args skel.CmdArgs, made []Attachment) {
	if err := s.delAll(context.WithoutCancel(ctx), args, made); err != nil {
		s.Log.Warn("a failed ADD has left something, which DEL will undo", zap.String("container", args.ContainerID), zap.Error(err))
	}
}

// undoEarlier undoes what an ADD of the same container has left that was cut off half-way.
func (s *Server) undoEarlier(ctx context.Context, args skel.CmdArgs) error {
	earlier, known, err := s.state.load(args.ContainerID)
	if err != nil || !known {
		return err
	}
	for _, a := range earlier {
		if a.Result == nil {
			continue
		}
		return types.NewError(plugins.ErrExists, fmt.Sprintf("container %s has its networks already; DEL comes before another ADD", args.ContainerID), "")
	}
	return s.delAll(ctx, args, earlier)
}

// wishes are the parts of a pod's network selection that a plugin is told through CNI_ARGS.
func wishes(w netconf.Wanted) string {
	text := ""
	if w.MAC != "" {
		text = joinArgs(text, "MAC="+w.MAC)
	}
	if len(w.IPs) > 0 {
		text = joinArgs(text, "IP="+strings.Join(w.IPs, ","))
	}
	return text
}

// del undoes all that was made for a container. A container that nobody knows, and one whose namespace is gone, are no errors.
func (s *Server) del(ctx context.Context, args skel.CmdArgs) error {
	defer s.locks.lock(args.ContainerID)()
	return s.undo(ctx, args)
}

// undo is del for whoever has the container's lock.
func (s *Server) undo(ctx context.Context, args skel.CmdArgs) error {
	all, known, err := s.state.load(args.ContainerID)
	if err != nil {
		return err
	}
	if known {
		if err := s.delAll(ctx, args, all); err != nil {
			return err
		}
	}
	if s.Notes.Dir == "" {
		return nil
	}
	return s.Notes.Drop(args.ContainerID)
}

// delAll undoes networks, the last first. Those that fail stay in the state, for the next DEL.
func (s *Server) delAll(ctx context.Context, args skel.CmdArgs, all []Attachment) error {
	var failed []error
	var left []Attachment
	for _, a := range slices.Backward(all) {
		if err := s.run.del(ctx, a, args); err != nil {
			failed = append(failed, err)
			left = append([]Attachment{a}, left...)
		}
	}
	if len(left) > 0 {
		return errors.Join(append(failed, s.state.save(args.ContainerID, left))...)
	}
	if err := s.state.remove(args.ContainerID); err != nil {
		return err
	}
	if s.exempt.set(args.ContainerID, nil) {
		if err := s.ExemptChanged(ctx); err != nil { // it is compared again before long
			s.Log.Warn("an address that is free again is still not masqueraded", zap.String("container", args.ContainerID), zap.Error(err))
		}
	}
	return nil
}

func (s *Server) check(ctx context.Context, args skel.CmdArgs) error {
	defer s.locks.lock(args.ContainerID)()
	all, known, err := s.state.load(args.ContainerID)
	if err != nil {
		return err
	}
	if !known {
		return types.NewError(types.ErrUnknownContainer, fmt.Sprintf("no networks were made for container %s", args.ContainerID), "")
	}
	for _, a := range all {
		if err := s.run.check(ctx, a, args); err != nil {
			return err
		}
	}
	return nil
}

// encode writes a result in the version that the runtime asks for.
func encode(result *types100.Result, version string) ([]byte, error) {
	converted, err := result.GetAsVersion(version)
	if err != nil {
		return nil, types.NewError(types.ErrIncompatibleCNIVersion, fmt.Sprintf("the result has no form in version %s", version), err.Error())
	}
	text, err := json.Marshal(converted)
	if err != nil {
		return nil, fmt.Errorf("encode the result: %w", err)
	}
	return text, nil
}

func statuses(all []Attachment) []NetworkStatus {
	shown := make([]NetworkStatus, len(all))
	for i, a := range all {
		shown[i] = NetworkStatus{Name: a.Network.Name, Interface: a.IfName, Default: i == 0, DNS: a.Result.DNS}
		for _, ip := range a.Result.IPs {
			shown[i].IPs = append(shown[i].IPs, ip.Address.IP.String())
		}
		for _, link := range a.Result.Interfaces {
			if link.Name == a.IfName {
				shown[i].MAC = link.Mac
			}
		}
	}
	return shown
}
