package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/eventlog"
	"galaxy/extender/api"
)

func (rest *REST) registerLog(routes huma.API) {
	op := operation(routes, http.MethodGet, "/v1/log", "readLog", "Events as they are stored")
	huma.Register(routes, op, func(ctx context.Context, in *struct {
		After string `query:"after" doc:"Sequence number of the event before the first one wanted; default 0"`
		Limit string `query:"limit" doc:"Default 100, at most 1000"`
	}) (*output[api.LogPage], error) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		page, err := rest.readLog(ctx, in.After, in.Limit)
		return &output[api.LogPage]{page}, failureOf(err)
	})
}

// readLog is GET /v1/log.
func (rest *REST) readLog(ctx context.Context, afterText, limitText string) (api.LogPage, error) {
	after, limit := numberOr(afterText, 0, 0), numberOr(limitText, 1, defaultLogPage)
	if limit > maxLogPage {
		return api.LogPage{}, badRequest("limit %s is above %d", limitText, maxLogPage)
	}
	head, err := rest.Events.Head(ctx, eventlog.StreamIPAM)
	if err != nil {
		return api.LogPage{}, fmt.Errorf("read the head of the log: %w", err)
	}
	page := api.LogPage{Events: []json.RawMessage{}, Head: head.Seq}
	if after >= head.Seq {
		return page, nil
	}
	for records, err := range rest.Events.Read(ctx, eventlog.StreamIPAM, after, min(after+limit, head.Seq)) {
		if err != nil {
			return api.LogPage{}, fmt.Errorf("read the log after %d: %w", after, err)
		}
		for _, r := range records {
			page.Events = append(page.Events, r.Bytes)
		}
	}
	return page, nil
}
