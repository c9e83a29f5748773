package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"go.uber.org/zap"

	"galaxy/nodeagent/netconf"
	"galaxy/plugins"
)

// attach makes the networks one after the other, and none if one fails. What is about to be made is saved before, so
// that it can be undone whatever happens. The result, in a version of the specification, is that of the first.
func (s *Server) attach(
	ctx context.Context, args skel.CmdArgs, version string, pod Pod, wanted []netconf.Wanted,
) (made []Attachment, result []byte, err error) {
	if err := s.finish(ctx, args.ContainerID); err != nil {
		return nil, nil, err
	}
	call := callOf(args)
	others, err := s.undoEarlier(ctx, args, call)
	if err != nil {
		return nil, nil, err
	}
	attachments := make([]Attachment, len(wanted))
	for i, w := range wanted {
		attachments[i] = Attachment{Of: call, Network: *w.Network, IfName: w.IfName,
			Args: joinArgs(selectionArgs(w), pod.Args), Exempt: w.Exempt}
	}
	if err := s.state.save(args.ContainerID, slices.Concat(others, attachments)); err != nil {
		return nil, nil, err
	}
	made, err = s.makeAll(ctx, args, attachments)
	if err == nil {
		result, err = encode(made[0].Result, version)
	}
	if err == nil {
		err = s.keepMade(ctx, args.ContainerID, slices.Concat(others, made))
	}
	if err != nil {
		s.undoFailed(ctx, args, others, made)
		return nil, nil, err
	}
	return made, result, nil
}

// makeAll makes networks, and returns those that must be undone if it or its caller fails.
func (s *Server) makeAll(ctx context.Context, args skel.CmdArgs,
	attachments []Attachment) (made []Attachment, err error) {
	for i := range attachments {
		a := &attachments[i]
		err := s.guard.do(args.ContainerID, func() (err error) {
			a.Result, err = s.run.add(ctx, *a, args)
			return err
		})
		if err != nil {
			return attachments[:i+1], err
		}
	}
	return attachments, nil
}

// keepMade saves what a container has, and puts in force what is exempt of it.
func (s *Server) keepMade(ctx context.Context, containerID string, all []Attachment) error {
	if err := s.state.save(containerID, all); err != nil {
		return err
	}
	if !s.exempt.set(containerID, exemptOf(all)) {
		return nil
	}
	if err := s.ExemptChanged(ctx); err != nil {
		return fmt.Errorf("keep the addresses of container %s from being masqueraded: %w", containerID, err)
	}
	return nil
}

// undoFailed undoes what a failed ADD has made.
func (s *Server) undoFailed(ctx context.Context, args skel.CmdArgs, others, made []Attachment) {
	if err := s.delAll(context.WithoutCancel(ctx), args, others, made); err != nil {
		s.Log.Warn("a failed ADD has left something, which DEL will undo", zap.String("container", args.ContainerID),
			zap.Error(err))
	}
}

// undoEarlier undoes what the same call has left that was cut off half-way. It returns what other calls have made for
// the container.
func (s *Server) undoEarlier(ctx context.Context, args skel.CmdArgs, call Call) (others []Attachment, err error) {
	all, known, err := s.known(args.ContainerID)
	if err != nil || !known {
		return nil, err
	}
	earlier, others := Call{IfName: call.IfName}.split(all)
	for _, a := range earlier {
		if a.Result == nil {
			continue
		}
		return nil, plugins.Errorf(plugins.ErrExists,
			"container %s has its interface %s already; DEL comes before another ADD", args.ContainerID, call.IfName)
	}
	return others, s.delAll(ctx, args, others, earlier)
}

// selectionArgs are the parts of a pod's network selection that a plugin gets through CNI_ARGS.
func selectionArgs(w netconf.Wanted) string {
	text := ""
	if w.MAC != "" {
		text = joinArgs(text, "MAC="+w.MAC)
	}
	if len(w.IPs) > 0 {
		text = joinArgs(text, "IP="+strings.Join(w.IPs, ","))
	}
	return text
}

// encode writes a result in the version that the runtime asks for.
func encode(result *types100.Result, version string) ([]byte, error) {
	converted, err := result.GetAsVersion(version)
	if err != nil {
		return nil, types.NewError(types.ErrIncompatibleCNIVersion,
			fmt.Sprintf("the result has no form in version %s", version), err.Error())
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
