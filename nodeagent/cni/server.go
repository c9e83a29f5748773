package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"
	"go.uber.org/zap"

	"galaxy/durable"
	"galaxy/nodeagent/netconf"
	"galaxy/plugins"
	"galaxy/wire"
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
	// Get finds a pod. With a uid it is that pod and no other of its name. An error says what is wrong and how to
	// repair it.
	Get(ctx context.Context, namespace, name, uid string) (Pod, error)
	// Show writes to the cluster which networks a pod has; it is called after an ADD with several of them.
	Show(ctx context.Context, namespace, name, uid string, networks []NetworkStatus) error
}

// NetworkStatus is an entry of the annotation k8s.v1.cni.cncf.io/network-status (Network Plumbing Working Group,
// de-facto standard, section 5).
type NetworkStatus struct {
	Name      string    `json:"name"`
	Interface string    `json:"interface,omitempty"`
	IPs       []string  `json:"ips,omitempty"`
	MAC       string    `json:"mac,omitempty"`
	Default   bool      `json:"default,omitempty"`
	DNS       types.DNS `json:"dns"`
}

// Config is what a Server needs. All fields but Notes, Lookup, Lost, Held, Release, ExemptChanged, Settle, Defaults and
// Ready are required.
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
	// Lost undoes what an interface of a container has of which no state is left, or with no interface what all of its
	// interfaces have: by the log, and by what stands at the links of the host.
	Lost func(ctx context.Context, containerID, ifName string) error
	// Held are the containers that have addresses, and Release gives back those of one that is gone; for Garbage.
	Held    func() []string
	Release func(ctx context.Context, containerID string) error
	// ExemptChanged is called when Exempt has another response, before an ADD or DEL is answered.
	ExemptChanged func(ctx context.Context) error
	// Settle is called before an ADD or DEL is answered, so that what it has written down is everywhere where it should
	// be.
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
	guard guard
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
	if c.Lost == nil {
		c.Lost = func(context.Context, string, string) error { return nil }
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
	s := &Server{
		Config: c, state: states{c.Dir}, guard: guard{log: c.Log},
		run: &runner{builtin: c.Builtin, host: c.Host, timeout: PluginTimeout, defaults: c.Defaults},
	}
	s.later.failed = func(containerID string, err error) {
		c.Log.Warn("something of a container is left; the kernel removes it with the container's namespace",
			zap.String("container", containerID), zap.Error(err))
	}
	s.run.later = func(containerID string) func(work func() error) {
		put := s.later.of(containerID)
		return func(work func() error) { put(func() error { return s.guard.do(containerID, work) }) }
	}
	if err := s.state.tidy(); err != nil {
		c.Log.Warn("temporary files left behind", zap.Error(err))
	}
	s.readExempt()
	return s
}

// Wait waits for work that was put off.
func (s *Server) Wait() { s.later.all.Wait() }

// Handle does what a request asks for. The response is the result in the version of the request, or empty.
func (s *Server) Handle(ctx context.Context, request wire.Request) ([]byte, error) {
	args, pod, err := request.Args()
	if err != nil {
		return nil, err
	}
	args.Path = s.path(args.Path)
	if len(args.ContainerID) > wire.MaxContainerID && request.Command() == "DEL" {
		return nil, nil // no ADD has ever taken it
	}
	switch request.Command() {
	case "ADD":
		result, err := s.add(ctx, *args, pod)
		s.Settle(ctx)
		return result, err
	case "DEL":
		err := s.postponed(request, s.del(ctx, *args))
		s.Settle(ctx)
		return nil, err
	case "CHECK":
		return nil, s.check(ctx, *args)
	case "GC":
		return nil, s.gc(ctx, *args)
	case "STATUS":
		return nil, s.status(ctx, *args)
	default:
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables,
			fmt.Sprintf("CNI_COMMAND %q is not for the agent", request.Command()), "")
	}
}

// path is where plugins are looked for: first where the runtime says.
func (s *Server) path(ofRuntime string) string {
	if len(s.Path) == 0 {
		return ofRuntime
	}
	return strings.Join(append(slices.DeleteFunc(strings.Split(ofRuntime, ":"), func(p string) bool { return p == "" }),
		s.Path...), ":")
}

// add makes all networks of a pod. The result is that of the first, which is the pod's own.
func (s *Server) add(ctx context.Context, args skel.CmdArgs, of wire.PodArgs) ([]byte, error) {
	wanted, err := create.DecodeVersion(args.StdinData)
	if err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "the configuration of the network is not JSON",
			err.Error())
	}
	if !slices.Contains(version.All.SupportedVersions(), wanted) {
		return nil, types.NewError(types.ErrIncompatibleCNIVersion, fmt.Sprintf("cniVersion %q is not known", wanted),
			"known are "+strings.Join(version.All.SupportedVersions(), ", "))
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
	unlock, err := s.locks.lock(ctx, args.ContainerID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.undoNoted(ctx, args.ContainerID); err != nil {
		return nil, err
	}
	attachments, result, err := s.attach(ctx, args, wanted, pod, all)
	if err != nil {
		return nil, err
	}
	if len(attachments) > 1 {
		if err := s.Pods.Show(ctx, of.Namespace, of.Name, pod.UID, statuses(attachments)); err != nil {
			s.Log.Warn("pod network status not written", zap.String("pod", of.Namespace+"/"+of.Name),
				zap.Error(err))
		}
	}
	return result, nil
}

// known loads the state of a container. A damaged file is set aside: what can be read of it is kept, and the rest of
// what it was about is found by other means.
func (s *Server) known(containerID string) (all []Attachment, known bool, err error) {
	all, known, err = s.state.load(containerID)
	var damaged *DamagedError
	if !errors.As(err, &damaged) {
		return all, known, err
	}
	aside, failed := durable.SetAside(damaged.File)
	if failed != nil {
		return nil, false, errors.Join(err, failed)
	}
	s.Log.Error("the state of a container is damaged and is set aside; what it does not say is undone by the log and "+
		"the notes at the links",
		zap.String("container", containerID), zap.String("file", aside), zap.Int("networks", len(all)),
		zap.Error(damaged.Why))
	if len(all) == 0 {
		return nil, false, nil
	}
	return all, true, s.state.save(containerID, all)
}

// del undoes all that was made for a container. A container that nobody knows, and one whose namespace is gone, are no
// errors.
func (s *Server) del(ctx context.Context, args skel.CmdArgs) error {
	unlock, err := s.locks.lock(ctx, args.ContainerID)
	if err != nil {
		return err
	}
	defer unlock()
	return s.undo(ctx, args)
}

// undo is del for whoever has the container's lock.
func (s *Server) undo(ctx context.Context, args skel.CmdArgs) error {
	all, known, err := s.known(args.ContainerID)
	if err != nil {
		return err
	}
	covered, others := callOf(args).split(all)
	if known {
		if err := s.delAll(ctx, args, others, covered); err != nil {
			return err
		}
	}
	// What the state does not name may be there all the same, but for what belongs to another call.
	if len(covered) == 0 && !holds(others, args.IfName) {
		if err := s.Lost(ctx, args.ContainerID, args.IfName); err != nil {
			return err
		}
	}
	return s.dropNote(args)
}

// holds reports whether an interface is among some attachments; "" is any.
func holds(all []Attachment, ifName string) bool {
	return slices.ContainsFunc(all, func(a Attachment) bool { return ifName == "" || a.IfName == ifName })
}

// delAll undoes networks, the last first. Those that fail stay in the state, with those of other calls, for the next
// DEL.
func (s *Server) delAll(ctx context.Context, args skel.CmdArgs, others, all []Attachment) error {
	var failed []error
	var left []Attachment
	for _, a := range slices.Backward(all) {
		if err := s.delOne(ctx, a, args); err != nil {
			failed = append(failed, err)
			a.Ending = true
			left = append([]Attachment{a}, left...)
		}
	}
	left = slices.Concat(others, left)
	if err := s.keep(args.ContainerID, left); err != nil || len(failed) > 0 {
		return errors.Join(append(failed, err)...)
	}
	if s.exempt.set(args.ContainerID, exemptOf(left)) {
		if err := s.ExemptChanged(ctx); err != nil { // it is compared again before long
			s.Log.Warn("an address that is free again is still not masqueraded",
				zap.String("container", args.ContainerID), zap.Error(err))
		}
	}
	return nil
}

// keep saves what is left of a container.
func (s *Server) keep(containerID string, left []Attachment) error {
	if len(left) == 0 {
		return s.forget(containerID)
	}
	s.later.wait(containerID) // the state would not name what is still being deleted
	return s.state.save(containerID, left)
}

// delOne undoes a network. A configuration that a plugin cannot read must not keep a pod: what the ADD was refused for
// never ran, and what has run before the configuration was spoilt is undone by the log and the notes at the links.
func (s *Server) delOne(ctx context.Context, a Attachment, args skel.CmdArgs) error {
	err := s.guard.do(args.ContainerID, func() error { return s.run.del(ctx, a, args) })
	if err == nil || !plugins.Unreadable(err) || a.Result != nil && !s.ours(a) {
		return err
	}
	s.Log.Warn("a network cannot be undone by its configuration: it is undone by the log and the notes at the links",
		zap.String("container", args.ContainerID),
		zap.String("interface", a.IfName), zap.Error(err))
	return s.Lost(ctx, args.ContainerID, a.IfName)
}

// ours reports whether all plugins of a network run in this process.
func (s *Server) ours(a Attachment) bool {
	return !slices.ContainsFunc(a.Network.Plugins, func(p netconf.Plugin) bool {
		_, builtin := s.Builtin[p.Type]
		return !builtin
	})
}

// postponed answers a DEL that cannot be done now, as the node's addresses are not known yet or the disk is full: a
// note keeps it for later, and the runtime need not wait.
func (s *Server) postponed(request wire.Request, err error) error {
	var known *types.Error
	later := errors.As(err, &known) && known.Code == types.ErrTryAgainLater || errors.Is(err, syscall.ENOSPC)
	if !later || s.Notes.Dir == "" {
		return err
	}
	if failed := s.Notes.Leave(request); failed != nil {
		return errors.Join(err, failed)
	}
	s.Log.Warn("DEL postponed; noted for later",
		zap.String("container", request.Env["CNI_CONTAINERID"]), zap.Error(err))
	return nil
}

func (s *Server) check(ctx context.Context, args skel.CmdArgs) error {
	unlock, err := s.locks.lock(ctx, args.ContainerID)
	if err != nil {
		return err
	}
	defer unlock()
	all, _, err := s.state.load(args.ContainerID)
	if err != nil {
		return err
	}
	covered, _ := callOf(args).split(all)
	if len(covered) == 0 {
		return types.NewError(types.ErrUnknownContainer,
			fmt.Sprintf("no network was made for %s of container %s", args.IfName, args.ContainerID), "")
	}
	for _, a := range covered {
		if err := s.guard.do(args.ContainerID, func() error { return s.run.check(ctx, a, args) }); err != nil {
			return err
		}
	}
	return nil
}
