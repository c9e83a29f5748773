package log

import (
	"bytes"
	"context"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/internal/cli"
	"galaxy/eventlog"
	"galaxy/ipam"
)

// showOptions say which events are wanted.
type showOptions struct {
	stream  string
	from    uint64
	to      uint64
	limit   uint64
	address string
	owner   string

	addr netip.Addr // address, read
}

func newShow(g *command.Globals) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print events of the log",
		Long: `Print events of the log: what happened, to whom, by whose decision and why. With -o json each
event is one line, byte for byte as it is stored, so that its SHA-256 is the "prev" of the event after it; but
what a terminal would obey is escaped, and one that is no JSON is shown as {"seq":N,"damaged":"..."}.

--limit takes the first events after --from, or, without --from, the newest ones.`,
		Example: `  galaxyctl log show --limit 20
  galaxyctl log show --address 10.0.0.2
  galaxyctl log show --owner sts_default_db_ --from 1000 --to 2000
  galaxyctl log show -o json | jq -r 'select(.type == "AddressReleased") | .data.address'`,
		Args: command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			log, client, err := g.Etcd.Open(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close() //nolint:errcheck // it was only read from
			return o.show(cmd.Context(), log, newEventPrinter(cmd.OutOrStdout(), g.Output))
		},
	}
	flags := cmd.Flags()
	addStream(cmd, flags, &o.stream)
	flags.Uint64Var(&o.from, "from", 0, "first event, by its sequence number")
	flags.Uint64Var(&o.to, "to", 0, "last event, by its sequence number")
	flags.Uint64Var(&o.limit, "limit", 0, "how many events at most (default all)")
	flags.StringVar(&o.address, "address", "", "only events about this IP address")
	flags.StringVar(&o.owner, "owner", "", "only events whose owner has this text in it, as sts_default_db_db-0 or "+
		"default/db-0")
	return cmd
}

func (o *showOptions) check() error {
	if o.from > 0 && o.to > 0 && o.to < o.from {
		return cli.Usage("--to %d is before --from %d", o.to, o.from)
	}
	if o.address != "" {
		addr, err := ipam.ParseAddr(o.address)
		if err != nil {
			return cli.Usage("--address: %v", err)
		}
		o.addr = addr
	}
	return nil
}

// filtered reports whether events must be looked into.
func (o *showOptions) filtered() bool { return o.address != "" || o.owner != "" }

// show prints the wanted events, a page at a time.
func (o *showOptions) show(ctx context.Context, log eventlog.Log, to *eventPrinter) error {
	if err := knownStream(ctx, log, o.stream); err != nil {
		return err
	}
	after, err := o.begin(ctx, log)
	if err != nil {
		return err
	}
	newest := o.limit > 0 && o.from == 0
	var kept []eventlog.Record // the newest, while they may still be pushed out
	shown := uint64(0)
	for records, err := range log.Read(ctx, o.stream, after, o.to) {
		if err != nil {
			return err
		}
		for _, r := range records {
			wanted, err := o.wants(r)
			switch {
			case err != nil:
				return err
			case !wanted:
				continue
			case newest:
				kept = append(kept, r)
				continue
			}
			if err := to.print(r); err != nil {
				return err
			}
			if shown++; shown == o.limit {
				return to.flush()
			}
		}
		if extra := len(kept) - int(min(o.limit, uint64(len(kept)))); extra > 0 {
			kept = append(kept[:0:0], kept[extra:]...)
		}
		if newest {
			continue // nothing was printed yet
		}
		if err := to.flush(); err != nil {
			return err
		}
	}
	for _, r := range kept {
		if err := to.print(r); err != nil {
			return err
		}
	}
	return to.flush()
}

// begin is the event before the first that has to be read.
func (o *showOptions) begin(ctx context.Context, log eventlog.Log) (uint64, error) {
	if o.from > 0 {
		return o.from - 1, nil
	}
	if o.limit == 0 || o.filtered() {
		return 0, nil
	}
	head, err := log.Head(ctx, o.stream)
	if err != nil {
		return 0, err
	}
	last := head.Seq
	if o.to > 0 {
		last = min(last, o.to)
	}
	return last - min(last, o.limit), nil
}

// wants reports whether an event is one that was asked for. It decodes only what may be.
func (o *showOptions) wants(r eventlog.Record) (bool, error) {
	if !o.filtered() {
		return true, nil
	}
	if o.addr.IsValid() && !bytes.Contains(r.Bytes, strconv.AppendQuote(nil, o.addr.String())) {
		return false, nil
	}
	e, err := eventlog.Decode(r)
	if err != nil {
		return false, err
	}
	about := e.Data.Subject()
	if o.addr.IsValid() && !about.Concerns(o.addr) {
		return false, nil
	}
	if o.owner == "" {
		return true, nil
	}
	for _, owner := range about.Owners() {
		if strings.Contains(owner.String(), o.owner) || strings.Contains(owner.Describe(), o.owner) {
			return true, nil
		}
	}
	return false, nil
}
