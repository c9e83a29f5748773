package netconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
)

// Selection is one network that a pod asks for in its annotation k8s.v1.cni.cncf.io/networks.
type Selection struct {
	Name      string
	Namespace string // of a NetworkAttachmentDefinition; networks here have none, so it is only kept
	IfName    string // "" for the next free one
	MAC       net.HardwareAddr
	IPs       []netip.Prefix
}

// MaxNetworks is how many networks a pod may ask for: each costs its node interfaces, addresses and time.
const MaxNetworks = 16

// maxIfName is the longest name of an interface (IFNAMSIZ without the zero at its end, linux/if.h).
const maxIfName = 15

var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// ParseSelections reads both forms of the annotation (contract section 2.1, and the de-facto standard of the Network
// Plumbing Working Group, section 4.1): a list such as "ns/net@eth1, other", or a JSON array of objects.
func ParseSelections(annotation string) ([]Selection, error) {
	parse := parseList
	if strings.ContainsAny(annotation, `[{"`) {
		parse = parseJSON
	}
	all, err := parse(annotation)
	if err != nil {
		return nil, fmt.Errorf("annotation k8s.v1.cni.cncf.io/networks: %w", err)
	}
	if len(all) > MaxNetworks {
		return nil, fmt.Errorf("annotation k8s.v1.cni.cncf.io/networks: %d networks; a pod may have %d", len(all),
			MaxNetworks)
	}
	taken := map[string]bool{}
	for i, s := range all {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("annotation k8s.v1.cni.cncf.io/networks: network %d: %w", i+1, err)
		}
		if s.IfName != "" && taken[s.IfName] {
			return nil, fmt.Errorf("annotation k8s.v1.cni.cncf.io/networks: two networks want the interface %q",
				s.IfName)
		}
		taken[s.IfName] = true
	}
	return all, nil
}

func parseList(text string) ([]Selection, error) {
	var all []Selection
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			return nil, errors.New("there is nothing between two commas; want names such as galaxy-flannel@eth1,other")
		}
		name, ifName, _ := strings.Cut(item, "@")
		namespace, rest, ok := strings.Cut(name, "/")
		if !ok {
			namespace, rest = "", name
		}
		if strings.ContainsAny(rest, "/@") || strings.ContainsAny(ifName, "/@") {
			return nil, fmt.Errorf("%q: want [namespace/]name[@interface]", item)
		}
		if ifName != "" && !label.MatchString(ifName) {
			return nil, fmt.Errorf("%q: %q is no name for an interface", item, ifName)
		}
		all = append(all, Selection{Name: rest, Namespace: namespace, IfName: ifName})
	}
	return all, nil
}

func parseJSON(text string) ([]Selection, error) {
	var raw []struct {
		Name      string   `json:"name"`
		Namespace string   `json:"namespace"`
		Interface string   `json:"interface"`
		MAC       string   `json:"mac"`
		IPs       []string `json:"ips"`
	}
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, fmt.Errorf(`%w; want an array such as [{"name":"galaxy-flannel","interface":"eth1"}]`, err)
	}
	if len(raw) == 0 {
		return nil, errors.New("the array names no network: leave the annotation out to get the default ones")
	}
	var all []Selection
	for i, r := range raw {
		s := Selection{Name: r.Name, Namespace: r.Namespace, IfName: r.Interface}
		if r.MAC != "" {
			mac, err := net.ParseMAC(r.MAC)
			if err != nil || len(mac) != 6 {
				return nil, fmt.Errorf("network %d: mac %q: want six bytes such as 02:42:0a:00:00:02", i+1, r.MAC)
			}
			s.MAC = mac
		}
		for _, text := range r.IPs {
			ip, err := parseIP(text)
			if err != nil {
				return nil, fmt.Errorf("network %d: ip %q: want an address such as 10.0.0.5/24", i+1, text)
			}
			s.IPs = append(s.IPs, ip)
		}
		all = append(all, s)
	}
	return all, nil
}

// parseIP reads an address with or without its length.
func parseIP(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// ifName is a part of what the kernel takes for the name of a link: nothing that a plugin's environment, a path or a
// terminal stumbles over.
var ifName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (s Selection) check() error {
	switch {
	case !label.MatchString(s.Name):
		return fmt.Errorf("name %q: want lower-case letters, digits and -", s.Name)
	case s.Namespace != "" && !label.MatchString(s.Namespace):
		return fmt.Errorf("namespace %q: want lower-case letters, digits and -", s.Namespace)
	case s.IfName != "" && (len(s.IfName) > maxIfName || !ifName.MatchString(s.IfName)):
		return fmt.Errorf("interface %q: want a name of at most %d letters, digits, '.', '-' and '_'", s.IfName,
			maxIfName)
	}
	return nil
}
