// Package ip is the command ip of galaxyctl: it asks galaxy-ipam for addresses.
package ip

import (
	"net/http"
	"net/netip"
	"net/url"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/internal/cli"
	"galaxy/extender/api"
	"galaxy/ipam"
)

// addressRow is an address as REST shows it, with what is printed of it.
type addressRow api.AddressRow

// owner names whom the address is held for, as the log does.
func (r addressRow) owner() string {
	return ipam.Owner{Kind: r.AppType, Namespace: r.Namespace, App: r.AppName, Pod: r.PodName,
		Pool: r.PoolName}.String()
}

// policy is empty for a free address, which has none.
func (r addressRow) policy() string {
	if r.owner() == "" {
		return ""
	}
	return ipam.Policy(r.Policy).String()
}

// changed is empty for an address that nothing has happened to.
func (r addressRow) changed() string {
	if r.UpdateTime.Year() <= 1 {
		return ""
	}
	return output.Moment(r.UpdateTime)
}

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	ip := command.Group(&cobra.Command{
		Use:   "ip",
		Short: "List, explain, reserve and release addresses",
		Long: `Ask galaxy-ipam for addresses. An address is bound (in use by a pod on a node), claimed (by
filter, for a pod that is about to be bound), reserved (kept for a pod, an app or a pool), draining (held, but
no longer configured), cooling (free, but within the reuse delay) or free.`,
		Example: `  galaxyctl ip list --app web --type deployment
  galaxyctl ip history 10.0.0.2
  galaxyctl ip release 10.0.0.2 10.0.0.3`,
	})
	ip.AddCommand(newList(g), newGet(g), newHistory(g), newReserve(g), newRelease(g))
	return ip
}

// addressPath is where REST has an address.
func addressPath(text string) (string, error) {
	addr, err := ipam.ParseAddr(text)
	if err != nil {
		return "", cli.Usage("%v", err)
	}
	return pathOf(addr), nil
}

func pathOf(addr netip.Addr) string { return "/v1/ip/" + url.PathEscape(addr.String()) }

func newGet(g *command.Globals) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "get IP",
		Short: "Print all about one address, now or at a point of the past",
		Long: `Print whom an address is held for, where it is in use, and which event in the log is the newest
about it. With --at, as it was after an event or at a moment; nothing is known then of the pods of that time
but what the log says.`,
		Example: `  galaxyctl ip get 10.0.0.2
  galaxyctl ip get 10.0.0.2 --at 2026-11-23T09:00:00Z
  galaxyctl ip get 10.0.0.2 --at 1200 -o yaml`,
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
			query := url.Values{}
			if at != "" {
				if _, err := command.ParsePoint(at); err != nil {
					return err
				}
				query.Set("at", at)
			}
			var row addressRow
			if _, err := s.Ask(cmd.Context(), http.MethodGet, path, query, nil, &row); err != nil {
				return err
			}
			return row.print(cmd, g)
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "sequence number of an event, or an RFC 3339 time (default now)")
	return cmd
}

func (r addressRow) print(cmd *cobra.Command, g *command.Globals) error {
	out := cmd.OutOrStdout()
	if g.Output != output.AsTable {
		return g.Output.Document(out, r)
	}
	event := ""
	if r.Seq > 0 {
		event = output.Decimal(r.Seq)
	}
	return output.Pairs(out, "address", r.IP, "state", r.State, "owner", r.owner(), "pod uid", r.PodUID, "node", r.Node,
		"policy", r.policy(),
		"pod", r.Status, "subnet", r.Subnet, "changed", r.changed(), "event", event)
}

// ownerFlags name an owner.
type ownerFlags struct {
	pool, app, kind, pod, namespace string
}

func (o *ownerFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.pool, "pool", "", "name of the pool")
	flags.StringVar(&o.app, "app", "", "name of the workload")
	flags.StringVar(&o.kind, "type", "", "kind of the workload (default statefulset, if there is an --app)")
	flags.StringVar(&o.pod, "pod", "", "name of the pod")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "namespace of the workload or the pod")
	command.Complete(cmd, "type", ipam.KindStatefulSet, ipam.KindDeployment, ipam.KindReplicaSet, "tapp", "job")
}

// fields are the flags as REST takes them.
func (o *ownerFlags) fields() api.OwnerFields {
	return api.OwnerFields{AppName: o.app, AppType: o.kind, PodName: o.pod, Namespace: o.namespace, PoolName: o.pool}
}

func newReserve(g *command.Globals) *cobra.Command {
	var o ownerFlags
	var reason string
	cmd := &cobra.Command{
		Use:   "reserve IP",
		Short: "Keep a free address for an app, a pool or a pod",
		Long: `Keep a free address for an app, a pool or a pod, until it is released again. Nobody else gets
it. Asking again changes nothing; an address that is held for another owner is refused.`,
		Example: `  galaxyctl ip reserve 10.0.0.9 --pool blue
  galaxyctl ip reserve 10.0.0.9 --namespace default --app web --type deployment
  galaxyctl ip reserve 10.0.0.9 --namespace default --app db --pod db-0 --reason "known to the firewall"`,
		Args: command.Takes("IP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := addressPath(args[0])
			if err != nil {
				return err
			}
			if o.pool == "" && o.app == "" && o.pod == "" {
				return cli.Usage("for whom? Name a --pool, or a --namespace and an --app or a --pod")
			}
			if o.namespace == "" && (o.app != "" || o.pod != "") {
				return cli.Usage("--namespace is missing")
			}
			s, err := g.Dial()
			if err != nil {
				return err
			}
			body := api.ReserveBody{OwnerFields: o.fields(), Reason: reason}
			var response api.AddressResponse
			if _, err := s.Ask(cmd.Context(), http.MethodPut, path, nil, body, &response); err != nil {
				return err
			}
			return addressRow(response.Content).print(cmd, g)
		},
	}
	o.add(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	return cmd
}
