package main

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"galaxy/cmd/internal/cli"
	"galaxy/nodeagent/netconf"
)

const defaultConfig = "/etc/galaxy/galaxy.json"

// networks is the configuration file, as it was when it was last good.
type networks struct {
	path string
	log  *zap.Logger

	mu      sync.Mutex
	changed time.Time // of the file, when it was read last
	size    int64
	current *netconf.Config
}

// openNetworks reads the file, which must be good at the start.
func openNetworks(path string, log *zap.Logger) (*networks, error) {
	n := &networks{path: path, log: log}
	config, err := n.read()
	if errors.Is(err, fs.ErrNotExist) && path == defaultConfig {
		config, err = netconf.DefaultConfig(), nil
	}
	if err != nil {
		return nil, cli.Usage("--json-config-path %s: %w", path, err)
	}
	n.current = config
	return n, nil
}

func (n *networks) read() (*netconf.Config, error) {
	info, err := os.Stat(n.path)
	if err != nil {
		return nil, err
	}
	n.changed, n.size = info.ModTime(), info.Size()
	text, err := os.ReadFile(n.path)
	if err != nil {
		return nil, err
	}
	return netconf.ParseConfig(text)
}

// newest is the configuration in force. A file that has changed is read; a bad one changes nothing, but for a line in
// the log.
func (n *networks) newest() *netconf.Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	info, err := os.Stat(n.path)
	if err != nil || info.ModTime().Equal(n.changed) && info.Size() == n.size {
		return n.current // a file that is gone is about to be replaced, or never was
	}
	config, err := n.read()
	if err != nil {
		n.log.Error("network configuration invalid; keeping the previous one",
			zap.String("file", n.path), zap.Error(err))
		return n.current
	}
	n.log.Info("network configuration loaded", zap.String("file", n.path),
		zap.Int("networks", len(config.Networks)))
	n.current = config
	return config
}
