package rest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"galaxy/eventlog"
	"galaxy/extender/api"
	"galaxy/projections"
)

func (rest *REST) registerHistory(routes huma.API) {
	op := operation(routes, http.MethodGet, "/v1/ip/{ip}/history", "getHistory",
		"What has happened to an address, oldest first")
	huma.Register(routes, op, func(ctx context.Context, in *struct {
		IP     string `path:"ip"`
		Limit  string `query:"limit" doc:"Events, the newest ones; default 100, at most 1000"`
		Newest string `query:"newest" doc:"Sequence number of the newest event wanted, as older gave it"`
	}) (*output[api.HistoryResponse], error) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		response, err := rest.history(ctx, in.IP, in.Limit, in.Newest)
		return &output[api.HistoryResponse]{response}, failureOf(err)
	})
}

// history is GET /v1/ip/{ip}/history.
func (rest *REST) history(ctx context.Context, text, limitText, newestText string) (api.HistoryResponse, error) {
	addr, err := parseIP(text)
	if err != nil {
		return api.HistoryResponse{}, err
	}
	limit := numberOr(limitText, 1, defaultLogPage)
	if limit > maxLogPage {
		return api.HistoryResponse{}, badRequest("limit %s is above %d", limitText, maxLogPage)
	}
	view := rest.Replica.View()
	newest := newestAbout(view, addr)
	if newestText != "" {
		if newest, err = strconv.ParseUint(newestText, 10, 64); err != nil || newest == 0 ||
			newest > view.Position().Head.Seq {
			return api.HistoryResponse{}, badRequest("newest: %q is not the sequence number of an event that is "+
				"written", newestText)
		}
	}
	past := past{log: rest.Events, turn: rest.past.take, addr: addr, limit: int(limit),
		forgotten: view.Position().FirstForget}
	if err := past.walk(ctx, newest, view.Position().Head.Seq); err != nil {
		return api.HistoryResponse{}, err
	}
	if _, configured := view.Config().SubnetOf(addr); !configured && len(past.found) == 0 {
		return api.HistoryResponse{}, notFound("%s is in no configured subnet, and nothing has ever happened to it",
			addr)
	}
	return api.HistoryResponse{IP: addr.String(), Entries: past.entries(), Older: past.older}, nil
}

// newestAbout is the newest event about an address that the view remembers; 0 if it remembers none.
func newestAbout(view *projections.View, addr netip.Addr) uint64 {
	if a := view.Address(addr); a != nil {
		return a.Seq
	}
	if r := view.Released(addr); r != nil {
		return r.Seq
	}
	return 0
}

// past gathers the events about one address, newest first.
type past struct {
	log       eventlog.Log
	turn      func(context.Context) (giveBack func(), err error) // for reading the whole log
	addr      netip.Addr
	limit     int
	forgotten uint64 // from this event on, a chain may end although there is more; 0: never

	found []eventlog.Event
	older uint64
}

// walk follows the chain back from an event. Where the chain ends but older events may have been forgotten, the log
// itself is searched.
func (p *past) walk(ctx context.Context, newest, head uint64) error {
	seq, before := newest, head+1
	for seq != 0 {
		if len(p.found) == p.limit {
			p.older = seq
			return nil
		}
		e, err := p.read(ctx, seq)
		if err != nil {
			return err
		}
		about := e.Data.Subject()
		if about.Address != p.addr {
			return badRequest("event %d is not about %s", seq, p.addr)
		}
		p.found = append(p.found, e)
		seq, before = about.After, seq
	}
	if p.forgotten == 0 || p.forgotten >= before {
		return nil
	}
	return p.search(ctx, before-1)
}

func (p *past) read(ctx context.Context, seq uint64) (eventlog.Event, error) {
	for records, err := range p.log.Read(ctx, eventlog.StreamIPAM, seq-1, seq) {
		if err != nil {
			return eventlog.Event{}, fmt.Errorf("read event %d: %w", seq, err)
		}
		for _, r := range records {
			return eventlog.Decode(r)
		}
	}
	return eventlog.Event{}, fmt.Errorf("read event %d: %w: it is missing", seq, eventlog.ErrCorrupt)
}

// search reads the log from its start for events about the address, and keeps the newest of them.
func (p *past) search(ctx context.Context, through uint64) error {
	if through == 0 {
		return nil
	}
	giveBack, err := p.turn(ctx)
	if err != nil {
		return err
	}
	defer giveBack()
	room := p.limit - len(p.found)
	text := []byte(strconv.Quote(p.addr.String()))
	var found []eventlog.Event // oldest first
	for records, err := range p.log.Read(ctx, eventlog.StreamIPAM, 0, through) {
		if err != nil {
			return fmt.Errorf("search the log: %w", err)
		}
		for _, r := range records {
			if !bytes.Contains(r.Bytes, text) {
				continue
			}
			e, err := eventlog.Decode(r)
			if err != nil {
				return err
			}
			if e.Data.Subject().Address == p.addr {
				found = append(found, e)
			}
			if len(found) > room+1 {
				found = slices.Delete(found, 0, 1)
			}
		}
	}
	if len(found) > room {
		p.older = found[len(found)-room-1].Seq
		found = found[len(found)-room:]
	}
	slices.Reverse(found)
	p.found = append(p.found, found...)
	return nil
}

// entries are the events found, oldest first.
func (p *past) entries() []api.HistoryEntry {
	entries := make([]api.HistoryEntry, 0, len(p.found))
	for i, e := range slices.Backward(p.found) {
		entry := historyEntry(e)
		if i > 0 {
			until := p.found[i-1].Time
			entry.To = &until
		}
		entries = append(entries, entry)
	}
	return entries
}

func historyEntry(e eventlog.Event) api.HistoryEntry {
	about := e.Data.Subject()
	owner := about.Owner
	return api.HistoryEntry{
		Seq: e.Seq, Type: string(e.Data.Type()), From: e.Time, Actor: e.Actor, Cause: e.Cause,
		PodUID: about.PodUID, Node: about.Node, Policy: about.Policy, Reason: about.Reason,
		Key: owner.String(), Namespace: owner.Namespace, AppName: owner.App,
		AppType: owner.Kind, PodName: owner.Pod, PoolName: owner.Pool,
	}
}
