// Package config is the command config of galaxyctl: it checks the configuration of subnets.
package config

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/ipam"
)

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	cmd := command.Group(&cobra.Command{
		Use: "config", Short: "Check the configuration of subnets",
		Long:    "Check a floatingip-config before it is applied, or before switching from a former system.",
		Example: "  galaxyctl config check floatingip-config.yaml",
	})
	key := "floatingips"
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Print what galaxy-ipam would refuse in a floatingip-config",
		Long: `Print what galaxy-ipam would refuse in a floatingip-config, all errors at once, before it is
applied. The file is the ConfigMap as kubectl get -o yaml or -o json writes it, the text of its key alone, or
galaxy-ipam's --config file; - is standard input.

TKEStack's Galaxy took some of what is refused here: a gateway, network or broadcast address among the
addresses, subnets that overlap, unknown fields. So check the file before switching from it.

Exit code 0: it would be put in force. 1: it would be refused.`,
		Example: "  galaxyctl config check floatingip-config.yaml\n  galaxyctl config check -",
		Args:    command.Takes("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readConfig(cmd.InOrStdin(), args[0], key)
			if err != nil {
				return err
			}
			return checkConfig(cmd.OutOrStdout(), g.Output, args[0], text)
		},
	}
	check.Flags().StringVar(&key, "key", key, "key of the ConfigMap")
	cmd.AddCommand(check)
	return cmd
}

// readConfig is the text of the subnets in a file.
func readConfig(in io.Reader, path, key string) ([]byte, error) {
	read := os.ReadFile
	if path == "-" {
		read = func(string) ([]byte, error) { return io.ReadAll(in) }
	}
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(strings.TrimSpace(string(text)), "[") {
		return text, nil
	}
	var m corev1.ConfigMap
	if err := yaml.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: neither a ConfigMap nor a list of subnets: %w", path, err)
	}
	if data, ok := m.Data[key]; ok {
		return []byte(data), nil
	}
	// The config file of galaxy-ipam has the list under the same name, in schedule_plugin.
	var file struct {
		Plugin map[string]json.RawMessage `json:"schedule_plugin"`
	}
	if err := yaml.Unmarshal(text, &file); err == nil && file.Plugin[key] != nil {
		return file.Plugin[key], nil
	}
	return nil, fmt.Errorf("%s: it has no key %q, and is no list of subnets", path, key)
}

// subnetRow is a subnet as it is printed.
type subnetRow struct {
	Subnet       string   `json:"subnet"`
	Gateway      string   `json:"gateway"`
	VLAN         uint16   `json:"vlan"`
	Addresses    uint64   `json:"addresses"`
	NodeNetworks []string `json:"nodeNetworks"`
}

func checkConfig(out io.Writer, f output.Format, path string, text []byte) error {
	subnets, err := ipam.ParseConfig(text)
	if err != nil {
		return fmt.Errorf("%s would be refused: %w", path, err)
	}
	rows := make([]subnetRow, 0, len(subnets))
	for _, s := range subnets {
		row := subnetRow{Subnet: s.Prefix.String(), Gateway: s.Gateway.String(), VLAN: s.VLAN, Addresses: s.Len()}
		for _, n := range s.NodeNetworks {
			row.NodeNetworks = append(row.NodeNetworks, n.String())
		}
		rows = append(rows, row)
	}
	if f != output.AsTable {
		return f.Document(out, rows)
	}
	table := output.NewTable(out, "SUBNET", "GATEWAY", "VLAN", "ADDRESSES", "NODE NETWORKS")
	for _, row := range rows {
		table.Add(row.Subnet, row.Gateway, fmt.Sprint(row.VLAN), fmt.Sprint(row.Addresses),
			strings.Join(row.NodeNetworks, " "))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\n%s would be put in force: %d subnets\n", path, len(rows))
	return err
}
