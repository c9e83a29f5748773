package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/internal/etcdclient"
	"galaxy/eventlog/archive"
)

// verified is a log that was found to be right.
type verified struct {
	Source     string    `json:"source"`
	Generation string    `json:"generation"`
	Revision   int64     `json:"revision"`
	Events     uint64    `json:"events"`
	Streams    []verdict `json:"streams"`
}

func newVerify(g *command.Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Recompute everything that the log claims",
		Long: `Read the whole log, or a backup of it, and recompute what it claims: the sequence numbers, the hash of every event, the
order of time, the heads, and that no event contradicts those before it (an address held twice, an address outside its
subnet, a release by somebody else). The first fault is named with its stream and event, and the exit code is 1.

The digest is a hash over the whole state that the log leads to. A log and its backup, or two replicas at one event, have
the same.`,
		Example: `  galaxyctl log verify
  galaxyctl log verify galaxy.log.zst
  galaxyctl log verify -o json`,
		Args: command.MayTake,
		RunE: func(cmd *cobra.Command, args []string) error {
			told := newProgress(cmd.ErrOrStderr(), "verify").report
			var found verified
			var err error
			if len(args) == 1 {
				found, err = verifyFile(args[0], told)
			} else {
				found, err = verifyEtcd(cmd.Context(), &g.Etcd, told)
			}
			if err != nil {
				return err
			}
			return found.print(cmd.OutOrStdout(), g.Output)
		},
	}
}

func (v verified) print(out io.Writer, f output.Format) error {
	if f != output.AsTable {
		return f.Document(out, v)
	}
	t := output.NewTable(out, "STREAM", "EVENTS", "HEAD", "HELD", "NODES", "DIGEST")
	for _, s := range v.Streams {
		t.Add(s.Stream, output.Decimal(s.Events), short(s.Head.String()), orNone(s.Held), orNone(s.Nodes), short(s.Digest))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s is right: %d events of generation %s\n", v.Source, v.Events, v.Generation)
	return err
}

func orNone(n *int) string {
	if n == nil {
		return ""
	}
	return output.Decimal(*n)
}

// short is enough of a hash for a person.
func short(hash string) string { return hash[:min(16, len(hash))] }

// verifyEtcd checks the log as it is at one moment; it may grow meanwhile.
func verifyEtcd(ctx context.Context, flags *etcdclient.Flags, told func(done, total uint64)) (verified, error) {
	log, client, err := flags.Open(ctx)
	if err != nil {
		return verified{}, err
	}
	defer client.Close() //nolint:errcheck // it was only read from
	export, err := log.Export(ctx)
	if err != nil {
		return verified{}, err
	}
	heads := export.Heads()
	c := newChecker(heads, told)
	for _, stream := range slices.Sorted(maps.Keys(heads)) {
		c.begin(stream)
		for records, err := range export.Read(ctx, stream) {
			if err != nil {
				return verified{}, err
			}
			for _, r := range records {
				if err := c.take(r); err != nil {
					return verified{}, err
				}
			}
		}
		if err := c.end(); err != nil {
			return verified{}, err
		}
	}
	return verified{"the log at " + strings.Join(flags.Endpoints, ",") + flags.Prefix, export.Generation(), export.Revision(), c.total, c.found}, nil
}

// verifyFile checks a backup.
func verifyFile(name string, told func(done, total uint64)) (verified, error) {
	file, err := os.Open(name)
	if err != nil {
		return verified{}, err
	}
	defer file.Close() //nolint:errcheck // it was only read from
	found, err := verifyBackup(file, told)
	found.Source = "the backup " + name
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return found, err
}

func verifyBackup(from io.Reader, told func(done, total uint64)) (verified, error) {
	backup, err := archive.Open(from)
	if err != nil {
		return verified{}, err
	}
	defer backup.Close() //nolint:errcheck // it has nothing to lose
	m := backup.Manifest()
	c := newChecker(m.Heads(), told)
	for entry, err := range backup.Entries() {
		if err != nil {
			return verified{}, err
		}
		if entry.Stream != c.stream {
			if err := c.turn(entry.Stream); err != nil {
				return verified{}, err
			}
		}
		if err := c.take(entry.Record); err != nil {
			return verified{}, err
		}
	}
	if err := c.turn(""); err != nil {
		return verified{}, err
	}
	return verified{Generation: m.Generation, Revision: m.Revision, Events: c.total, Streams: c.found}, nil
}

// turn ends the stream that was read and begins the next.
func (c *checker) turn(next string) error {
	var err error
	if c.stream != "" {
		err = c.end()
	}
	c.begin(next)
	return errors.Join(err)
}
