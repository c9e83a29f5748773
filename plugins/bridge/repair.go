package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"galaxy/plugins"
	"galaxy/plugins/pair"
)

// repair sets the host's end up again, and puts it back into the bridge if it is in none.
func repair(_ context.Context, host plugins.Host, args *skel.CmdArgs) error {
	conf, err := parse(args)
	if err != nil {
		return err
	}
	result, err := plugins.PrevResult(&conf.PluginConf)
	if err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink of the host: %w", err)
	}
	defer h.Close()
	link, changed, err := pair.RepairLink(h, args.ContainerID, args.IfName, result)
	if err != nil || link == nil {
		return err
	}
	bridge, err := h.LinkByName(conf.Bridge)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return fmt.Errorf("the bridge %s of container %s is gone; the next pod of the network makes it again",
			conf.Bridge, args.ContainerID)
	}
	if err != nil {
		return fmt.Errorf("find the bridge %s: %w", conf.Bridge, err)
	}
	if link.Attrs().MasterIndex == 0 {
		if err := h.LinkSetMasterByIndex(link, bridge.Attrs().Index); err != nil {
			return fmt.Errorf("put %s back into the bridge %s: %w", link.Attrs().Name, conf.Bridge, err)
		}
		changed = true
	}
	if changed && host.Log != nil {
		host.Log.Info("made again what the host had lost of a container's interface",
			zap.String("container", args.ContainerID), zap.String("interface", args.IfName),
			zap.String("link", link.Attrs().Name), zap.String("bridge", conf.Bridge))
	}
	return nil
}
