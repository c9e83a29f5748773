package main

import (
	"github.com/spf13/cobra"

	"galaxy/cmd/internal/build"
	"galaxy/eventlog"
	"galaxy/eventlog/archive"
)

// versions are what this program is, and which forms of the log and of backups it knows.
type versions struct {
	Version string `json:"version"`
	Log     int    `json:"log"`
	Backup  int    `json:"backup"`
}

func newVersion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which release this is",
		Long: `Say which release this is, from which commit it was built, and which versions of the log's envelope and of backups it
understands. It asks nobody.`,
		Example: `  galaxyctl version
  galaxyctl version -o json`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{build.Version(), eventlog.Version, archive.Version}
			if g.output != formatTable {
				return g.output.document(cmd.OutOrStdout(), v)
			}
			return pairs(cmd.OutOrStdout(), "galaxyctl", v.Version, "log envelope", "v"+decimal(v.Log), "backup format", "v"+decimal(v.Backup))
		},
	}
}
