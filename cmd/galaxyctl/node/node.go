// Package node is the command node of galaxyctl: it lists the nodes of the overlay, and asks the agent of this one.
package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/lease"
	"galaxy/projections"
	"galaxy/wire"
)

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	group := command.Group(&cobra.Command{
		Use:   "node",
		Short: "List the nodes of the overlay, and compare a node's routes with the log",
		Long:  `"list" reads the log and the leases in etcd. The others ask the agent of the node on which they are run, over its socket.`,
		Example: `  galaxyctl node list
  galaxyctl node routes
  galaxyctl node diff`,
	})
	group.AddCommand(newList(g), newRoutes(g), newDiff(g), newAlive())
	return group
}

// nodeRow is a node as node list prints it.
type nodeRow struct {
	Node      string         `json:"node"`
	State     string         `json:"state"` // alive, lost, waiting (for a subnet) or unknown (to the log)
	Since     time.Time      `json:"since"`
	Lease     bool           `json:"lease"` // its agent keeps its lease
	Addresses []netip.Addr   `json:"addresses"`
	Subnets   []netip.Prefix `json:"subnets"`
	Backend   string         `json:"backend,omitempty"`
	Position  uint64         `json:"position"` // event of the stream nodes that its routes follow
	Behind    uint64         `json:"behind"`   // events
	Differs   int            `json:"differs"`
	Problems  []string       `json:"problems,omitempty"`
}

func newList(g *command.Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List all nodes: lease, subnets, and how far their routes follow the log",
		Long: `List the nodes that the log knows and those whose agents keep a lease. BEHIND is how many
events of the stream nodes the node's routes do not follow yet; DIFFERS how many routes could not be written.`,
		Example: "  galaxyctl node list\n  galaxyctl node list -o json",
		Args:    command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, client, err := g.Etcd.Open(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close() //nolint:errcheck // it was only read from
			db, err := projections.Load(cmd.Context(), log, eventlog.StreamNodes, projections.Until{}, nil)
			if err != nil {
				return err
			}
			alive, err := announced(cmd.Context(), client, lease.NodesPrefix(g.Etcd.Prefix))
			if err != nil {
				return err
			}
			rows := nodeRows(db.View(), alive)
			if g.Output != output.AsTable {
				return g.Output.Document(cmd.OutOrStdout(), rows)
			}
			t := output.NewTable(cmd.OutOrStdout(), "NODE", "STATE", "SINCE", "ADDRESSES", "SUBNETS", "BACKEND",
				"BEHIND", "DIFFERS", "PROBLEMS")
			for _, r := range rows {
				t.Add(r.Node, r.State, output.Moment(r.Since), output.List(r.Addresses), output.List(r.Subnets),
					r.Backend, output.Decimal(r.Behind), output.Decimal(r.Differs), strings.Join(r.Problems, "; "))
			}
			return t.Flush()
		},
	}
}

// announced are the agents that keep their leases.
func announced(ctx context.Context, client *clientv3.Client, prefix string) (map[string]ipam.Announcement, error) {
	response, err := client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("read the leases of nodes: %w", err)
	}
	all := map[string]ipam.Announcement{}
	for _, kv := range response.Kvs {
		name := strings.TrimPrefix(string(kv.Key), prefix)
		a, err := ipam.AnnouncementOf(name, kv.Value)
		if err != nil {
			a = ipam.Announcement{Node: name, Problems: []string{err.Error()}}
		}
		all[name] = a
	}
	return all, nil
}

// nodeRows joins what the log says of nodes with what their agents say.
func nodeRows(view *projections.View, alive map[string]ipam.Announcement) []nodeRow {
	head := view.Position().Head.Seq
	rows := []nodeRow{}
	seen := map[string]bool{}
	for n := range view.Nodes() {
		seen[n.Name] = true
		r := nodeRow{Node: n.Name, State: "alive", Since: n.Time(), Addresses: n.Addresses, Subnets: n.Subnets}
		switch {
		case !n.Alive():
			r.State, r.Since = "lost", n.LostAt()
		case len(n.Subnets) == 0 && len(view.Overlay().Networks) > 0:
			r.State = "waiting"
		}
		rows = append(rows, r.with(alive, head))
	}
	for name, a := range alive {
		if !seen[name] {
			rows = append(rows, nodeRow{Node: name, State: "unknown", Addresses: a.Addresses}.with(alive, head))
		}
	}
	slices.SortFunc(rows, func(a, b nodeRow) int { return cmp.Compare(a.Node, b.Node) })
	return rows
}

func (r nodeRow) with(alive map[string]ipam.Announcement, head uint64) nodeRow {
	a, ok := alive[r.Node]
	if !ok {
		return r
	}
	r.Lease, r.Backend, r.Position, r.Differs, r.Problems = true, a.Backend, a.Position, a.Differs, a.Problems
	r.Behind = head - min(a.Position, head)
	for _, addr := range a.Addresses {
		if r.State == "alive" && !slices.Contains(r.Addresses, addr) {
			r.Problems = append(slices.Clone(r.Problems),
				fmt.Sprintf("it announces %s, which is not in force: see the Events of the Node", addr))
		}
	}
	return r
}

// localStatus is what is asked of the agent of this node.
type localStatus struct {
	Ready   string   `json:"ready"` // why the node takes no pod
	Wanted  []string `json:"wanted"`
	Differs []string `json:"differs"`
	Routes  struct {
		Position uint64   `json:"position"`
		Problems []string `json:"problems"`
	} `json:"routes"`
}

// problems are what is not as it should be, a line each.
func (s localStatus) problems() []string {
	found := slices.Concat(s.Differs, s.Routes.Problems)
	if s.Ready != "" {
		found = append(found, s.Ready)
	}
	return found
}

// newNodeAlive is for the liveness probe: a node that is not as it should be is no reason to kill its agent, one that
// does not answer is.
func newAlive() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:     "alive",
		Short:   "Tell whether this node's agent answers, whatever it says",
		Long:    `Ask this node's agent over its socket. The exit code is 1 if nobody answers; whether all is well, "diff" tells.`,
		Example: "  galaxyctl node alive",
		Args:    command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			response, err := request(cmd.Context(), socket)
			if err != nil {
				return err
			}
			return response.Body.Close()
		},
	}
	cmd.Flags().StringVar(&socket, "socket", wire.Socket, "where the agent listens")
	return cmd
}

func askAgent(ctx context.Context, socket string) (s localStatus, err error) {
	response, err := request(ctx, socket)
	if err != nil {
		return s, err
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	if response.StatusCode != http.StatusOK {
		return s, fmt.Errorf("the agent at %s says %s", socket, response.Status)
	}
	return s, json.NewDecoder(response.Body).Decode(&s)
}

// request asks the agent for its status.
func request(ctx context.Context, socket string) (*http.Response, error) {
	client := http.Client{Timeout: 30 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/v1/status", nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no agent answers at %s: %w; run this on the node, as root, or name its socket with "+
			"--socket", socket, err)
	}
	return response, nil
}

func newRoutes(g *command.Globals) *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:     "routes",
		Short:   "Print the routes and tunnels that this node should have",
		Long:    `Print the routes and tunnels that this node should have, as its agent derives them from the log, and what stands in the way.`,
		Example: "  galaxyctl node routes\n  galaxyctl node routes --socket /var/run/galaxy/galaxy.sock",
		Args:    command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := askAgent(cmd.Context(), socket)
			if err != nil {
				return err
			}
			if g.Output != output.AsTable {
				return g.Output.Document(cmd.OutOrStdout(), s)
			}
			for _, line := range append(s.Wanted, s.Routes.Problems...) {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), line); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&socket, "socket", wire.Socket, "where the agent listens")
	return cmd
}

func newDiff(g *command.Globals) *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Print what differs between this node's kernel and the log",
		Long: `Compare the kernel of this node with the log, now, and print what would have to be written.
Nothing is changed. The exit code is 1 if anything differs or cannot be reached, or if the node takes no pods.`,
		Example: "  galaxyctl node diff",
		Args:    command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := askAgent(cmd.Context(), socket)
			if err != nil {
				return err
			}
			found := s.problems()
			switch {
			case g.Output != output.AsTable:
				err = g.Output.Document(cmd.OutOrStdout(), s)
			case len(found) > 0:
				_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.Join(found, "\n"))
			default:
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "nothing differs from the log's event %d\n", s.Routes.Position)
			}
			if err == nil && len(found) > 0 {
				err = fmt.Errorf("%d things are not as they should be", len(found))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&socket, "socket", wire.Socket, "where the agent listens")
	return cmd
}
