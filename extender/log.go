package extender

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/eventlog"
)

// LogPage is a page of the log.
type LogPage struct {
	Events []json.RawMessage `json:"events" doc:"As they are stored, byte for byte"`
	Head   uint64            `json:"head" doc:"Sequence number of the newest event"`
}

// StateAnswer is where the replica stands.
type StateAnswer struct {
	Generation string        `json:"generation" doc:"Of the log; new after every restore"`
	Seq        uint64        `json:"seq" doc:"The newest event that this replica has folded"`
	Hash       string        `json:"hash" doc:"Of that event"`
	Time       time.Time     `json:"time" doc:"Of that event"`
	Leading    bool          `json:"leading"`
	Ready      bool          `json:"ready"`
	Waits      string        `json:"waits,omitempty" doc:"Why whoever asks this replica is not served"`
	Digest     string        `json:"digest,omitempty" doc:"Of the whole state; equal on all replicas at one seq"`
	Source     string        `json:"source" doc:"Where the configuration of subnets came from"`
	Subnets    []SubnetUsage `json:"subnets"`
	Draining   int           `json:"draining" doc:"Held addresses that are no longer configured"`
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

func (rest *REST) registerLog(api huma.API) {
	op := operation(api, http.MethodGet, "/v1/log", "readLog", "Events as they are stored")
	huma.Register(api, op, func(ctx context.Context, in *struct {
		After string `query:"after" doc:"Sequence number of the event before the first one wanted; default 0"`
		Limit string `query:"limit" doc:"Default 100, at most 1000"`
	}) (*output[LogPage], error) {
		ctx, cancel := context.WithTimeout(ctx, restTimeout)
		defer cancel()
		page, err := rest.readLog(ctx, in.After, in.Limit)
		return &output[LogPage]{page}, failureOf(err)
	})
	op = operation(api, http.MethodGet, "/v1/state", "getState", "Where this replica stands, and how full the subnets are")
	huma.Register(api, op, func(_ context.Context, in *struct {
		Digest bool `query:"digest" doc:"Compute the digest of the whole state"`
	}) (*output[StateAnswer], error) {
		return &output[StateAnswer]{rest.state(in.Digest)}, nil
	})
}

// readLog is GET /v1/log.
func (rest *REST) readLog(ctx context.Context, afterText, limitText string) (LogPage, error) {
	after, limit := numberOr(afterText, 0, 0), numberOr(limitText, 1, defaultLogPage)
	if limit > maxLogPage {
		return LogPage{}, badRequest("limit %s is above %d", limitText, maxLogPage)
	}
	head, err := rest.Events.Head(ctx, eventlog.StreamIPAM)
	if err != nil {
		return LogPage{}, fmt.Errorf("read the head of the log: %w", err)
	}
	page := LogPage{Events: []json.RawMessage{}, Head: head.Seq}
	if after >= head.Seq {
		return page, nil
	}
	for records, err := range rest.Events.Read(ctx, eventlog.StreamIPAM, after, min(after+limit, head.Seq)) {
		if err != nil {
			return LogPage{}, fmt.Errorf("read the log after %d: %w", after, err)
		}
		for _, r := range records {
			page.Events = append(page.Events, r.Bytes)
		}
	}
	return page, nil
}

// state is GET /v1/state.
func (rest *REST) state(digest bool) StateAnswer {
	view, env := rest.Replica.View(), rest.Replica.Env()
	position := view.Position()
	answer := StateAnswer{
		Generation: position.Head.Generation, Seq: position.Head.Seq, Hash: position.Head.Hash.String(), Time: position.Time,
		Leading: rest.Replica.Leading(), Ready: rest.Replica.Unready() == "", Waits: rest.Replica.Unready(), Source: view.Config().Source, Subnets: []SubnetUsage{},
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
