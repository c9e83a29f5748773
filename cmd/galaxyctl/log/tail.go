package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/internal/cli"
	"galaxy/eventlog"
)

// tailOptions say where to begin to follow.
type tailOptions struct {
	stream  string
	fromNow bool
	lines   uint64
}

func newTail(g *command.Globals) *cobra.Command {
	var o tailOptions
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print the newest events, and then those that come",
		Long: `Print the newest events of the log, and then each that comes, in order and exactly once, until
Ctrl-C. Every event is checked against the one before it.`,
		Example: `  galaxyctl log tail
  galaxyctl log tail --lines 100
  galaxyctl log tail --from-now -o json`,
		Args: command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.fromNow && cmd.Flags().Changed("lines") {
				return cli.Usage("--from-now and --lines exclude each other")
			}
			log, client, err := g.Etcd.Open(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close() //nolint:errcheck // it was only read from
			return o.follow(cmd.Context(), log, newEventPrinter(cmd.OutOrStdout(), g.Output))
		},
	}
	addStream(cmd, cmd.Flags(), &o.stream)
	cmd.Flags().BoolVar(&o.fromNow, "from-now", false, "print nothing that has happened already")
	cmd.Flags().Uint64Var(&o.lines, "lines", 10, "how many events to begin with")
	return cmd
}

// follow prints until ctx ends, which is no error.
func (o *tailOptions) follow(ctx context.Context, log eventlog.Log, to *eventPrinter) error {
	start, err := o.start(ctx, log)
	if err != nil {
		return err
	}
	if err := to.flush(); err != nil { // the headings, so that one sees that it waits
		return err
	}
	cursor := eventlog.Cursor{Head: start}
	for records, err := range log.Follow(ctx, o.stream, start) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, r := range records {
			if _, err := cursor.Read(r); err != nil {
				return fmt.Errorf("stream %s: %w", o.stream, err)
			}
			if err := to.print(r); err != nil {
				return err
			}
		}
		if err := to.flush(); err != nil {
			return err
		}
	}
	return nil
}

// start is the position after which to print.
func (o *tailOptions) start(ctx context.Context, log eventlog.Log) (eventlog.Head, error) {
	head, err := log.Head(ctx, o.stream)
	if err != nil || o.fromNow || o.lines == 0 {
		return head, err
	}
	if head.Seq <= o.lines {
		return eventlog.Head{Generation: head.Generation}, nil
	}
	before := head.Seq - o.lines
	for records, err := range log.Read(ctx, o.stream, before-1, before) {
		if err != nil {
			return head, err
		}
		for _, r := range records {
			return eventlog.Head{Seq: r.Seq, Hash: r.Hash(), Generation: head.Generation}, nil
		}
	}
	return head, errors.Join(ctx.Err(), fmt.Errorf("stream %s: event %d: %w: it is missing", o.stream, before,
		eventlog.ErrCorrupt))
}
