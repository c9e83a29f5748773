package extender

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/ipam"
)

// StateAnswer is where a replica stands, and what it knows of the others.
type StateAnswer struct {
	Generation string        `json:"generation" doc:"Of the log; new after every restore"`
	Seq        uint64        `json:"seq" doc:"The newest event that this replica has folded"`
	Hash       string        `json:"hash" doc:"Of that event"`
	Time       time.Time     `json:"time" doc:"Of that event"`
	Identity   string        `json:"identity" doc:"This replica"`
	Version    string        `json:"version"`
	Leading    bool          `json:"leading"`
	Leader     LeaderAt      `json:"leader" doc:"Where the replica that leads is reached; empty if nobody leads, or there is no election"`
	NoLeader   string        `json:"noLeader,omitempty" doc:"Why it is not known who leads"`
	Replicas   []ReplicaAt   `json:"replicas" doc:"Those that live, and how far each has followed the log, as of half a minute ago at most"`
	Ready      bool          `json:"ready"`
	Waits      string        `json:"waits,omitempty" doc:"Why whoever asks this replica is not served"`
	Digest     string        `json:"digest,omitempty" doc:"Of the whole state; equal on all replicas at one seq"`
	Source     string        `json:"source" doc:"Where the configuration of subnets came from"`
	Subnets    []SubnetUsage `json:"subnets"`
	Draining   int           `json:"draining" doc:"Held addresses that are no longer configured"`
	FullPools  []string      `json:"fullPools" doc:"Pools that hold as many addresses as they may"`
	Todo       []string      `json:"todo" doc:"What a person has to do before all goes on"`
}

// SubnetUsage counts the addresses of a subnet: total = held + cooling + free.
type SubnetUsage struct {
	Subnet       string   `json:"subnet"`
	NodeNetworks []string `json:"nodeNetworks"`
	Gateway      string   `json:"gateway"`
	VLAN         uint16   `json:"vlan"`
	Total        uint64   `json:"total"`
	Held         uint64   `json:"held"`
	Cooling      uint64   `json:"cooling"`
	Free         uint64   `json:"free"`
}

// ReplicaAt is how far a replica has followed the log.
type ReplicaAt struct {
	Identity string `json:"identity"`
	Seq      uint64 `json:"seq"`
}

// LeaderAt is where the replica that leads is reached.
type LeaderAt struct {
	Scheduler string `json:"scheduler"`
	REST      string `json:"rest"`
}

// leaderTimeout bounds how long it may take to find out who leads.
const leaderTimeout = 3 * time.Second

func (rest *REST) registerState(api huma.API) {
	op := operation(api, http.MethodGet, "/v1/state", "getState", "Where this replica stands, who leads, how full the subnets are, and what waits for a person")
	huma.Register(api, op, func(ctx context.Context, in *struct {
		freshInput
		Digest bool `query:"digest" doc:"Compute the digest of the whole state"`
	}) (*output[StateAnswer], error) {
		return &output[StateAnswer]{rest.state(ctx, in.Digest)}, nil
	})
}

// state is GET /v1/state.
func (rest *REST) state(ctx context.Context, digest bool) StateAnswer {
	view, env := rest.Replica.View(), rest.Replica.Env()
	position := view.Position()
	answer := StateAnswer{
		Generation: position.Head.Generation, Seq: position.Head.Seq, Hash: position.Head.Hash.String(), Time: position.Time,
		Leading: rest.Replica.Leading(), Ready: rest.Replica.Unready() == "", Waits: rest.Replica.Unready(), Source: view.Config().Source, Subnets: []SubnetUsage{},
		Identity: rest.Identity, Version: rest.Version, FullPools: []string{}, Todo: []string{}, Replicas: []ReplicaAt{},
	}
	if rest.Replicas != nil {
		answer.Replicas = append(answer.Replicas, rest.Replicas()...)
	}
	rest.addLeader(ctx, &answer)
	if rest.Todo != nil {
		answer.Todo = append(answer.Todo, rest.Todo()...)
	}
	for p := range view.Pools() {
		if view.Share(ipam.Owner{Pool: p.Name}).Held >= p.Size {
			answer.FullPools = append(answer.FullPools, p.Name)
		}
	}
	if digest {
		answer.Digest = view.Digest()
	}
	for range view.Draining() {
		answer.Draining++
	}
	for i, s := range view.Config().Subnets {
		u := view.Usage(i, env.Now, env.Rules.ReuseDelay)
		usage := SubnetUsage{
			Subnet: s.Prefix.String(), Gateway: s.Gateway.String(), VLAN: s.VLAN,
			Total: u.Total, Held: u.Held, Cooling: u.Cooling, Free: u.Free,
		}
		for _, network := range s.NodeNetworks {
			usage.NodeNetworks = append(usage.NodeNetworks, network.String())
		}
		answer.Subnets = append(answer.Subnets, usage)
	}
	return answer
}

func (rest *REST) addLeader(ctx context.Context, answer *StateAnswer) {
	if rest.Forward == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	leader, err := rest.Forward.Leader(ctx)
	if answer.Leader = LeaderAt(leader); err != nil {
		answer.NoLeader = err.Error()
	}
}
