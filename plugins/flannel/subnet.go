package flannel

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"galaxy/plugins"
)

// subnet is what flannel, or the agent in its place, says of this node.
type subnet struct {
	networks []netip.Prefix // of the whole cluster; either family
	own      []netip.Prefix // of this node; the first of each family counts
	mtu      int
	masq     bool // the node masquerades already
}

// readSubnet reads the file. One that is not there yet is a reason to try again.
func readSubnet(path string) (subnet, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return subnet{}, plugins.Errorf(types.ErrTryAgainLater,
			"%s is not there yet: it is written when this node has its subnet; look at the log of flannel or of the "+
				"galaxy agent", path)
	}
	if err != nil {
		return subnet{}, plugins.Errorf(types.ErrIOFailure, "read the subnet of this node: %w", err)
	}
	s, err := parseSubnet(string(text))
	if err != nil {
		return subnet{}, plugins.Errorf(types.ErrInvalidNetworkConfig, "%s: %w", path, err)
	}
	return s, nil
}

func parseSubnet(text string) (subnet, error) {
	var s subnet
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		if err := s.set(strings.TrimSpace(name), strings.Trim(strings.TrimSpace(value), `"'`)); err != nil {
			return subnet{}, fmt.Errorf("%s=%s: %w", name, value, err)
		}
	}
	if len(s.own) == 0 {
		return subnet{}, errors.New("want FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET")
	}
	// the node's subnet is of a network that is taken out of the configuration; its pods are there still
	if len(s.networks) == 0 {
		s.networks = s.own
	}
	return s, nil
}

func (s *subnet) set(name, value string) (err error) {
	switch name {
	case "FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK":
		s.networks, err = appendPrefixes(s.networks, value)
	case "FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET":
		s.own, err = appendPrefixes(s.own, value)
	case "FLANNEL_MTU":
		if s.mtu, err = strconv.Atoi(value); err == nil && (s.mtu < 68 || s.mtu > 65535) {
			err = errors.New("want an MTU from 68 to 65535")
		}
	case "FLANNEL_IPMASQ":
		s.masq, err = strconv.ParseBool(value)
	}
	return err
}

// appendPrefixes reads networks apart by commas; a subnet is written as the address of its gateway.
func appendPrefixes(all []netip.Prefix, text string) ([]netip.Prefix, error) {
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		p, err := netip.ParsePrefix(one)
		if err != nil {
			return nil, err
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// fill makes the delegate's configuration complete. What the delegate says for itself stays.
func (s subnet) fill(conf config) (map[string]any, error) {
	delegate := map[string]any{}
	for name, value := range conf.Delegate {
		delegate[name] = value
	}
	for _, name := range []string{"name", "cniVersion"} {
		if _, ok := delegate[name]; ok {
			return nil, plugins.Errorf(types.ErrInvalidNetworkConfig,
				"network %q: the delegate may not have a %s: it gets that of the network", conf.Name, name)
		}
	}
	preset := func(name string, value any) {
		if _, ok := delegate[name]; !ok {
			delegate[name] = value
		}
	}
	delegate["name"] = conf.Name
	if conf.CNIVersion != "" {
		delegate["cniVersion"] = conf.CNIVersion
	}
	preset("type", "bridge")
	kind, ok := delegate["type"].(string)
	if !ok || kind == "" {
		return nil, plugins.Errorf(types.ErrInvalidNetworkConfig,
			"network %q: the delegate's type is %v, want the name of a plugin", conf.Name, delegate["type"])
	}
	preset("ipMasq", !s.masq)
	if s.mtu != 0 {
		preset("mtu", s.mtu)
	}
	if kind == "bridge" || kind == "galaxy-bridge" {
		preset("isGateway", true)
	}
	ipam, err := s.fillIPAM(conf, delegate["ipam"])
	delegate["ipam"] = ipam
	return delegate, err
}

// fillIPAM is the address management of the delegate: this node's subnet, and routes to the whole cluster.
func (s subnet) fillIPAM(conf config, own any) (map[string]any, error) {
	ipam := map[string]any{}
	for name, value := range conf.IPAM {
		ipam[name] = value
	}
	if own != nil {
		fields, ok := own.(map[string]any)
		if !ok {
			return nil, plugins.Errorf(types.ErrInvalidNetworkConfig, "network %q: the delegate's ipam is no object",
				conf.Name)
		}
		for name, value := range fields {
			ipam[name] = value
		}
	}
	if _, ok := ipam["type"]; !ok {
		ipam["type"] = "host-local"
	}
	var ranges []any
	seen := map[bool]bool{}
	for _, p := range s.own {
		if !seen[p.Addr().Is6()] {
			seen[p.Addr().Is6()] = true
			ranges = append(ranges, []any{map[string]any{"subnet": p.String()}})
		}
	}
	if len(ranges) == 1 {
		ipam["subnet"] = s.own[0].String()
	} else {
		ipam["ranges"] = ranges
	}
	routes, _ := ipam["routes"].([]any) // none is the usual case
	for _, p := range s.networks {
		routes = append(routes, map[string]any{"dst": p.String()})
	}
	ipam["routes"] = routes
	return ipam, nil
}
