package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/internal/cli"
	"galaxy/eventlog/archive"
	"galaxy/eventlog/etcdlog"
)

func newRestore(g *command.Globals) *cobra.Command {
	var abort bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Write a backup into an etcd that has no log",
		Long: `Write a backup into etcd, under a prefix that has no log. The file is verified before anything
is written (what comes from standard input, as "-", is kept in a temporary file for that), and the log is only
there once it is complete. It gets a new generation, so that nobody who knew the old one takes it for that.

A restore that was broken off is repeated with the same file, or undone with --abort. Neither touches a complete log.`,
		Example: `  galaxyctl log restore galaxy.log.zst
  galaxyctl log restore --etcd-prefix /galaxy-drill galaxy.log.zst
  galaxyctl log restore --abort`,
		Args: func(cmd *cobra.Command, args []string) error {
			if abort {
				return command.Takes()(cmd, args)
			}
			return command.Takes("FILE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := g.Etcd.Connect(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close() //nolint:errcheck // what was written is acknowledged
			if abort {
				return abortRestore(cmd, g, client)
			}
			return restoreFrom(cmd, g, client, args[0])
		},
	}
	cmd.Flags().BoolVar(&abort, "abort", false, "remove what a restore that was broken off has written")
	return cmd
}

func abortRestore(cmd *cobra.Command, g *command.Globals, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), g.Etcd.Timeout)
	defer cancel()
	if err := etcdlog.AbortImport(ctx, client, g.Etcd.Options()); err != nil {
		return g.Etcd.Explain(err)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "no restore into %s is under way\n", g.Etcd.Prefix)
	return err
}

func restoreFrom(cmd *cobra.Command, g *command.Globals, client *clientv3.Client, name string) error {
	open := func() (*os.File, error) { return os.Open(name) }
	if name == standard {
		open = func() (*os.File, error) { return spooled(cmd.InOrStdin()) }
	}
	file, err := open()
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was only read from
	report := newProgress(cmd.ErrOrStderr(), "verify").report
	found, err := verifyBackup(file, report)
	if err != nil {
		return fmt.Errorf("nothing was restored: %s: %w", name, err)
	}
	for _, f := range found.Errors {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "warning: stream %s: %s\n", output.Cell(f.Stream), cli.Printable(f.Error))
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	backup, err := archive.Open(file)
	if err != nil {
		return fmt.Errorf("nothing was restored: %s: %w", name, err)
	}
	defer backup.Close() //nolint:errcheck // it has nothing to lose
	return restore(cmd, g, client, name, backup)
}

// spooled keeps what comes on standard input in a file without a name, so that all of it can be verified before
// anything is written.
func spooled(from io.Reader) (*os.File, error) {
	file, err := os.CreateTemp("", "galaxy-restore-")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(file.Name()); err == nil {
		_, err = io.Copy(file, from)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep the backup from standard input in %s: %w", os.TempDir(), err),
			file.Close())
	}
	return file, nil
}

func restore(cmd *cobra.Command, g *command.Globals, client *clientv3.Client, name string,
	backup *archive.Reader) error {
	m := backup.Manifest()
	first, cancel := context.WithTimeout(cmd.Context(), g.Etcd.Timeout)
	defer cancel()
	target, err := etcdlog.BeginImport(first, client, g.Etcd.Options(),
		etcdlog.Origin{Generation: m.Generation, Revision: m.Revision, Time: m.Time})
	if errors.Is(err, etcdlog.ErrNotEmpty) {
		return fmt.Errorf("%w; a backup is only restored where there is no log: name another --etcd-prefix, or, if "+
			"nobody needs the log there any more, delete it and nothing else: etcdctl del --prefix %s/v1/", err,
			g.Etcd.Prefix)
	}
	if err != nil {
		return g.Etcd.Explain(err)
	}
	report := newProgress(cmd.ErrOrStderr(), "restore").report
	if err := archive.Restore(cmd.Context(), backup, target, report); err != nil {
		return fmt.Errorf("%w; the restore is not complete: repeat it with the same backup, or undo it with --abort",
			err)
	}
	s := describeBackup(name, m)
	s.Generation = target.Generation().ID
	return s.print(cmd.OutOrStdout(), g.Output,
		fmt.Sprintf("restored from generation %s into %s", m.Generation, g.Etcd.Prefix))
}
