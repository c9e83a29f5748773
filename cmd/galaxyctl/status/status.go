// Package status is the command status of galaxyctl: it says how galaxy-ipam is.
package status

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/extender/api"
)

// replicaStatus is what is printed of an api.StateResponse, in this order.
type replicaStatus struct {
	Identity   string          `json:"identity"`
	Version    string          `json:"version"`
	Leading    bool            `json:"leading"`
	Leader     api.LeaderAt    `json:"leader"`
	NoLeader   string          `json:"noLeader,omitempty"`
	Waits      string          `json:"waits,omitempty"` // why whoever asks this replica is not served
	Generation string          `json:"generation"`
	Seq        uint64          `json:"seq"`
	Replicas   []api.ReplicaAt `json:"replicas"`
	Subnets    []subnetStatus  `json:"subnets"`
	Draining   int             `json:"draining"`
	FullPools  []string        `json:"fullPools"`
	Todo       []string        `json:"todo"`
}

// subnetStatus is what is printed of an api.SubnetUsage.
type subnetStatus struct {
	Subnet  string `json:"subnet"`
	Gateway string `json:"gateway"`
	Total   uint64 `json:"total"`
	Held    uint64 `json:"held"`
	Cooling uint64 `json:"cooling"`
	Free    uint64 `json:"free"`
}

// low is true for a subnet of which less than a tenth is free.
func (s subnetStatus) low() bool { return s.Total > 0 && s.Free < (s.Total+9)/10 }

// errNotWell is the exit code 1 of a status that was printed.
var errNotWell = errors.New("not all is well: see above")

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "One page: who leads, what is held back and why, and which subnets are nearly dry",
		Long: `Ask the galaxy-ipam at --server how it is: whether it serves and if not why, who leads, how far
all replicas have followed the log, how many addresses each subnet has left, and what waits for a person.
Through a Service, each call may ask another replica.

The exit code is 1 if the replica does not serve, nobody leads, or something waits for a person.`,
		Example: `  galaxyctl status
  galaxyctl status --server http://10.0.0.5:9041 -o json`,
		Args: command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := g.Dial()
			if err != nil {
				return err
			}
			var s replicaStatus
			if _, err := server.Ask(cmd.Context(), http.MethodGet, "/v1/state", nil, nil, &s); err != nil {
				return err
			}
			if g.Output != output.AsTable {
				err = g.Output.Document(cmd.OutOrStdout(), s)
			} else {
				err = s.print(cmd.OutOrStdout())
			}
			if err == nil && !s.well() {
				err = errNotWell
			}
			return err
		},
	}
}

func (s replicaStatus) well() bool { return s.Waits == "" && s.NoLeader == "" && len(s.Todo) == 0 }

func (s replicaStatus) print(out io.Writer) error {
	ready, leader := "yes", s.Leader.REST
	if s.Waits != "" {
		ready = "no: " + s.Waits
	}
	switch {
	case s.NoLeader != "":
		leader = "nobody: " + s.NoLeader
	case s.Leading:
		leader = strings.TrimSpace(leader + " (this replica)")
	}
	err := output.Pairs(out, "replica", s.Identity, "release", s.Version, "serves", ready, "leader", leader, "log",
		fmt.Sprintf("event %d of generation %s", s.Seq, s.Generation))
	if err != nil {
		return err
	}
	if len(s.Replicas) > 1 {
		t := output.NewTable(out, "REPLICA", "EVENT")
		for _, r := range s.Replicas {
			t.Add(r.Identity, output.Decimal(r.Seq))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if len(s.Subnets) > 0 {
		t := output.NewTable(out, "SUBNET", "GATEWAY", "TOTAL", "HELD", "COOLING", "FREE", "NOTE")
		for _, n := range s.Subnets {
			note := ""
			if n.low() {
				note = "nearly dry"
			}
			t.Add(n.Subnet, n.Gateway, output.Decimal(n.Total), output.Decimal(n.Held), output.Decimal(n.Cooling),
				output.Decimal(n.Free), note)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	draining := ""
	if s.Draining > 0 {
		draining = fmt.Sprintf("%d addresses, held and no longer configured: galaxyctl ip list shows whose", s.Draining)
	}
	if err := output.Pairs(out, "draining", draining, "full pools", strings.Join(s.FullPools, ", ")); err != nil {
		return err
	}
	for _, w := range s.Todo {
		if _, err := fmt.Fprintf(out, "waits for you: %s\n", w); err != nil {
			return err
		}
	}
	return nil
}
