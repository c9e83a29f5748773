// Package version is the command version of galaxyctl: it says which release this is.
package version

import (
	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
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

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which release this is",
		Long: `Say which release this is, from which commit it was built, and which versions of the log's
envelope and of backups it understands. It asks nobody.`,
		Example: `  galaxyctl version
  galaxyctl version -o json`,
		Args: command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{build.Version(), eventlog.Version, archive.Version}
			if g.Output != output.AsTable {
				return g.Output.Document(cmd.OutOrStdout(), v)
			}
			return output.Pairs(cmd.OutOrStdout(), "galaxyctl", v.Version, "log envelope", "v"+output.Decimal(v.Log),
				"backup format", "v"+output.Decimal(v.Backup))
		},
	}
}
