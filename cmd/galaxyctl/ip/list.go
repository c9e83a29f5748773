package ip

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/galaxyctl/internal/rest"
	"galaxy/cmd/internal/cli"
	"galaxy/extender/api"
)

// biggestPage is the most rows that galaxy-ipam gives at once.
const biggestPage = 9999

// listOptions say which addresses are wanted.
type listOptions struct {
	ownerFlags
	keyword string
	page    uint
	size    uint
	sort    string
	all     bool
	state   string
	free    bool
}

// states are those of held addresses, and held for all of them.
var states = []string{"held", "bound", "claimed", "reserved", "draining", orphaned}

// orphaned are addresses that are kept for workloads which are gone.
const orphaned = "orphaned"

// addressPage is a page of GET /v1/ip. Its rows are printed as they came, with what this program does not know.
type addressPage struct {
	api.AddressPage
	Content []json.RawMessage `json:"content"` // in place of the page's own
}

var sortOrders = []string{
	"ip", "ip asc", "ip desc", "namespace asc", "namespace desc", "podname", "podname asc", "podname desc", "policy",
	"policy asc", "policy desc",
}

func newList(g *command.Globals) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the addresses that are held",
		Long: `List the addresses that are held for owners in which every given field is equal; --free lists
free ones as well. --keyword looks for a part of the owner's text instead, and overrides the others. --state
orphaned lists those that are kept for workloads which are gone.`,
		Example: `  galaxyctl ip list
  galaxyctl ip list --state draining
  galaxyctl ip list --state orphaned
  galaxyctl ip list --namespace default --app web --type deployment
  galaxyctl ip list --keyword db- --sort "podname desc"
  galaxyctl ip list --all -o json | jq -r '.content[] | select(.state == "reserved") | .ip'`,
		Args: command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(sortOrders, o.sort) {
				return cli.Usage("--sort %q: want ip, namespace, podname or policy, with asc or desc after it", o.sort)
			}
			if !slices.Contains(states, o.state) {
				return cli.Usage("--state %q: want %s", o.state, strings.Join(states, ", "))
			}
			if o.free && cmd.Flags().Changed("state") {
				return cli.Usage("--free excludes --state")
			}
			if o.all && (cmd.Flags().Changed("page") || cmd.Flags().Changed("size")) {
				return cli.Usage("--all excludes --page and --size")
			}
			if o.size == 0 || o.size > biggestPage {
				return cli.Usage("--size %d: want 1 to %d", o.size, biggestPage)
			}
			s, err := g.Dial()
			if err != nil {
				return err
			}
			page, err := o.fetch(cmd.Context(), s)
			if err != nil {
				return err
			}
			return page.print(cmd.OutOrStdout(), g.Output)
		},
	}
	o.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.keyword, "keyword", "", "a part of the owner's text")
	flags.UintVar(&o.page, "page", 0, "which page, from 0")
	flags.UintVar(&o.size, "size", 100, "rows of a page")
	flags.StringVar(&o.sort, "sort", "ip", "ip, namespace, podname or policy, then asc or desc")
	flags.BoolVar(&o.all, "all", false, "all pages")
	flags.StringVar(&o.state, "state", "held", strings.Join(states, ", "))
	flags.BoolVar(&o.free, "free", false, "free addresses, too")
	command.Complete(cmd, "state", states...)
	command.Complete(cmd, "sort", sortOrders...)
	return cmd
}

func (o *listOptions) query(page, size uint) url.Values {
	query := url.Values{}
	if !o.free {
		query.Set("state", o.state)
	}
	for name, value := range map[string]string{
		"keyword": o.keyword, "poolName": o.pool, "appName": o.app, "podName": o.pod, "namespace": o.namespace,
		"appType": o.kind, "sort": o.sort,
		"page": strconv.FormatUint(uint64(page), 10), "size": strconv.FormatUint(uint64(size), 10),
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// fetch gets one page, or all of them as if they were one.
func (o *listOptions) fetch(ctx context.Context, s *rest.Server) (addressPage, error) {
	size := o.size
	if o.all {
		size = biggestPage
	}
	whole, err := o.fetchPage(ctx, s, o.page, size)
	if err != nil || !o.all {
		return whole, err
	}
	for number, last := uint(1), whole.Last; !last; number++ {
		next, err := o.fetchPage(ctx, s, number, size)
		if err != nil {
			return whole, err
		}
		whole.Content, last = append(whole.Content, next.Content...), next.Last || len(next.Content) == 0
	}
	whole.NumberOfElements, whole.Size, whole.TotalPages, whole.Last = len(whole.Content), len(whole.Content),
		min(1, int64(len(whole.Content))), true
	return whole, nil
}

func (o *listOptions) fetchPage(ctx context.Context, s *rest.Server, number, size uint) (addressPage, error) {
	page := addressPage{}
	_, err := s.Ask(ctx, http.MethodGet, "/v1/ip", o.query(number, size), nil, &page)
	return page, err
}

func (p addressPage) print(out io.Writer, f output.Format) error {
	if f != output.AsTable {
		if p.Content == nil {
			p.Content = []json.RawMessage{}
		}
		return f.Document(out, p)
	}
	t := output.NewTable(out, "ADDRESS", "STATE", "OWNER", "NODE", "POLICY", "POD", "SUBNET", "CHANGED")
	for _, text := range p.Content {
		var r addressRow
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("a row of galaxy-ipam's answer: %w", err)
		}
		t.Add(r.IP, r.State, r.owner(), r.Node, r.policy(), r.Status, r.Subnet, r.changed())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if p.First && p.Last {
		return nil
	}
	_, err := fmt.Fprintf(out, "\npage %d of %d, %d addresses in all; see --page, --size and --all\n", p.Number,
		p.TotalPages, p.TotalElements)
	return err
}
