// Package builtin is the table of the plugins that are part of galaxy: the agent runs them in its process, and
// galaxy-cni as binaries of their names.
package builtin

import (
	"galaxy/plugins"
	"galaxy/plugins/bridge"
	"galaxy/plugins/flannel"
	"galaxy/plugins/veth"
)

// Plugins are all of them by name, but galaxy-sdn, which is a client of the agent and does no work.
func Plugins() map[string]plugins.Plugin {
	delegates := []plugins.Plugin{veth.Plugin(), bridge.Plugin()}
	table := map[string]plugins.Plugin{}
	for _, p := range append(delegates, flannel.Plugin(delegates...)) {
		table[p.Name] = p
	}
	return table
}
