package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"

	"galaxy/allocator"
	"galaxy/extender/api"
	"galaxy/ipam"
)

// releasers is how many releases wait for the log at a time; they share transactions.
const releasers = 64

func (rest *REST) registerRelease(routes huma.API) {
	op := operation(routes, http.MethodPost, "/v1/ip", "releaseAddresses", "Give addresses back whose pods are gone")
	huma.Register(routes, op, func(ctx context.Context, in *bodyInput) (*statusOutput[api.ReleaseResponse], error) {
		response, err := rest.release(ctx, in.RawBody)
		return &statusOutput[api.ReleaseResponse]{response.Code, response}, failureOf(err)
	})
	describeBody[api.ReleaseBody](routes, op.Path, op.Method, "ReleaseBody")
	describeResponse(op, routes, "202", "Some addresses were not released")
}

// release is POST /v1/ip. Nothing is done unless every address can be read.
func (rest *REST) release(ctx context.Context, body []byte) (api.ReleaseResponse, error) {
	var asked api.ReleaseBody
	if err := readJSON(body, &asked); err != nil {
		return api.ReleaseResponse{}, err
	}
	if len(asked.IPs) > maxReleased {
		return api.ReleaseResponse{}, badRequest("%d addresses in one request; at most %d", len(asked.IPs), maxReleased)
	}
	addrs := make([]netip.Addr, len(asked.IPs))
	for i, item := range asked.IPs {
		addr, err := ipam.ParseAddr(item.IP)
		if err != nil {
			return api.ReleaseResponse{}, badRequest("ips[%d].ip: %v", i, err)
		}
		addrs[i] = addr
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	errs := rest.releaseAll(ctx, asked, addrs)
	response := api.ReleaseResponse{Code: http.StatusOK}
	for i, err := range errs {
		if errors.Is(err, allocator.ErrNotLeader) {
			return api.ReleaseResponse{}, err
		}
		if err != nil {
			response.Unreleased = append(response.Unreleased, asked.IPs[i].IP)
			response.Reasons = append(response.Reasons, err.Error())
		}
	}
	if failed := len(response.Unreleased); failed > 0 {
		response.Code = http.StatusAccepted
		response.Message = fmt.Sprintf("released %d addresses, %d were not released", len(errs)-failed, failed)
	}
	return response, nil
}

// releaseAll releases many at a time, so that they land in few transactions. The response is in the order of the items.
func (rest *REST) releaseAll(ctx context.Context, asked api.ReleaseBody, addrs []netip.Addr) []error {
	errs := make([]error, len(addrs))
	cause, rows := newCause(), rest.reader()
	var group errgroup.Group
	group.SetLimit(releasers)
	for i, addr := range addrs {
		group.Go(func() error {
			errs[i] = rest.releaseOne(ctx, cause, rows, asked.IPs[i].OwnerFields, addr, asked.Force)
			return nil // each item has its own
		})
	}
	_ = group.Wait()
	return errs
}

func (rest *REST) releaseOne(ctx context.Context, cause string, rows reader, named api.OwnerFields, addr netip.Addr,
	force bool) error {
	held := rows.view.Address(addr)
	if held == nil {
		// It looks free. The log is asked all the same: what is acknowledged must be so, and another may lead by now.
		_, err := rest.Replica.Do(ctx, cause, allocator.Release{Address: addr})
		var holder *allocator.HolderError
		if !errors.As(err, &holder) {
			return err
		}
		if rows = rest.reader(); rows.view.Address(addr) == nil {
			return err // it was given to somebody just now, and not even the news of that is here
		}
		return rest.releaseOne(ctx, cause, rows, named, addr, force)
	}
	if !means(named, held.Owner) {
		return &allocator.HolderError{Address: addr, Holder: held.Owner}
	}
	if status, releasable := rows.status(held); !releasable &&
		!(force && status == statusUnknown && !rows.cluster.KnowsPods()) {
		return notReleasable(held.Owner, status, rows.cluster.KnowsPods())
	}
	_, err := rest.Replica.Do(ctx, cause, allocator.Release{Address: addr, Owner: held.Owner,
		Reason: "released by an administrator"})
	return err
}

func notReleasable(owner ipam.Owner, status string, known bool) error {
	if known {
		return fmt.Errorf("%s is there, %s; delete the pod first", owner.Describe(), status)
	}
	return fmt.Errorf("nobody knows whether %s runs; "+
		`send "force": true (galaxyctl: --force) to release its address all the same`, owner.Describe())
}
