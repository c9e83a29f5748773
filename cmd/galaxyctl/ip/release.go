package ip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/galaxyctl/internal/rest"
	"galaxy/cmd/internal/cli"
	"galaxy/extender/api"
)

// released is what became of one address that was to be released.
type released struct {
	IP     string `json:"ip"`
	Owner  string `json:"owner,omitempty"` // whom it was held for
	Result string `json:"result"`
	Reason string `json:"reason,omitempty"`
}

// What may become of an address.
const (
	wasReleased   = "released"
	wasFree       = "free already"
	wasUnreleased = "unreleased"
)

func newRelease(g *command.Globals) *cobra.Command {
	var force, yes bool
	var o listOptions
	cmd := &cobra.Command{
		Use:   "release IP... | --namespace NAME...",
		Short: "Give addresses back whose pods are gone",
		Long: `Give addresses back. The owner of each is looked up first, and an address that has changed
hands by then is left alone. One whose pod is there is refused: delete the pod. One whose pod galaxy-ipam
knows nothing about, as without a cluster, is refused unless --force is given.

Instead of addresses an owner can be named (--namespace, --app, --pool and so on): all that is kept for it and
that no pod uses is listed, and released with --yes. --orphans takes what is kept for workloads that are gone.

What was not released is shown with its reason, and the exit code is 1.`,
		Example: `  galaxyctl ip release 10.0.0.2
  galaxyctl ip release 10.0.0.2 10.0.0.3 --force
  galaxyctl ip release --orphans --namespace gone --yes`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if chosen := o.names() || o.state == orphaned; chosen == (len(args) > 0) {
				return cli.Usage("%s: name addresses, or whom they are kept for (--namespace, --app, --pod, --pool, "+
					"--orphans), and not both", cmd.CommandPath())
			}
			for _, arg := range args {
				if _, err := addressPath(arg); err != nil {
					return err
				}
			}
			s, err := g.Dial()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				if args, err = o.kept(cmd.Context(), s); err != nil {
					return err
				}
				if !yes {
					return wouldRelease(cmd, g.Output, args)
				}
			}
			all, err := release(cmd.Context(), s, args, force)
			if err != nil {
				return err
			}
			return printReleased(cmd.OutOrStdout(), g.Output, all)
		},
	}
	o.add(cmd)
	o.state = stateReserved
	cmd.Flags().BoolFunc("orphans", "what is kept for workloads that are gone", func(string) error {
		o.state = orphaned
		return nil
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "release what is kept for the owner, rather than list it")
	cmd.Flags().BoolVar(&force, "force", false, "also when nobody knows whether the pod runs")
	return cmd
}

const stateReserved = "reserved"

// names is true when an owner is named.
func (o *listOptions) names() bool { return o.ownerFlags != (ownerFlags{}) }

// kept are the addresses that are kept for an owner.
func (o *listOptions) kept(ctx context.Context, s *rest.Server) (addresses []string, err error) {
	o.all = true
	page, err := o.fetch(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, text := range page.Content {
		var row addressRow
		if err := json.Unmarshal(text, &row); err != nil {
			return nil, fmt.Errorf("a row of galaxy-ipam's answer: %w", err)
		}
		addresses = append(addresses, row.IP)
	}
	return addresses, nil
}

// wouldRelease lists what --yes would release.
func wouldRelease(cmd *cobra.Command, f output.Format, addresses []string) error {
	all := make([]released, len(addresses))
	for i, ip := range addresses {
		all[i] = released{IP: ip, Result: "kept", Reason: "--yes releases it"}
	}
	if err := printReleased(cmd.OutOrStdout(), f, all); err != nil || len(all) == 0 {
		return err
	}
	return fmt.Errorf("nothing was released: %d addresses would be, with --yes", len(all))
}

// item names the address and whom it was held for when it was looked up.
func (r addressRow) item() api.ReleaseItem {
	return api.ReleaseItem{IP: r.IP, OwnerFields: api.OwnerFields{
		AppName: r.AppName, AppType: r.AppType, PodName: r.PodName, Namespace: r.Namespace, PoolName: r.PoolName,
	}}
}

// release looks up who holds each address and asks for all of them at once.
func release(ctx context.Context, s *rest.Server, addresses []string, force bool) ([]released, error) {
	all := make([]released, len(addresses))
	body := api.ReleaseBody{Force: force}
	for i, text := range addresses {
		path, err := addressPath(text)
		if err != nil {
			return nil, err
		}
		var row addressRow
		_, err = s.Ask(ctx, http.MethodGet, path, nil, nil, &row)
		var no *rest.Refused
		switch {
		case errors.As(err, &no) && no.Status == http.StatusNotFound:
			all[i] = released{IP: text, Result: wasUnreleased, Reason: no.Message}
			continue
		case err != nil:
			return nil, err
		}
		all[i] = released{IP: row.IP, Owner: row.owner(), Result: wasReleased}
		if row.owner() == "" {
			all[i].Result = wasFree
			continue
		}
		body.IPs = append(body.IPs, row.item())
	}
	if len(body.IPs) == 0 {
		return all, nil
	}
	var response api.ReleaseResponse
	if _, err := s.Ask(ctx, http.MethodPost, "/v1/ip", nil, body, &response); err != nil {
		return nil, err
	}
	for n, ip := range response.Unreleased {
		for i := range all {
			if all[i].IP == ip && all[i].Result == wasReleased {
				all[i].Result = wasUnreleased
				if n < len(response.Reasons) {
					all[i].Reason = response.Reasons[n]
				}
			}
		}
	}
	return all, nil
}

func printReleased(out io.Writer, f output.Format, all []released) error {
	failed := 0
	t := output.NewTable(out, "ADDRESS", "RESULT", "OWNER", "REASON")
	for _, r := range all {
		if r.Result == wasUnreleased {
			failed++
		}
		t.Add(r.IP, r.Result, r.Owner, r.Reason)
	}
	print := t.Flush
	if f != output.AsTable {
		print = func() error { return f.Document(out, all) }
	}
	if err := print(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d addresses were not released", failed, len(all))
	}
	return nil
}
