package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/internal/etcdclient"
	"galaxy/durable"
	"galaxy/eventlog/archive"
)

// standard names standard input or output instead of a file.
const standard = "-"

// saved is what log backup and log restore print.
type saved struct {
	File       string           `json:"file"`
	Generation string           `json:"generation"`
	Revision   int64            `json:"revision"`
	Events     uint64           `json:"events"`
	Streams    []archive.Stream `json:"streams"`
}

func newBackup(g *command.Globals) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the log to a file, while it is in use",
		Long: `Write all streams of the log, as they are at one moment, to a file; the log may grow meanwhile.
Every event is checked on the way: a log that is corrupt gives no backup. Only the stream of a node that is
damaged is left out, and then the exit code is 1, though the file is there. The file is only there once it is
complete and on the disk. FILE may be "-" for standard output.`,
		Example: `  galaxyctl log backup galaxy.log.zst
  galaxyctl log backup --force /var/backups/galaxy.log.zst
  galaxyctl log backup - | ssh elsewhere 'cat > galaxy.log.zst'`,
		Args: command.Takes("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			report := newProgress(cmd.ErrOrStderr(), "backup").report
			write := func(to io.Writer) (archive.Manifest, error) { return backup(cmd.Context(), &g.Etcd, to, report) }
			if args[0] == standard {
				m, err := write(cmd.OutOrStdout())
				return errors.Join(err, incomplete(m))
			}
			m, err := writeFile(args[0], force, write)
			if err != nil {
				return err
			}
			err = describeBackup(args[0], m).print(cmd.OutOrStdout(), g.Output, "written to "+args[0])
			return errors.Join(err, incomplete(m))
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if there is one")
	return cmd
}

// incomplete is the error of a backup without some streams; nil for one that has all.
func incomplete(m archive.Manifest) error {
	var all []error
	for _, left := range m.LeftOut {
		all = append(all, fmt.Errorf("the backup is without the damaged stream %s: %s", left.Name, left.Why))
	}
	return errors.Join(all...)
}

func backup(ctx context.Context, flags *etcdclient.Flags, to io.Writer,
	report archive.Progress) (archive.Manifest, error) {
	log, client, err := flags.Open(ctx)
	if err != nil {
		return archive.Manifest{}, err
	}
	defer client.Close() //nolint:errcheck // it was only read from
	export, err := log.Export(ctx)
	if err != nil {
		return archive.Manifest{}, err
	}
	return archive.Backup(ctx, export, to, report)
}

func describeBackup(name string, m archive.Manifest) saved {
	return saved{name, m.Generation, m.Revision, m.Events(), m.Streams}
}

func (s saved) print(out io.Writer, f output.Format, done string) error {
	if f != output.AsTable {
		return f.Document(out, s)
	}
	t := output.NewTable(out, "STREAM", "EVENTS", "HEAD")
	for _, stream := range s.Streams {
		t.Add(stream.Name, output.Decimal(stream.Seq), short(stream.Hash.String()))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d events of generation %s %s\n", s.Events, s.Generation, done)
	return err
}

// writeFile makes a file that is there either complete and on the disk, or not at all. Without force it never takes the
// place of another.
func writeFile(name string, force bool, write func(io.Writer) (archive.Manifest,
	error)) (m archive.Manifest, err error) {
	if _, err := os.Lstat(name); err == nil && !force {
		return m, fmt.Errorf("%s is there already; name another file, or replace it with --force", name)
	}
	put := durable.Create
	if force {
		put = durable.Replace
	}
	err = put(name, 0o600, func(to io.Writer) (err error) {
		m, err = write(to)
		return err
	})
	return m, err
}
