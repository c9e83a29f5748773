package main

import (
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"galaxy/ipam"
)

// addressRow is an address as galaxy-ipam's REST interface shows it.
type addressRow struct {
	IP         string    `json:"ip"`
	Namespace  string    `json:"namespace,omitempty"`
	AppName    string    `json:"appName,omitempty"`
	PodName    string    `json:"podName,omitempty"`
	PoolName   string    `json:"poolName,omitempty"`
	Policy     uint16    `json:"policy"`
	AppType    string    `json:"appType,omitempty"`
	UpdateTime time.Time `json:"updateTime"`
	Status     string    `json:"status,omitempty"`
	Releasable bool      `json:"releasable,omitempty"`
	State      string    `json:"state"`
	Node       string    `json:"node,omitempty"`
	PodUID     string    `json:"podUID,omitempty"`
	Subnet     string    `json:"subnet,omitempty"`
	Seq        uint64    `json:"seq,omitempty"`
}

// owner names whom the address is held for, as the log does.
func (r addressRow) owner() string {
	return ipam.Owner{Kind: r.AppType, Namespace: r.Namespace, App: r.AppName, Pod: r.PodName, Pool: r.PoolName}.String()
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
	return moment(r.UpdateTime)
}

func newIP(g *globals) *cobra.Command {
	ip := group(&cobra.Command{
		Use:   "ip",
		Short: "List, explain, reserve and release addresses",
		Long: `Ask galaxy-ipam for addresses. An address is bound (in use by a pod on a node), claimed (by filter, for a pod that is about to
be bound), reserved (kept for a pod, an app or a pool), draining (held, but no longer configured), cooling (free, but within
the reuse delay) or free.`,
		Example: `  galaxyctl ip list --app web --type deployment
  galaxyctl ip history 10.0.0.2
  galaxyctl ip release 10.0.0.2 10.0.0.3`,
	})
	ip.AddCommand(newIPList(g), newIPGet(g), newIPHistory(g), newIPReserve(g), newIPRelease(g))
	return ip
}

// addressPath is where REST has an address.
func addressPath(text string) (string, error) {
	addr, err := ipam.ParseAddr(text)
	if err != nil {
		return "", misuse("%v", err)
	}
	return pathOf(addr), nil
}

func pathOf(addr netip.Addr) string { return "/v1/ip/" + url.PathEscape(addr.String()) }

func newIPGet(g *globals) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "get IP",
		Short: "Print all about one address, now or at a point of the past",
		Long: `Print whom an address is held for, where it is in use, and which event in the log is the newest about it. With --at, as it
was after an event or at a moment; nothing is known then of the pods of that time but what the log says.`,
		Example: `  galaxyctl ip get 10.0.0.2
  galaxyctl ip get 10.0.0.2 --at 2026-11-23T09:00:00Z
  galaxyctl ip get 10.0.0.2 --at 1200 -o yaml`,
		Args: takes("IP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := addressPath(args[0])
			if err != nil {
				return err
			}
			s, err := g.dial()
			if err != nil {
				return err
			}
			query := url.Values{}
			if at != "" {
				if _, err := parsePoint(at); err != nil {
					return err
				}
				query.Set("at", at)
			}
			var row addressRow
			if _, err := s.ask(cmd.Context(), http.MethodGet, path, query, nil, &row); err != nil {
				return err
			}
			return row.print(cmd, g)
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "sequence number of an event, or an RFC 3339 time (default now)")
	return cmd
}

func (r addressRow) print(cmd *cobra.Command, g *globals) error {
	out := cmd.OutOrStdout()
	if g.output != formatTable {
		return g.output.document(out, r)
	}
	event := ""
	if r.Seq > 0 {
		event = decimal(r.Seq)
	}
	return pairs(out, "address", r.IP, "state", r.State, "owner", r.owner(), "pod uid", r.PodUID, "node", r.Node, "policy", r.policy(),
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
	complete(cmd, "type", ipam.KindStatefulSet, ipam.KindDeployment, ipam.KindReplicaSet, "tapp", "job")
}

func newIPReserve(g *globals) *cobra.Command {
	var o ownerFlags
	var reason string
	cmd := &cobra.Command{
		Use:   "reserve IP",
		Short: "Keep a free address for an app, a pool or a pod",
		Long: `Keep a free address for an app, a pool or a pod, until it is released again. Nobody else gets it. Asking again changes nothing;
an address that is held for another owner is refused.`,
		Example: `  galaxyctl ip reserve 10.0.0.9 --pool blue
  galaxyctl ip reserve 10.0.0.9 --namespace default --app web --type deployment
  galaxyctl ip reserve 10.0.0.9 --namespace default --app db --pod db-0 --reason "known to the firewall"`,
		Args: takes("IP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := addressPath(args[0])
			if err != nil {
				return err
			}
			if o.pool == "" && o.app == "" && o.pod == "" {
				return misuse("for whom? Name a --pool, or a --namespace and an --app or a --pod")
			}
			if o.namespace == "" && (o.app != "" || o.pod != "") {
				return misuse("--namespace is missing")
			}
			s, err := g.dial()
			if err != nil {
				return err
			}
			body := map[string]string{"poolName": o.pool, "appName": o.app, "appType": o.kind, "podName": o.pod, "namespace": o.namespace, "reason": reason}
			var answer struct {
				Content addressRow `json:"content"`
			}
			if _, err := s.ask(cmd.Context(), http.MethodPut, path, nil, body, &answer); err != nil {
				return err
			}
			return answer.Content.print(cmd, g)
		},
	}
	o.add(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	return cmd
}
