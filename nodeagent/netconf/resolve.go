package netconf

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// Pod is what of a pod decides which networks it gets.
type Pod struct {
	Namespace string
	Networks  string // the annotation k8s.v1.cni.cncf.io/networks
	FloatIP   bool   // one of its containers requests a floating address
	// Masquerade is the annotation k8s.v1.cni.galaxy.io/masquerade: true, false, or empty for what the network says.
	Masquerade string
}

// Wanted is one interface of a pod.
type Wanted struct {
	Network *Network
	IfName  string
	MAC     string   // "" for any
	IPs     []string // wanted addresses, with their lengths
	// Exempt is an interface whose addresses are not masqueraded.
	Exempt bool
}

// Resolve gives the networks of a pod in order. The first has the interface that the runtime asks for, whatever the
// annotation says; the others the names that they ask for, or eth<i>. Names that neither the configuration nor lookup
// knows are an error.
func (c *Config) Resolve(pod Pod, ifName string, lookup func(name string) (*Network, error)) ([]Wanted, error) {
	selections, err := c.selections(pod)
	if err != nil {
		return nil, err
	}
	wanted := make([]Wanted, len(selections))
	exempt, err := pod.exempt()
	if err != nil {
		return nil, err
	}
	taken := []string{ifName}
	for i, s := range selections {
		network, err := c.find(s.Name, lookup)
		if err != nil {
			return nil, err
		}
		if network.Namespaces != nil && !slices.Contains(network.Namespaces, pod.Namespace) {
			return nil, fmt.Errorf("network %q is not for pods of namespace %q: its \"namespaces\" are %v", s.Name,
				pod.Namespace, network.Namespaces)
		}
		wanted[i] = Wanted{Network: network, IfName: s.IfName, MAC: s.MAC.String(), Exempt: network.Exempt}
		if exempt != nil {
			wanted[i].Exempt = *exempt
		}
		for _, ip := range s.IPs {
			wanted[i].IPs = append(wanted[i].IPs, ip.String())
		}
		if i == 0 {
			wanted[i].IfName = ifName
		} else if s.IfName != "" {
			if slices.Contains(taken, s.IfName) {
				return nil, fmt.Errorf("two networks of the pod want the interface %q", s.IfName)
			}
			taken = append(taken, s.IfName)
		}
	}
	for i := range wanted {
		if wanted[i].IfName == "" {
			wanted[i].IfName = freeName(i, taken)
			taken = append(taken, wanted[i].IfName)
		}
	}
	return wanted, nil
}

// exempt is what the pod itself says about masquerading; nil if nothing.
func (p Pod) exempt() (*bool, error) {
	switch p.Masquerade {
	case "":
		return nil, nil
	case "true", "false":
		exempt := p.Masquerade == "false"
		return &exempt, nil
	}
	return nil, fmt.Errorf("annotation k8s.v1.cni.galaxy.io/masquerade: %q: want true or false", p.Masquerade)
}

func freeName(i int, taken []string) string {
	for ; ; i++ {
		if name := "eth" + strconv.Itoa(i); !slices.Contains(taken, name) {
			return name
		}
	}
}

func (c *Config) selections(pod Pod) ([]Selection, error) {
	if pod.Networks != "" {
		return ParseSelections(pod.Networks)
	}
	names := c.DefaultNetworks
	if pod.FloatIP && c.ENIIPNetwork != "" {
		names = []string{c.ENIIPNetwork}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("the pod asks for no network, and the configuration has no DefaultNetworks")
	}
	all := make([]Selection, len(names))
	for i, name := range names {
		all[i] = Selection{Name: name}
	}
	return all, nil
}

func (c *Config) find(name string, lookup func(string) (*Network, error)) (*Network, error) {
	if n := c.Network(name); n != nil {
		return n, nil
	}
	n, err := lookup(name)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return nil, fmt.Errorf("there is no network %q; the configuration file has %v, and no file in the network "+
			"configuration directory is called so", name, c.names())
	}
	if err := n.asksUs(); err != nil {
		return nil, err
	}
	return n, nil
}

// asking is the type of the plugin by which the runtime asks the agent.
const asking = "galaxy-sdn"

// asksUs is the error of a network that has the agent ask itself, about a container that it is busy with: the runtime's
// own configuration is such a file in the same directory.
func (n *Network) asksUs() error {
	if slices.ContainsFunc(n.Plugins, func(p Plugin) bool { return p.Type == asking }) {
		return fmt.Errorf("network %q: its plugin %s is how the runtime asks this agent, which would ask itself; "+
			"name one of the networks behind it", n.Name, asking)
	}
	return nil
}

func (c *Config) names() []string {
	names := make([]string, len(c.Networks))
	for i, n := range c.Networks {
		names[i] = n.Name
	}
	return names
}

// With is the configuration that a plugin is called with: a copy that names its network, and with what belongs to this
// call.
func (p Plugin) With(network, cniVersion string, extra map[string]any) ([]byte, error) {
	conf := make(map[string]json.RawMessage, len(p.Conf)+len(extra)+2)
	for key, value := range p.Conf {
		conf[key] = value
	}
	set := func(key string, value any) error {
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("configuration of network %q: %q: %w", network, key, err)
		}
		conf[key] = text
		return nil
	}
	if err := set("name", network); err != nil {
		return nil, err
	}
	if err := set("cniVersion", cniVersion); err != nil {
		return nil, err
	}
	for key, value := range extra {
		if err := set(key, value); err != nil {
			return nil, err
		}
	}
	return json.Marshal(conf)
}
