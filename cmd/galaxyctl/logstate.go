package main

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

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

func newLogState(g *globals) *cobra.Command {
	var at, stream string
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Print who holds which address, now or at a point of the past",
		Long: `Print the addresses that are held, as the log alone tells it: now, after an event, or at a moment. Two states with one digest
are the same in every row.`,
		Example: `  galaxyctl log state
  galaxyctl log state --at 1200
  galaxyctl log state --stream node-worker-1
  galaxyctl log state --at 2026-11-23T09:00:00Z -o json`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			until, err := parsePoint(at)
			if err != nil {
				return err
			}
			log, client, err := g.etcd.Open(cmd.Context())
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

// parsePoint reads a sequence number or a time; "" is now.
func parsePoint(text string) (projections.Until, error) {
	if text == "" {
		return projections.Until{}, nil
	}
	if seq, err := strconv.ParseUint(text, 10, 64); err == nil && seq > 0 {
		return projections.Until{Seq: seq}, nil
	}
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return projections.Until{}, misuse("--at %q is neither the sequence number of an event nor a time such as 2026-11-23T09:00:00Z", text)
	}
	return projections.Until{Time: when}, nil
}

func showState(cmd *cobra.Command, g *globals, log *etcdlog.Log, stream string, until projections.Until) error {
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
	told := newProgress(cmd.ErrOrStderr(), "load")
	db, err := projections.Load(ctx, log, stream, until, func(seq uint64) { told.report(seq, head.Seq) })
	if err != nil {
		return fmt.Errorf("build the state from stream %s: %w", stream, err)
	}
	view := db.View()
	if g.output == formatTable {
		return tableOfState(cmd.OutOrStdout(), view)
	}
	p := view.Position()
	state := pastState{Generation: p.Head.Generation, Seq: p.Head.Seq, Hash: p.Head.Hash, Time: p.Time, Digest: view.Digest(), Held: []heldAddress{}}
	for a := range view.Addresses(netip.Addr{}) {
		state.Held = append(state.Held, heldAddress{a.Addr, a.State(), a.Owner, a.Owner.String(), a.PodUID, a.Node, a.Policy, a.Seq, a.Time()})
	}
	return g.output.document(cmd.OutOrStdout(), state)
}

func tableOfState(out io.Writer, view *projections.View) error {
	t := newTable(out, "ADDRESS", "STATE", "OWNER", "NODE", "POLICY", "SEQ", "SINCE")
	held := 0
	for a := range view.Addresses(netip.Addr{}) {
		t.add(a.Addr.String(), a.State(), a.Owner.String(), a.Node, a.Policy.String(), decimal(a.Seq), moment(a.Time()))
		held++
	}
	if err := t.flush(); err != nil {
		return err
	}
	p := view.Position()
	if p.Head.Seq == 0 {
		_, err := fmt.Fprintln(out, "\nnothing is held: no event was written by then")
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d held after event %d of %s, digest %s\n", held, p.Head.Seq, moment(p.Time), short(view.Digest()))
	return err
}
