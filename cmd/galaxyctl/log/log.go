// Package log is the command log of galaxyctl: it reads, verifies, backs up and restores the log in etcd.
package log

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/eventlog"
)

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	log := command.Group(&cobra.Command{
		Use:   "log",
		Short: "Read, verify, back up and restore the log in etcd",
		Long: `The log in etcd is the only truth: all else is derived from it. These commands need etcd and
nothing else. None of them changes the log; "restore" writes one where there is none.`,
		Example: `  galaxyctl log show --limit 20
  galaxyctl log tail
  galaxyctl log verify
  galaxyctl log backup galaxy.log.zst`,
	})
	log.AddCommand(newShow(g), newTail(g), newState(g), newVerify(g), newBackup(g), newRestore(g))
	return log
}

// addStream adds the flag that names a stream.
func addStream(cmd *cobra.Command, flags *pflag.FlagSet, to *string) {
	flags.StringVar(to, "stream", eventlog.StreamIPAM, "which stream")
	command.Complete(cmd, "stream", eventlog.StreamIPAM, eventlog.StreamNodes)
}

// eventPrinter prints events as they come: rows of a table, or as they are stored.
type eventPrinter struct {
	out    io.Writer
	format output.Format
	table  *output.Table
}

func newEventPrinter(out io.Writer, f output.Format) *eventPrinter {
	return &eventPrinter{out, f, output.NewTable(out, "SEQ", "TIME", "TYPE", "WHAT", "OWNER", "NODE", "ACTOR", "CAUSE")}
}

// print shows one event, whose stored bytes are those of r.
func (p *eventPrinter) print(r eventlog.Record) error {
	if p.format != output.AsTable {
		return p.format.Line(p.out, r.Seq, r.Bytes)
	}
	e, err := eventlog.Decode(r)
	if err != nil {
		return err
	}
	about, owner := e.Data.Subject(), ""
	if about.Address.IsValid() { // a pool stands in the summary
		owner = about.Owner.String()
	}
	p.table.Add(output.Decimal(e.Seq), output.Moment(e.Time), string(e.Data.Type()), e.Data.Summary(), owner,
		about.Node, e.Actor, e.Cause)
	return nil
}

// flush prints what was kept back to align it.
func (p *eventPrinter) flush() error {
	if p.format != output.AsTable {
		return nil
	}
	return p.table.Flush()
}

// progress shows a person who waits how far a long work is.
type progress struct {
	to   io.Writer
	what string
	next time.Time
}

// progressEvery is the time between two lines of progress. Shorter work is silent.
const progressEvery = 2 * time.Second

func newProgress(to io.Writer, what string) *progress {
	return &progress{to: to, what: what, next: time.Now().Add(progressEvery)}
}

// report says how many events of how many are done, now and then. A total of 0 is not known.
func (p *progress) report(done, total uint64) {
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(progressEvery)
	if total == 0 {
		_, _ = fmt.Fprintf(p.to, "%s: %d events\n", p.what, done)
		return
	}
	_, _ = fmt.Fprintf(p.to, "%s: %d of %d events, %d %%\n", p.what, done, total, done*100/total)
}

// knownStream makes sure that a stream has ever been written to: a name that was mistyped would look like one in which
// nothing happens.
func knownStream(ctx context.Context, log eventlog.Log, stream string) error {
	if stream == eventlog.StreamIPAM || stream == eventlog.StreamNodes {
		return nil
	}
	head, err := log.Head(ctx, stream)
	if err == nil && head.Seq == 0 {
		err = fmt.Errorf("there is no stream %s: there are %s, %s, and %s for each node", stream, eventlog.StreamIPAM,
			eventlog.StreamNodes, eventlog.StreamOfNode("<name>"))
	}
	return err
}
