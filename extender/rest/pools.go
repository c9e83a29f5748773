package rest

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/allocator"
	"galaxy/extender/api"
	"galaxy/ipam"
	"galaxy/projections"
)

type poolInput struct {
	freshInput
	Name string `path:"name"`
}

func (rest *REST) registerPools(routes huma.API) {
	op := operation(routes, http.MethodGet, "/v1/pool", "listPools", "All pools that have a size")
	huma.Register(routes, op, func(context.Context, *freshInput) (*output[api.PoolsResponse], error) {
		response, view := api.PoolsResponse{Code: http.StatusOK, Pools: []api.PoolRow{}}, rest.Replica.View()
		for p := range view.Pools() {
			scope := view.Scope(ipam.Owner{Pool: p.Name})
			response.Pools = append(response.Pools, api.PoolRow{PoolFields: poolFields(p), Held: scope.Held,
				Used: scope.Used()})
		}
		return &output[api.PoolsResponse]{response}, nil
	})
	op = operation(routes, http.MethodGet, "/v1/pool/{name}", "getPool", "One pool")
	huma.Register(routes, op, func(_ context.Context, in *poolInput) (*output[api.PoolResponse], error) {
		view := rest.Replica.View()
		p := view.Pool(in.Name)
		if p == nil {
			return nil, notFound("pool %s", in.Name)
		}
		held := view.Scope(ipam.Owner{Pool: p.Name}).Held
		return &output[api.PoolResponse]{api.PoolResponse{Code: http.StatusOK, Pool: poolFields(p), Held: held}}, nil
	})
	op = operation(routes, http.MethodDelete, "/v1/pool/{name}", "deletePool",
		"Remove a pool's limit and give back what is reserved for it")
	huma.Register(routes, op, func(ctx context.Context, in *poolInput) (*output[api.PlainResponse], error) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		_, err := rest.Replica.Do(ctx, newCause(), allocator.DeletePool{Pool: in.Name})
		return &output[api.PlainResponse]{api.PlainResponse{Code: http.StatusOK}}, failureOf(err)
	})
	op = operation(routes, http.MethodPost, "/v1/pool", "sizePool", "Create a pool or change its size")
	huma.Register(routes, op, func(ctx context.Context, in *bodyInput) (*statusOutput[api.SizedResponse], error) {
		response, err := rest.sizePool(ctx, in.RawBody)
		return &statusOutput[api.SizedResponse]{response.Code, response}, failureOf(err)
	})
	describeBody[api.PoolFields](routes, op.Path, op.Method, "PoolFields")
	describeResponse(op, routes, "202", "There were too few free addresses to fill the pool")
}

func poolFields(p *projections.Pool) api.PoolFields {
	return api.PoolFields{Name: p.Name, Size: p.Size, PreAllocate: p.PreAllocate}
}

// sizePool is POST /v1/pool.
func (rest *REST) sizePool(ctx context.Context, body []byte) (api.SizedResponse, error) {
	var pool api.PoolFields
	if err := readJSON(body, &pool); err != nil {
		return api.SizedResponse{}, err
	}
	if pool.Name == "" {
		return api.SizedResponse{}, badRequest("name is missing")
	}
	if err := ipam.CheckName(pool.Name); err != nil {
		return api.SizedResponse{}, badRequest("%v", err)
	}
	if pool.Size < 0 || pool.Size > maxPoolSize {
		return api.SizedResponse{}, badRequest("size %d is out of range; want 0 to %d", pool.Size, maxPoolSize)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	result, err := rest.Replica.Do(ctx, newCause(),
		allocator.SizePool{Pool: pool.Name, Size: pool.Size, PreAllocate: pool.PreAllocate})
	if err != nil {
		return api.SizedResponse{}, err
	}
	response := api.SizedResponse{Code: http.StatusOK}
	if pool.PreAllocate {
		response.RealPoolSize = &result.Held
		if result.Held < pool.Size {
			response.Code = http.StatusAccepted
			response.Message = fmt.Sprintf("no more free addresses: the pool holds %d of %d", result.Held, pool.Size)
		}
	}
	return response, nil
}
