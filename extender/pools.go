package extender

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/projections"
)

// PoolFields are a pool as the contract writes it.
type PoolFields struct {
	Name        string `json:"name"`
	Size        int    `json:"size" doc:"How many addresses the pool may hold" minimum:"0" maximum:"1000000"`
	PreAllocate bool   `json:"preAllocateIP" doc:"Reserve addresses until the pool holds size"`
}

// PoolAnswer is the answer to GET /v1/pool/{name}.
type PoolAnswer struct {
	Code    int        `json:"code"`
	Message string     `json:"message"`
	Pool    PoolFields `json:"pool"`
	Held    int        `json:"held" doc:"Addresses that the pool holds now"`
}

// PoolsAnswer is the answer to GET /v1/pool.
type PoolsAnswer struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Pools   []PoolRow `json:"pools"`
}

// PoolRow is a pool and what it holds.
type PoolRow struct {
	PoolFields
	Held int `json:"held" doc:"Addresses that the pool holds now, those that wait for a pod included"`
	Used int `json:"used" doc:"Addresses that pods use"`
}

// SizedAnswer is the answer to POST /v1/pool.
type SizedAnswer struct {
	Code         int    `json:"code"`
	Message      string `json:"message"`
	RealPoolSize *int   `json:"realPoolSize,omitempty" doc:"With preAllocateIP: the addresses that the pool holds now"`
}

// PlainAnswer says that something was done.
type PlainAnswer struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type poolInput struct {
	freshInput
	Name string `path:"name"`
}

func (rest *REST) registerPools(api huma.API) {
	op := operation(api, http.MethodGet, "/v1/pool", "listPools", "All pools that have a size")
	huma.Register(api, op, func(context.Context, *freshInput) (*output[PoolsAnswer], error) {
		answer, view := PoolsAnswer{Code: http.StatusOK, Pools: []PoolRow{}}, rest.Replica.View()
		for p := range view.Pools() {
			share := view.Share(ipam.Owner{Pool: p.Name})
			answer.Pools = append(answer.Pools, PoolRow{poolFields(p), share.Held, share.Used()})
		}
		return &output[PoolsAnswer]{answer}, nil
	})
	op = operation(api, http.MethodGet, "/v1/pool/{name}", "getPool", "One pool")
	huma.Register(api, op, func(_ context.Context, in *poolInput) (*output[PoolAnswer], error) {
		view := rest.Replica.View()
		p := view.Pool(in.Name)
		if p == nil {
			return nil, notFound("pool %s", in.Name)
		}
		held := view.Share(ipam.Owner{Pool: p.Name}).Held
		return &output[PoolAnswer]{PoolAnswer{Code: http.StatusOK, Pool: poolFields(p), Held: held}}, nil
	})
	op = operation(api, http.MethodDelete, "/v1/pool/{name}", "deletePool", "Remove a pool's limit and give back what is reserved for it")
	huma.Register(api, op, func(ctx context.Context, in *poolInput) (*output[PlainAnswer], error) {
		ctx, cancel := context.WithTimeout(ctx, restTimeout)
		defer cancel()
		_, err := rest.Replica.Do(ctx, newCause(), allocator.DeletePool{Pool: in.Name})
		return &output[PlainAnswer]{PlainAnswer{Code: http.StatusOK}}, failureOf(err)
	})
	op = operation(api, http.MethodPost, "/v1/pool", "sizePool", "Create a pool or change its size")
	huma.Register(api, op, func(ctx context.Context, in *bodyInput) (*statusOutput[SizedAnswer], error) {
		answer, err := rest.sizePool(ctx, in.RawBody)
		return &statusOutput[SizedAnswer]{answer.Code, answer}, failureOf(err)
	})
	describeBody[PoolFields](api, op.Path, op.Method, "PoolFields")
	describeResponse(op, api, "202", "There were too few free addresses to fill the pool")
}

func poolFields(p *projections.Pool) PoolFields {
	return PoolFields{Name: p.Name, Size: p.Size, PreAllocate: p.PreAllocate}
}

// sizePool is POST /v1/pool.
func (rest *REST) sizePool(ctx context.Context, body []byte) (SizedAnswer, error) {
	var pool PoolFields
	if err := readJSON(body, &pool); err != nil {
		return SizedAnswer{}, err
	}
	if pool.Name == "" {
		return SizedAnswer{}, badRequest("name is missing")
	}
	if err := checkNames(pool.Name); err != nil {
		return SizedAnswer{}, err
	}
	if pool.Size < 0 || pool.Size > maxPoolSize {
		return SizedAnswer{}, badRequest("size %d is out of range; want 0 to %d", pool.Size, maxPoolSize)
	}
	ctx, cancel := context.WithTimeout(ctx, restTimeout)
	defer cancel()
	result, err := rest.Replica.Do(ctx, newCause(), allocator.SizePool{Pool: pool.Name, Size: pool.Size, PreAllocate: pool.PreAllocate})
	if err != nil {
		return SizedAnswer{}, err
	}
	answer := SizedAnswer{Code: http.StatusOK}
	if pool.PreAllocate {
		answer.RealPoolSize = &result.Held
		if result.Held < pool.Size {
			answer.Code = http.StatusAccepted
			answer.Message = fmt.Sprintf("no more free addresses: the pool holds %d of %d", result.Held, pool.Size)
		}
	}
	return answer, nil
}
