package rest

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/extender"
	"galaxy/extender/api"
	"galaxy/ipam"
	"galaxy/projections"
)

type output[T any] struct{ Body T }

type statusOutput[T any] struct {
	Status int
	Body   T
}

func (rest *REST) registerAddresses(routes huma.API) {
	op := operation(routes, http.MethodGet, "/v1/ip", "listAddresses",
		"Addresses, held and free; only held ones when a field is given")
	huma.Register(routes, op, func(_ context.Context, in *listInput) (*output[api.AddressPage], error) {
		page, err := rest.list(in)
		return &output[api.AddressPage]{page}, err
	})
	rest.registerRelease(routes)
	op = operation(routes, http.MethodGet, "/v1/ip/{ip}", "getAddress", "One address, now or at a point of the past")
	huma.Register(routes, op, func(ctx context.Context, in *struct {
		freshInput
		IP string `path:"ip"`
		At string `query:"at" doc:"An RFC 3339 time, or the sequence number of an event: the state after it"`
	}) (*output[api.AddressRow], error) {
		row, err := rest.one(ctx, in.IP, in.At)
		return &output[api.AddressRow]{row}, failureOf(err)
	})
	op = operation(routes, http.MethodPut, "/v1/ip/{ip}", "reserveAddress",
		"Keep a free address for an app, a pool or a pod")
	huma.Register(routes, op, func(ctx context.Context, in *struct {
		bodyInput
		IP string `path:"ip"`
	}) (*output[api.AddressResponse], error) {
		row, err := rest.reserve(ctx, in.IP, in.RawBody)
		return &output[api.AddressResponse]{api.AddressResponse{Code: http.StatusOK, Content: row}}, failureOf(err)
	})
	describeBody[api.ReserveBody](routes, op.Path, op.Method, "ReserveBody")
	rest.registerHistory(routes)
}

// list is GET /v1/ip.
func (rest *REST) list(in *listInput) (api.AddressPage, error) {
	paging, err := in.paging()
	if err != nil {
		return api.AddressPage{}, err
	}
	rows := rest.reader()
	list, err := in.list(rows)
	if err != nil {
		return api.AddressPage{}, err
	}
	total := list.len()
	start := min(paging.page*paging.size, total)
	end := min(start+paging.size, total)
	page := api.AddressPage{
		Last: end >= total, TotalElements: int64(min(total, math.MaxInt64)),
		TotalPages: int64(pages(total, paging.size)),
		First:      start == 0, NumberOfElements: int(end - start), Size: int(paging.size),
		Number: int(start / paging.size),
	}
	for i := start; i < end; i++ {
		page.Content = append(page.Content, rows.row(list.at(i)))
	}
	return page, nil
}

func pages(total, size uint64) uint64 {
	n := total / size
	if total%size != 0 {
		n++
	}
	return n
}

func parseIP(text string) (netip.Addr, error) {
	addr, err := ipam.ParseAddr(text)
	if err != nil {
		return addr, badRequest("%v", err)
	}
	return addr, nil
}

// one is GET /v1/ip/{ip}.
func (rest *REST) one(ctx context.Context, text, at string) (api.AddressRow, error) {
	addr, err := parseIP(text)
	if err != nil {
		return api.AddressRow{}, err
	}
	rows := rest.reader()
	if at != "" {
		if rows, err = rest.readerAt(ctx, at); err != nil {
			return api.AddressRow{}, err
		}
	}
	row := rows.row(addr)
	if row.Subnet == "" && row.State == "free" {
		return row, notFound("%s is in no configured subnet, and nobody holds it", addr)
	}
	return row, nil
}

// readerAt reads the past, where nothing is known of the cluster.
func (rest *REST) readerAt(ctx context.Context, at string) (reader, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	until, err := rest.parsePoint(ctx, at)
	if err != nil {
		return reader{}, err
	}
	view, err := rest.asOf(ctx, until)
	if err != nil {
		return reader{}, err
	}
	now := until.Time
	if now.IsZero() {
		now = view.Position().Time
	}
	return reader{view: view, cluster: extender.NoCluster, now: now, delay: rest.Replica.Env().Rules.ReuseDelay}, nil
}

func (rest *REST) parsePoint(ctx context.Context, at string) (projections.Until, error) {
	if moment, err := time.Parse(time.RFC3339, at); err == nil {
		if moment.IsZero() {
			return projections.Until{}, notFound("nothing was written before %s", at) // the zero time is no bound
		}
		return projections.Until{Time: moment}, nil
	}
	seq, err := strconv.ParseUint(at, 10, 64)
	if err != nil || seq == 0 {
		return projections.Until{}, badRequest("at: %q is neither an RFC 3339 time such as 2026-11-23T09:00:00Z nor "+
			"the sequence number of an event", at)
	}
	head, err := rest.Events.Head(ctx, eventlog.StreamIPAM)
	if err != nil {
		return projections.Until{}, fmt.Errorf("read the head of the log: %w", err)
	}
	if seq > head.Seq {
		return projections.Until{}, notFound("event %d is not written yet; the newest is %d", seq, head.Seq)
	}
	return projections.Until{Seq: seq}, nil
}

// reserve is PUT /v1/ip/{ip}.
func (rest *REST) reserve(ctx context.Context, text string, body []byte) (api.AddressRow, error) {
	addr, err := parseIP(text)
	if err != nil {
		return api.AddressRow{}, err
	}
	var asked api.ReserveBody
	if err := readJSON(body, &asked); err != nil {
		return api.AddressRow{}, err
	}
	owner := ownerNamed(asked.OwnerFields)
	if owner.IsZero() {
		return api.AddressRow{}, badRequest("nobody to reserve %s for; name a poolName, an appName, or a podName", addr)
	}
	if err := owner.Check(); err != nil {
		return api.AddressRow{}, badRequest("%v", err)
	}
	if err := ipam.CheckReason(asked.Reason); err != nil {
		return api.AddressRow{}, badRequest("%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	reason := nonEmpty(asked.Reason, "reserved by an administrator")
	if _, err := rest.Replica.Do(ctx, newCause(),
		allocator.Reserve{Address: addr, Owner: owner, Reason: reason}); err != nil {
		return api.AddressRow{}, err
	}
	return rest.reader().row(addr), nil
}
