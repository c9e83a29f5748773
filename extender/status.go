package extender

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/ipam"
)

// statusTimeout bounds how long it may take to find out who leads.
const statusTimeout = 3 * time.Second

// StatusAnswer is the answer to GET /v1/status: how this replica is, and what it knows of the log. No other replica is asked.
type StatusAnswer struct {
	Code    int    `json:"code"`
	Message string `json:"message"`

	Identity   string         `json:"identity" doc:"This replica"`
	Version    string         `json:"version"`
	Leading    bool           `json:"leading"`
	Leader     LeaderAt       `json:"leader" doc:"Where the replica that leads is reached; empty if nobody leads, or there is no election"`
	NoLeader   string         `json:"noLeader,omitempty" doc:"Why it is not known who leads"`
	Unready    string         `json:"unready,omitempty" doc:"Why this replica serves nobody well; absent when it does"`
	Generation string         `json:"generation" doc:"Of the log"`
	Position   uint64         `json:"position" doc:"The newest event that this replica has folded"`
	Subnets    []SubnetStatus `json:"subnets"`
	Draining   int            `json:"draining" doc:"Held addresses that are no longer configured"`
	FullPools  []string       `json:"fullPools" doc:"Pools that hold as many addresses as they may"`
	Waits      []string       `json:"waits" doc:"What waits for a person"`
}

// LeaderAt is where the replica that leads is reached.
type LeaderAt struct {
	Scheduler string `json:"scheduler"`
	REST      string `json:"rest"`
}

// SubnetStatus counts the addresses of a subnet.
type SubnetStatus struct {
	Subnet  string `json:"subnet"`
	Gateway string `json:"gateway"`
	Total   uint64 `json:"total"`
	Held    uint64 `json:"held"`
	Cooling uint64 `json:"cooling" doc:"Not held, but within the reuse delay"`
	Free    uint64 `json:"free"`
	Low     bool   `json:"low" doc:"Less than a tenth is neither held nor cooling"`
}

// lowShare is which part of a subnet must be free for it not to be low.
const lowShare = 10

func (rest *REST) registerStatus(api huma.API) {
	op := operation(api, http.MethodGet, "/v1/status", "getStatus", "How this replica is, who leads, and what waits for a person")
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*output[StatusAnswer], error) {
		ctx, cancel := context.WithTimeout(ctx, statusTimeout)
		defer cancel()
		return &output[StatusAnswer]{rest.status(ctx)}, nil
	})
}

func (rest *REST) status(ctx context.Context) StatusAnswer {
	view, env := rest.Replica.View(), rest.Replica.Env()
	s := StatusAnswer{
		Code: http.StatusOK, Identity: rest.Identity, Version: rest.Version, Leading: rest.Replica.Leading(), Unready: rest.Replica.Unready(),
		Generation: view.Position().Head.Generation, Position: view.Position().Head.Seq,
		Subnets: []SubnetStatus{}, FullPools: []string{}, Waits: []string{},
	}
	if rest.Forward != nil {
		leader, err := rest.Forward.Leader(ctx)
		if s.Leader = LeaderAt(leader); err != nil {
			s.NoLeader = err.Error()
		}
	}
	for i, subnet := range view.Config().Subnets {
		u := view.Usage(i, env.Now, env.Rules.ReuseDelay)
		s.Subnets = append(s.Subnets, SubnetStatus{
			Subnet: subnet.Prefix.String(), Gateway: subnet.Gateway.String(), Total: u.Total, Held: u.Held, Cooling: u.Cooling, Free: u.Free,
			Low: u.Total > 0 && u.Free < (u.Total+lowShare-1)/lowShare,
		})
	}
	for range view.Draining() {
		s.Draining++
	}
	for p := range view.Pools() {
		if view.Share(ipam.Owner{Pool: p.Name}).Held >= p.Size {
			s.FullPools = append(s.FullPools, p.Name)
		}
	}
	if rest.Waits != nil {
		s.Waits = append(s.Waits, rest.Waits()...)
	}
	return s
}
