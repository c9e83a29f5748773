package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/extender/api"
	"galaxy/ipam"
)

// leaderTimeout bounds how long it may take to find out who leads.
const leaderTimeout = 3 * time.Second

func (rest *REST) registerState(routes huma.API) {
	op := operation(routes, http.MethodGet, "/v1/state", "getState",
		"Where this replica stands, who leads, how full the subnets are, and what waits for a person")
	huma.Register(routes, op, func(ctx context.Context, in *struct {
		freshInput
		Digest bool `query:"digest" doc:"Compute the digest of the whole state"`
	}) (*output[api.StateResponse], error) {
		return &output[api.StateResponse]{rest.state(ctx, in.Digest)}, nil
	})
}

// state is GET /v1/state.
func (rest *REST) state(ctx context.Context, digest bool) api.StateResponse {
	view, env := rest.Replica.View(), rest.Replica.Env()
	position := view.Position()
	response := api.StateResponse{
		Generation: position.Head.Generation, Seq: position.Head.Seq, Hash: position.Head.Hash.String(),
		Time:    position.Time,
		Leading: rest.Replica.Leading(), Ready: rest.Replica.Unready() == "", Waits: rest.Replica.Unready(),
		Source: view.Config().Source, Subnets: []api.SubnetUsage{},
		Identity: rest.Identity, Version: rest.Version, FullPools: []string{}, Todo: []string{},
		Replicas: []api.ReplicaAt{},
	}
	if rest.Replicas != nil {
		response.Replicas = append(response.Replicas, rest.Replicas()...)
	}
	rest.addLeader(ctx, &response)
	if rest.Todo != nil {
		response.Todo = append(response.Todo, rest.Todo()...)
	}
	for p := range view.Pools() {
		if view.Scope(ipam.Owner{Pool: p.Name}).Held >= p.Size {
			response.FullPools = append(response.FullPools, p.Name)
		}
	}
	if digest {
		response.Digest = view.Digest()
	}
	for range view.Draining() {
		response.Draining++
	}
	for i, s := range view.Config().Subnets {
		u := view.Usage(i, env.Now, env.Rules.ReuseDelay)
		usage := api.SubnetUsage{
			Subnet: s.Prefix.String(), Gateway: s.Gateway.String(), VLAN: s.VLAN,
			Total: u.Total, Held: u.Held, Cooling: u.Cooling, Free: u.Free,
		}
		for _, network := range s.NodeNetworks {
			usage.NodeNetworks = append(usage.NodeNetworks, network.String())
		}
		response.Subnets = append(response.Subnets, usage)
	}
	return response
}

func (rest *REST) addLeader(ctx context.Context, response *api.StateResponse) {
	if rest.Forward == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	leader, err := rest.Forward.Leader(ctx)
	if response.Leader = api.LeaderAt(leader); err != nil {
		response.NoLeader = err.Error()
	}
}
