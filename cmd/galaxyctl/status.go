package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// replicaStatus is how a replica of galaxy-ipam is, as its REST interface shows it.
type replicaStatus struct {
	Identity string `json:"identity"`
	Version  string `json:"version"`
	Leading  bool   `json:"leading"`
	Leader   struct {
		Scheduler string `json:"scheduler"`
		REST      string `json:"rest"`
	} `json:"leader"`
	NoLeader   string         `json:"noLeader,omitempty"`
	Unready    string         `json:"unready,omitempty"`
	Generation string         `json:"generation"`
	Position   uint64         `json:"position"`
	Subnets    []subnetStatus `json:"subnets"`
	Draining   int            `json:"draining"`
	FullPools  []string       `json:"fullPools"`
	Waits      []string       `json:"waits"`
}

type subnetStatus struct {
	Subnet  string `json:"subnet"`
	Gateway string `json:"gateway"`
	Total   uint64 `json:"total"`
	Held    uint64 `json:"held"`
	Cooling uint64 `json:"cooling"`
	Free    uint64 `json:"free"`
	Low     bool   `json:"low"`
}

// errNotWell is the exit code 1 of a status that was printed.
var errNotWell = errors.New("not all is well: see above")

func newStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "One page: who leads, what is held back and why, and which subnets are nearly dry",
		Long: `Ask the galaxy-ipam at --server how it is: whether it serves and if not why, who leads, how far it has followed the log, how
many addresses each subnet has left, and what waits for a person. Through a Service, each call may ask another replica.

The exit code is 1 if the replica does not serve, nobody leads, or something waits for a person.`,
		Example: `  galaxyctl status
  galaxyctl status --server http://10.0.0.5:9041 -o json`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := g.dial()
			if err != nil {
				return err
			}
			var s replicaStatus
			if _, err := server.ask(cmd.Context(), http.MethodGet, "/v1/status", nil, nil, &s); err != nil {
				return err
			}
			if g.output != formatTable {
				err = g.output.document(cmd.OutOrStdout(), s)
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

func (s replicaStatus) well() bool { return s.Unready == "" && s.NoLeader == "" && len(s.Waits) == 0 }

func (s replicaStatus) print(out io.Writer) error {
	ready, leader := "yes", s.Leader.REST
	if s.Unready != "" {
		ready = "no: " + s.Unready
	}
	switch {
	case s.NoLeader != "":
		leader = "nobody: " + s.NoLeader
	case s.Leading:
		leader = strings.TrimSpace(leader + " (this replica)")
	}
	err := pairs(out, "replica", s.Identity, "release", s.Version, "serves", ready, "leader", leader, "log", fmt.Sprintf("event %d of generation %s", s.Position, s.Generation))
	if err != nil {
		return err
	}
	if len(s.Subnets) > 0 {
		t := newTable(out, "SUBNET", "GATEWAY", "TOTAL", "HELD", "COOLING", "FREE", "NOTE")
		for _, n := range s.Subnets {
			note := ""
			if n.Low {
				note = "nearly dry"
			}
			t.add(n.Subnet, n.Gateway, decimal(n.Total), decimal(n.Held), decimal(n.Cooling), decimal(n.Free), note)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	draining := ""
	if s.Draining > 0 {
		draining = fmt.Sprintf("%d addresses, held and no longer configured: galaxyctl ip list shows whose", s.Draining)
	}
	if err := pairs(out, "draining", draining, "full pools", strings.Join(s.FullPools, ", ")); err != nil {
		return err
	}
	for _, w := range s.Waits {
		if _, err := fmt.Fprintf(out, "waits for you: %s\n", w); err != nil {
			return err
		}
	}
	return nil
}
