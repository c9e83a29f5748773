// Package bridge is galaxy-bridge: pods on a bridge of their node. It takes the common fields of the reference plugin
// "bridge" and means the same by them; a field that it does not know is an error, as a network without its VLAN or its
// filter would be another network than the one that was asked for.
//
// It does not masquerade: with ipMasq the agent's rules, or those of the host, have to.
package bridge

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"

	"galaxy/plugins"
)

// Name is the type in a network configuration.
const Name = "galaxy-bridge"

// Plugin is galaxy-bridge.
func Plugin() plugins.Plugin {
	return plugins.Plugin{
		Name:  Name,
		About: "galaxy-bridge joins a pod to a bridge of its host",
		Add:   add, Del: del, Check: check, GC: collect, Status: status, Repair: repair,
	}
}

type config struct {
	types.PluginConf
	// Bridge is its name; it is made if it is not there.
	Bridge string `json:"bridge"`
	// IsGateway gives the bridge the gateway's address. IsDefaultGateway also gives the pods a default route to it.
	IsGateway        bool `json:"isGateway"`
	IsDefaultGateway bool `json:"isDefaultGateway"`
	// ForceAddress replaces another address of the bridge in the same network.
	ForceAddress bool `json:"forceAddress"`
	IPMasq       bool `json:"ipMasq"`
	MTU          int  `json:"mtu"`
	// HairpinMode lets a pod reach itself by way of the bridge, as behind a Service.
	HairpinMode bool `json:"hairpinMode"`
}

// known are all fields that have a meaning here, or none for any plugin of this type.
var known = []string{
	"cniVersion", "name", "type", "capabilities", "ipam", "dns", "args", "runtimeConfig", "prevResult", "disableCheck",
	"disableGC",
	"bridge", "isGateway", "isDefaultGateway", "forceAddress", "ipMasq", "mtu", "hairpinMode",
}

func parse(args *skel.CmdArgs) (config, error) {
	c := config{Bridge: "cni0"}
	if err := plugins.DecodeConfig(args, &c); err != nil {
		return c, err
	}
	if c.Bridge == "" {
		c.Bridge = "cni0"
	}
	c.IsGateway = c.IsGateway || c.IsDefaultGateway
	return c, nil
}

func (c config) validate(args *skel.CmdArgs) error {
	var fields map[string]json.RawMessage
	if err := plugins.DecodeConfig(args, &fields); err != nil {
		return err
	}
	var unknown []string
	for name, value := range fields {
		if !slices.Contains(known, name) && !strings.HasPrefix(name, "cni.dev/") &&
			!slices.Contains([]string{"false", "0", `""`, "null", "[]", "{}"}, string(value)) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return plugins.Errorf(types.ErrUnsupportedField,
			"network %q: galaxy-bridge does not know %s: remove it, or use the reference plugin by type bridge",
			c.Name, strings.Join(unknown, ", "))
	}
	if c.MTU < 0 || c.MTU > 65535 {
		return plugins.Errorf(types.ErrInvalidNetworkConfig, "network %q: mtu is %d, want one from 68 to 65535, or 0",
			c.Name, c.MTU)
	}
	if args.ContainerID == "" {
		return plugins.Errorf(types.ErrInvalidEnvironmentVariables, "CNI_CONTAINERID is empty")
	}
	for _, name := range []string{c.Bridge, args.IfName} {
		if err := utils.ValidateInterfaceName(name); err != nil {
			return err
		}
	}
	return nil
}
