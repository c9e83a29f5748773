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
	"galaxy/eventlog"
	"galaxy/eventlog/archive"
	"galaxy/projections"
)

// verified is a log that was found to be right.
type verified struct {
	Source     string        `json:"source"`
	Generation string        `json:"generation"`
	Revision   int64         `json:"revision"`
	Events     uint64        `json:"events"`
	Streams    []verdict     `json:"streams"`
	Errors     []streamError `json:"faults,omitempty"`
}

// streamError is what is wrong with a stream.
type streamError struct {
	Stream string `json:"stream"`
	Error  string `json:"error"`
}

// wrong is the error of a log that is not right; nil for one that is.
func (v verified) wrong() error {
	if len(v.Errors) == 0 {
		return nil
	}
	lines := make([]string, len(v.Errors))
	for i, f := range v.Errors {
		lines[i] = fmt.Sprintf("stream %s: %s", output.Cell(f.Stream), f.Error)
	}
	return fmt.Errorf("%s is not right: %s", v.Source, strings.Join(lines, "\n"))
}

func newVerify(g *command.Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Recompute everything that the log claims",
		Long: `Read the whole log, or a backup of it, and recompute what it claims: the sequence numbers, the
hash of every event, the order of time, the heads, and that no event contradicts those before it (an address
held twice, an address outside its subnet, a release by somebody else), nor a snapshot what the events before
it lead to. The first error of each stream is named with its event, and the exit code is 1.

The digest is a hash over the whole state that the log leads to. A log and its backup, or two replicas at one
event, have the same.`,
		Example: `  galaxyctl log verify
  galaxyctl log verify galaxy.log.zst
  galaxyctl log verify -o json`,
		Args: command.MayTake,
		RunE: func(cmd *cobra.Command, args []string) error {
			report := newProgress(cmd.ErrOrStderr(), "verify").report
			var found verified
			var err error
			if len(args) == 1 {
				found, err = verifyFile(args[0], report)
			} else {
				found, err = verifyEtcd(cmd.Context(), &g.Etcd, report)
			}
			if err != nil {
				return err
			}
			if err := found.print(cmd.OutOrStdout(), g.Output); err != nil {
				return err
			}
			return found.wrong()
		},
	}
}

func (v verified) print(out io.Writer, f output.Format) error {
	if f != output.AsTable {
		return f.Document(out, v)
	}
	t := output.NewTable(out, "STREAM", "EVENTS", "HEAD", "HELD", "NODES", "DIGEST")
	for _, s := range v.Streams {
		t.Add(s.Stream, output.Decimal(s.Events), short(s.Head.String()), orNone(s.Held), orNone(s.Nodes),
			short(s.Digest))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	switch {
	case len(v.Errors) > 0:
		return nil // the error says it
	case v.Events == 0:
		_, err := fmt.Fprintf(out, "\n%s is empty: no events of generation %s\n", v.Source, v.Generation)
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

// verifyEtcd checks the log as it is at one moment; it may grow meanwhile. Each stream is judged by itself.
func verifyEtcd(ctx context.Context, flags *etcdclient.Flags, report func(done, total uint64)) (verified, error) {
	log, client, err := flags.Open(ctx)
	if err != nil {
		return verified{}, err
	}
	defer client.Close()                      //nolint:errcheck // it was only read from
	snapshots, err := readSnapshots(ctx, log) // first, so that none is newer than what is read
	if err != nil {
		return verified{}, err
	}
	export, err := log.Export(ctx)
	if err != nil {
		return verified{}, err
	}
	v := verified{Source: "the log at " + strings.Join(flags.Endpoints, ",") + flags.Prefix,
		Generation: export.Generation(), Revision: export.Revision()}
	heads, damaged := export.Heads(), export.Damaged()
	for stream := range snapshots {
		if _, has := heads[stream]; !has && damaged[stream] == nil {
			// there is a snapshot of a stream that has no events any more
			heads[stream] = eventlog.Head{Generation: v.Generation}
		}
	}
	for _, stream := range slices.Sorted(maps.Keys(damaged)) {
		v.Errors = append(v.Errors, streamError{stream, damaged[stream].Error()})
	}
	c := newChecker(heads, report)
	for _, stream := range slices.Sorted(maps.Keys(heads)) {
		c.begin(stream, snapshots[stream])
		err := c.all(export.Read(ctx, stream))
		if ctx.Err() != nil || err != nil && !archive.IsDamage(err) && !errors.Is(err, projections.ErrImpossible) {
			return verified{}, err
		}
		if err != nil {
			v.Errors = append(v.Errors, streamError{stream, err.Error()})
		}
	}
	v.Events, v.Streams = c.total, c.found
	return v, nil
}

// readSnapshots reads the snapshots of galaxy-ipam's streams, the newest first.
func readSnapshots(ctx context.Context, log eventlog.Log) (map[string][]savedState, error) {
	all := map[string][]savedState{}
	for _, stream := range []string{eventlog.StreamIPAM, eventlog.StreamNodes} {
		for atMost := uint64(0); ; {
			head, saved, err := log.LoadSnapshot(ctx, stream, atMost)
			if errors.Is(err, eventlog.ErrNoSnapshot) {
				break
			}
			if err != nil {
				return nil, err
			}
			db, err := projections.Restore(saved)
			_ = saved.Close()
			if err == nil { // one that cannot be read is passed over by everybody
				all[stream] = append(all[stream], savedState{head, db.View().Position().Head, db.View().Digest()})
			}
			if head.Seq < 2 {
				break
			}
			atMost = head.Seq - 1
		}
	}
	return all, ctx.Err()
}

// verifyFile checks a backup.
func verifyFile(name string, report func(done, total uint64)) (verified, error) {
	file, err := os.Open(name)
	if err != nil {
		return verified{}, err
	}
	defer file.Close() //nolint:errcheck // it was only read from
	found, err := verifyBackup(file, report)
	found.Source = "the backup " + name
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return found, err
}

func verifyBackup(from io.Reader, report func(done, total uint64)) (verified, error) {
	backup, err := archive.Open(from)
	if err != nil {
		return verified{}, err
	}
	defer backup.Close() //nolint:errcheck // it has nothing to lose
	m := backup.Manifest()
	c := newChecker(m.Heads(), report)
	v := verified{Generation: m.Generation, Revision: m.Revision, Events: c.total}
	for entry, err := range backup.Entries() {
		if err == nil && entry.Stream != c.stream {
			err = c.turn(entry.Stream)
		}
		if err != nil {
			return verified{}, err
		}
		if c.stopped {
			continue
		}
		err := c.take(entry.Record)
		if errors.Is(err, projections.ErrImpossible) && eventlog.IsOfNode(entry.Stream) {
			c.stopped = true // what a node's own user wrote is no reason to refuse all other streams
			v.Errors = append(v.Errors, streamError{entry.Stream, err.Error()})
			continue
		}
		if err != nil {
			return verified{}, fmt.Errorf("stream %s: %w", entry.Stream, err)
		}
	}
	if err := c.turn(""); err != nil {
		return verified{}, err
	}
	v.Streams = c.found
	for _, left := range m.LeftOut {
		v.Errors = append(v.Errors, streamError{left.Name, "it was left out as it was damaged: " + left.Why})
	}
	return v, nil
}

// turn ends the stream that was read, and begins the next.
func (c *checker) turn(next string) error {
	if c.stream != "" && !c.stopped {
		if err := c.end(); err != nil {
			return fmt.Errorf("stream %s: %w", c.stream, err)
		}
	}
	c.begin(next, nil)
	return nil
}
