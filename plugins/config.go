package plugins

import (
	"encoding/json"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// DecodeConfig reads the configuration of a plugin.
func DecodeConfig(args *skel.CmdArgs, into any) error {
	if err := json.Unmarshal(args.StdinData, into); err != nil {
		return Errorf(types.ErrDecodingFailure, "read the network configuration: %w", err)
	}
	return nil
}

// PrevResult is the result of the ADD that a CHECK is about; it has passed CheckResult.
func PrevResult(conf *types.PluginConf) (*types100.Result, error) {
	if err := version.ParsePrevResult(conf); err != nil {
		return nil, Errorf(types.ErrDecodingFailure, "read prevResult: %w", err)
	}
	if conf.PrevResult == nil {
		return nil, Errorf(types.ErrInvalidNetworkConfig,
			"the configuration has no prevResult: CHECK needs what ADD returned")
	}
	result, err := NewestResult(conf.PrevResult)
	if err != nil {
		return nil, Errorf(types.ErrDecodingFailure, "prevResult cannot be used: %w", err)
	}
	return result, nil
}

// ConfVersion is the version of the CNI specification that a configuration wants.
func ConfVersion(conf *types.PluginConf) string {
	if conf.CNIVersion == "" {
		return "0.1.0"
	}
	return conf.CNIVersion
}

// Prefix is an address of a result as a value; it is not valid if the result's is not.
func Prefix(ip net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(ip.IP) // an invalid address makes an invalid prefix
	ones, bits := ip.Mask.Size()
	if bits == 128 && addr.Is4In6() && ones >= 96 {
		ones -= 96
	}
	return netip.PrefixFrom(addr.Unmap(), ones)
}

// IPNet is the form that results and netlink want.
func IPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
