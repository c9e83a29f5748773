package netconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"galaxy/plugins"
)

// Config is the agent's own configuration file (contract section 1.4): which networks there are, and which a pod gets
// that asks for none.
type Config struct {
	Networks        []*Network
	DefaultNetworks []string
	// ENIIPNetwork is for pods that ask for a floating address; "" for none.
	ENIIPNetwork string
}

// Network is what makes one interface of a pod: one plugin, or a chain of them.
type Network struct {
	Name       string
	CNIVersion string // of a list; "" for a single configuration, which has its own
	Plugins    []Plugin
	// Exempt is a network with the key "masquerade": false, which is ours and no plugin's: what its pods send to
	// outside addresses keeps the pod's own.
	Exempt bool
	// Namespaces are those whose pods may have the network, by the key "namespaces"; nil for all.
	Namespaces []string
}

// Plugin is one configuration of a network. It is never changed: each call gets a copy.
type Plugin struct {
	Type string
	Conf map[string]json.RawMessage
}

// DefaultConfig is what an agent runs with that has no configuration file: every pod gets one routed interface with an
// address of its node's subnet.
func DefaultConfig() *Config {
	config, err := ParseConfig([]byte(`{
	  "NetworkConf": [{"name": "galaxy", "type": "galaxy-veth", "ipam": {"type": "` + plugins.IPAMType + `"}}],
	  "DefaultNetworks": ["galaxy"]
	}`))
	if err != nil {
		panic(err) // the text above is wrong, whatever the input
	}
	return config
}

// ParseConfig reads the agent's configuration, and reports all that is wrong with it.
func ParseConfig(text []byte) (*Config, error) {
	var raw struct {
		NetworkConf     []json.RawMessage
		DefaultNetworks []string
		ENIIPNetwork    string
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("it is not the JSON of a configuration: %w", err)
	}
	config := &Config{DefaultNetworks: raw.DefaultNetworks, ENIIPNetwork: raw.ENIIPNetwork}
	var errs []error
	for i, conf := range raw.NetworkConf {
		n, err := ParseNetwork(conf)
		if err == nil && config.Network(n.Name) != nil {
			err = fmt.Errorf("there are two networks with the name %q", n.Name)
		}
		if err == nil {
			err = n.asksUs()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("NetworkConf %d: %w", i+1, err))
			continue
		}
		config.Networks = append(config.Networks, n)
	}
	return config, errors.Join(errs...)
}

// Network is the network of a name, or nil.
func (c *Config) Network(name string) *Network {
	if i := slices.IndexFunc(c.Networks, func(n *Network) bool { return n.Name == name }); i >= 0 {
		return c.Networks[i]
	}
	return nil
}

// ParseNetwork reads one network: a CNI network configuration, or a configuration list with "plugins". A single
// configuration without a name has its type for one, as in the contract. The keys "kubeconfig", "masquerade" and
// "namespaces" are left out of what plugins see.
func ParseNetwork(text []byte) (*Network, error) {
	conf := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &conf); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	delete(conf, "kubeconfig")
	name, err := stringIn(conf, "name")
	if err != nil {
		return nil, err
	}
	exempt, err := takeExempt(conf)
	if err != nil {
		return nil, err
	}
	namespaces, err := takeNamespaces(conf)
	if err != nil {
		return nil, err
	}
	list, isList := conf["plugins"]
	if !isList {
		p, err := parsePlugin(conf)
		if err != nil {
			return nil, err
		}
		if name == "" {
			name = p.Type
		}
		return &Network{Name: name, Plugins: []Plugin{p}, Exempt: exempt, Namespaces: namespaces}, nil
	}
	if name == "" {
		return nil, errors.New(`a list needs a "name"`)
	}
	n := &Network{Name: name, Exempt: exempt, Namespaces: namespaces}
	if n.CNIVersion, err = stringIn(conf, "cniVersion"); err != nil {
		return nil, err
	}
	var plugins []map[string]json.RawMessage
	if err := json.Unmarshal(list, &plugins); err != nil || len(plugins) == 0 {
		return nil, fmt.Errorf(`network %q: "plugins" must be a list with at least one object`, name)
	}
	for i, conf := range plugins {
		p, err := parsePlugin(conf)
		if err != nil {
			return nil, fmt.Errorf("network %q: plugin %d: %w", name, i+1, err)
		}
		n.Plugins = append(n.Plugins, p)
	}
	return n, nil
}

// takeExempt takes the key "masquerade" out of a configuration.
func takeExempt(conf map[string]json.RawMessage) (bool, error) {
	raw, given := conf["masquerade"]
	if !given {
		return false, nil
	}
	delete(conf, "masquerade")
	masquerade := true
	if err := json.Unmarshal(raw, &masquerade); err != nil {
		return false, fmt.Errorf(`"masquerade" must be true or false, and is %s`, raw)
	}
	return !masquerade, nil
}

// takeNamespaces takes the key "namespaces" out of a configuration.
func takeNamespaces(conf map[string]json.RawMessage) (all []string, err error) {
	raw, given := conf["namespaces"]
	if !given {
		return nil, nil
	}
	delete(conf, "namespaces")
	if err := json.Unmarshal(raw, &all); err != nil || len(all) == 0 {
		return nil, fmt.Errorf(`"namespaces" must be a list of at least one namespace whose pods may have the network, and is %s`, raw)
	}
	return all, nil
}

// ParsePlugin reads the configuration of one plugin as it is in a Plugin: what ParseNetwork leaves out is left out
// already.
func ParsePlugin(text []byte) (Plugin, error) {
	var conf map[string]json.RawMessage
	if err := json.Unmarshal(text, &conf); err != nil {
		return Plugin{}, fmt.Errorf("it is no JSON object: %w", err)
	}
	return parsePlugin(conf)
}

func parsePlugin(conf map[string]json.RawMessage) (Plugin, error) {
	kind, err := stringIn(conf, "type")
	switch {
	case err != nil:
		return Plugin{}, err
	case kind == "":
		return Plugin{}, errors.New(`there is no "type", which names the plugin`)
	case strings.ContainsAny(kind, "/\\\x00"):
		return Plugin{}, fmt.Errorf("type %q: a plugin is named, not given by its path", kind)
	}
	return Plugin{Type: kind, Conf: conf}, nil
}

func stringIn(conf map[string]json.RawMessage, key string) (string, error) {
	raw, ok := conf[key]
	if !ok {
		return "", nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("%q must be a string, and is %s", key, raw)
	}
	return text, nil
}
