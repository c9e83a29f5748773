package log

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// heldAddress is an address that is held, as log state prints it.
type heldAddress struct {
	Address netip.Addr  `json:"address"`
	State   string      `json:"state"`
	Owner   ipam.Owner  `json:"owner"`
	Key     string      `json:"key"`
	PodUID  string      `json:"podUID,omitempty"`
	Node    string      `json:"node,omitempty"`
	Policy  ipam.Policy `json:"policy"`
	Seq     uint64      `json:"seq"`
	Since   time.Time   `json:"since"`
}

// pastState is what log state prints for programs.
type pastState struct {
	Generation string        `json:"generation"`
	Seq        uint64        `json:"seq"`
	Hash       eventlog.Hash `json:"hash"`
	Time       time.Time     `json:"time"`
	Digest     string        `json:"digest"`
	Held       []heldAddress `json:"held"`
}

func newState(g *command.Globals) *cobra.Command {
	var at, stream string
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Print who holds which address, now or at a point of the past",
		Long: `Print the addresses that are held, as the log alone tells it: now, after an event, or at a
moment. Two states with one digest are the same in every row.`,
		Example: `  galaxyctl log state
  galaxyctl log state --at 1200
  galaxyctl log state --stream node-worker-1
  galaxyctl log state --at 2026-11-23T09:00:00Z -o json`,
		Args: command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			until, err := command.ParsePoint(at)
			if err != nil {
				return err
			}
			log, client, err := g.Etcd.Open(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close() //nolint:errcheck // it was only read from
			return showState(cmd, g, log, stream, until)
		},
	}
	addStream(cmd, cmd.Flags(), &stream)
	cmd.Flags().StringVar(&at, "at", "", "sequence number of an event, or an RFC 3339 time (default now)")
	return cmd
}

func showState(cmd *cobra.Command, g *command.Globals, log *etcdlog.Log, stream string, until projections.Until) error {
	ctx := cmd.Context()
	if err := knownStream(ctx, log, stream); err != nil {
		return err
	}
	head, err := log.Head(ctx, stream)
	if err != nil {
		return err
	}
	if until.Seq > head.Seq {
		return fmt.Errorf("event %d is not written yet; the newest is %d", until.Seq, head.Seq)
	}
	progress := newProgress(cmd.ErrOrStderr(), "load")
	db, err := projections.Load(ctx, log, stream, until, func(seq uint64) { progress.report(seq, head.Seq) })
	if err != nil {
		return fmt.Errorf("build the state from stream %s: %w", stream, err)
	}
	view := db.View()
	if g.Output == output.AsTable {
		return tableOfState(cmd.OutOrStdout(), view)
	}
	p := view.Position()
	state := pastState{Generation: p.Head.Generation, Seq: p.Head.Seq, Hash: p.Head.Hash, Time: p.Time,
		Digest: view.Digest(), Held: []heldAddress{}}
	for a := range view.Addresses(netip.Addr{}) {
		state.Held = append(state.Held, heldAddress{a.Addr, a.State(), a.Owner, a.Owner.String(), a.PodUID, a.Node,
			a.Policy, a.Seq, a.Time()})
	}
	return g.Output.Document(cmd.OutOrStdout(), state)
}

func tableOfState(out io.Writer, view *projections.View) error {
	t := output.NewTable(out, "ADDRESS", "STATE", "OWNER", "NODE", "POLICY", "SEQ", "SINCE")
	held := 0
	for a := range view.Addresses(netip.Addr{}) {
		t.Add(a.Addr.String(), a.State(), a.Owner.String(), a.Node, a.Policy.String(), output.Decimal(a.Seq),
			output.Moment(a.Time()))
		held++
	}
	if err := t.Flush(); err != nil {
		return err
	}
	p := view.Position()
	if p.Head.Seq == 0 {
		_, err := fmt.Fprintln(out, "\nnothing is held: no event was written by then")
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d held after event %d of %s, digest %s\n", held, p.Head.Seq, output.Moment(p.Time),
		short(view.Digest()))
	return err
}
