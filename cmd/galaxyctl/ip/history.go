package ip

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/galaxyctl/internal/rest"
	"galaxy/extender/api"
)

// history is what has happened to an address, oldest first.
type history api.HistoryResponse

func newHistory(g *command.Globals) *cobra.Command {
	var limit uint
	cmd := &cobra.Command{
		Use:   "history IP",
		Short: "Print all that has happened to an address",
		Long: `Print all that has happened to an address, oldest first: whom it was held for, from when to
when, where it was in use, who decided and why.`,
		Example: `  galaxyctl ip history 10.0.0.2
  galaxyctl ip history 10.0.0.2 --limit 5
  galaxyctl ip history fd00::2 -o yaml`,
		Args: command.Takes("IP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := addressPath(args[0])
			if err != nil {
				return err
			}
			s, err := g.Dial()
			if err != nil {
				return err
			}
			h, err := fetchHistory(cmd.Context(), s, path+"/history", limit)
			if err != nil {
				return err
			}
			return h.print(cmd.OutOrStdout(), g.Output)
		},
	}
	cmd.Flags().UintVar(&limit, "limit", 0, "only the newest so many (default all)")
	return cmd
}

// mostEntries is how many events galaxy-ipam gives at once.
const mostEntries = 1000

// fetchHistory goes back page by page, the newest first, until there is no more or the limit is reached.
func fetchHistory(ctx context.Context, s *rest.Server, path string, limit uint) (history, error) {
	var whole history
	query := url.Values{}
	for {
		wanted := uint(mostEntries)
		if limit > 0 {
			wanted = min(wanted, limit-uint(len(whole.Entries)))
		}
		query.Set("limit", strconv.FormatUint(uint64(wanted), 10))
		var page history
		if _, err := s.Ask(ctx, http.MethodGet, path, query, nil, &page); err != nil {
			return whole, err
		}
		entries := append(page.Entries, whole.Entries...)
		whole = page
		whole.Entries = entries
		if page.Older == 0 || len(page.Entries) == 0 || limit > 0 && uint(len(entries)) >= limit {
			return whole, nil
		}
		query.Set("newest", strconv.FormatUint(page.Older, 10))
	}
}

func (h history) print(out io.Writer, f output.Format) error {
	if f != output.AsTable {
		if h.Entries == nil {
			h.Entries = []api.HistoryEntry{}
		}
		return f.Document(out, h)
	}
	t := output.NewTable(out, "SEQ", "FROM", "TO", "TYPE", "OWNER", "NODE", "POLICY", "REASON", "ACTOR", "CAUSE")
	for _, e := range h.Entries {
		to := ""
		if e.To != nil {
			to = output.Moment(*e.To)
		}
		t.Add(output.Decimal(e.Seq), output.Moment(e.From), to, e.Type, e.Key, e.Node, e.Policy, e.Reason, e.Actor,
			e.Cause)
	}
	return t.Flush()
}
