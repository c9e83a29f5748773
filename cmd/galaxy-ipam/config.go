package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"galaxy/ipam"
	"galaxy/reconciler"
)

const defaultConfig = "/etc/galaxy/galaxy-ipam.json"

// settings are the config file (contract section 1.4).
type settings struct {
	subnets  []ipam.Subnet // nil: from the ConfigMap
	interval time.Duration
	rules    reconciler.Rules
	cloud    string // host:port of a cloud provider; "" for none

	overlay   []ipam.OverlayNetwork // nil: none is configured here; those in the log stay
	keepNodes time.Duration         // how long a lost node keeps its subnets
	reach     []netip.Prefix        // where nodes are reached at addresses that their Nodes do not have
}

type configFile struct {
	SchedulePlugin struct {
		FloatingIPs           json.RawMessage `json:"floatingips"`
		ResyncInterval        int             `json:"resyncInterval"` // minutes
		ConfigMapName         string          `json:"configMapName"`
		ConfigMapNamespace    string          `json:"configMapNamespace"`
		FloatingIPKey         string          `json:"floatingipKey"`
		CloudProviderGrpcAddr string          `json:"cloudProviderGrpcAddr"`
	} `json:"schedule_plugin"`
	Overlay *struct {
		Networks      json.RawMessage `json:"networks"`
		KeepLostNodes string          `json:"keepLostNodes"`
		NodeNetworks  []string        `json:"nodeNetworks"`
	} `json:"overlay"`
}

func readSettings(path string) (settings, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && path == defaultConfig {
		text, err = []byte("{}"), nil
	}
	if err != nil {
		return settings{}, fmt.Errorf("--config: %w", err)
	}
	var file configFile
	if err := json.Unmarshal(text, &file); err != nil {
		return settings{}, fmt.Errorf("--config %s: %w", path, err)
	}
	if err := misplaced(text); err != nil {
		return settings{}, fmt.Errorf("--config %s: %w", path, err)
	}
	plugin := file.SchedulePlugin
	s := settings{cloud: plugin.CloudProviderGrpcAddr,
		interval: time.Duration(max(plugin.ResyncInterval, 1)) * time.Minute, rules: reconciler.DefaultRules()}
	orDefault := func(to *string, value string) {
		if value != "" {
			*to = value
		}
	}
	orDefault(&s.rules.ConfigName, plugin.ConfigMapName)
	orDefault(&s.rules.ConfigNamespace, plugin.ConfigMapNamespace)
	orDefault(&s.rules.ConfigKey, plugin.FloatingIPKey)
	if len(plugin.FloatingIPs) > 0 && string(plugin.FloatingIPs) != "null" && string(plugin.FloatingIPs) != "[]" {
		if s.subnets, err = ipam.ParseConfig(plugin.FloatingIPs); err != nil {
			return settings{}, fmt.Errorf("--config %s: schedule_plugin.%w", path, err)
		}
		s.rules.ConfigNamespace = "" // the file's subnets are the only ones
	}
	if err := s.readOverlay(file); err != nil {
		return settings{}, fmt.Errorf("--config %s: overlay: %w", path, err)
	}
	return s, nil
}

// misplaced finds settings that stand a level too high, where nobody reads them.
func misplaced(text []byte) error {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(text, &top); err != nil {
		return err
	}
	for _, key := range []string{"floatingips", "resyncInterval", "configMapName", "configMapNamespace",
		"floatingipKey", "cloudProviderGrpcAddr"} {
		if _, there := top[key]; there {
			return fmt.Errorf("%s stands at the top, where it has no effect: it belongs into schedule_plugin", key)
		}
	}
	for _, key := range []string{"networks", "nodeNetworks", "keepLostNodes"} {
		if _, there := top[key]; there {
			return fmt.Errorf("%s stands at the top, where it has no effect: it belongs into overlay", key)
		}
	}
	return nil
}

func (s *settings) readOverlay(file configFile) (err error) {
	s.keepNodes = reconciler.DefaultKeep
	if file.Overlay == nil {
		return nil
	}
	if s.overlay, err = ipam.ParseOverlay(file.Overlay.Networks); err != nil {
		return err
	}
	if s.overlay == nil {
		s.overlay = []ipam.OverlayNetwork{} // said to be none
	}
	if text := file.Overlay.KeepLostNodes; text != "" {
		if s.keepNodes, err = time.ParseDuration(text); err != nil || s.keepNodes < 0 {
			return fmt.Errorf(`keepLostNodes %q: want a duration such as "24h"`, text)
		}
	}
	for _, text := range file.Overlay.NodeNetworks {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf(`nodeNetworks %q: want a network such as "192.168.0.0/24"`, text)
		}
		s.reach = append(s.reach, network.Masked())
	}
	return nil
}
