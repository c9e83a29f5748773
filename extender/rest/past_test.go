package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"galaxy/allocator"
	"galaxy/extender/api"
	"galaxy/ipam"
)

func TestReserveAndPast(t *testing.T) {
	b := newHarness(t, fixture)
	put := func(ip, body string, into any) int {
		return ask(t, http.MethodPut, b.rest.URL+"/v1/ip/"+ip, body, into)
	}
	var response api.AddressResponse
	if code := put("10.0.70.7", `{"poolName":"reserved-for-node","reason":"a printer"}`, &response); code != 200 ||
		response.Content.State != "reserved" {
		t.Fatalf("reserve: %d %+v", code, response)
	}
	var f api.Failure
	if code := put("10.0.70.7", `{"poolName":"other"}`, &f); code != http.StatusConflict ||
		!strings.Contains(f.Message, "reserved-for-node") {
		t.Errorf("reserve what is held: %d %+v", code, f)
	}
	if code := put("10.9.9.9", `{"poolName":"other"}`, &f); code != http.StatusNotFound {
		t.Errorf("reserve outside: %d %+v", code, f)
	}
	if code := put("10.0.70.8", `{}`, &f); code != http.StatusBadRequest {
		t.Errorf("reserve for nobody: %d %+v", code, f)
	}
	reserved := b.Replica.View().Position()
	b.Pass(time.Hour)
	b.Do(allocator.Release{Address: addr("10.0.70.7"), Owner: ipam.Owner{Pool: "reserved-for-node"}})
	for at, want := range map[string]string{
		"": "cooling", fmt.Sprint(reserved.Head.Seq): "reserved", "1": "free",
		url.QueryEscape(reserved.Time.Add(time.Minute).Format(time.RFC3339)): "reserved",
		"2030-01-01T00:00:00%2B02:00":                                        "free",
	} {
		var row api.AddressRow
		if code := b.get("/v1/ip/10.0.70.7?at="+at, &row); code != 200 || row.State != want {
			t.Errorf("at %s: %d %s, want %s", at, code, row.State, want)
		}
	}
	for at, want := range map[string]int{"0": 400, "x": 400, "999": 404} {
		if code := b.get("/v1/ip/10.0.70.7?at="+at, &f); code != want {
			t.Errorf("at %s: %d %+v", at, code, f)
		}
	}
	var history api.HistoryResponse
	if code := b.get("/v1/ip/10.0.70.7/history", &history); code != 200 || len(history.Entries) != 2 {
		t.Fatalf("history: %d %+v", code, history)
	}
	first, last := history.Entries[0], history.Entries[1]
	if first.Reason != "a printer" && first.Type != "AddressAllocated" || first.To == nil ||
		first.PoolName != "reserved-for-node" || last.Type != "AddressReleased" || last.To != nil {
		t.Errorf("history %+v", history)
	}
}

func TestHistoryPages(t *testing.T) {
	b := newHarness(t, fixture)
	ip, owner := addr("10.0.70.9"), ipam.Owner{Pool: "p"}
	for range 5 {
		b.Do(allocator.Reserve{Address: ip, Owner: owner})
		b.Do(allocator.Release{Address: ip, Owner: owner})
	}
	var seqs []uint64
	newest := ""
	for range 10 {
		var page api.HistoryResponse
		if code := b.get("/v1/ip/10.0.70.9/history?limit=3"+newest, &page); code != 200 {
			t.Fatalf("status %d", code)
		}
		for i := len(page.Entries) - 1; i >= 0; i-- {
			seqs = append(seqs, page.Entries[i].Seq)
		}
		if page.Older == 0 {
			break
		}
		newest = fmt.Sprintf("&newest=%d", page.Older)
	}
	if len(seqs) != 10 || seqs[0] != b.Replica.View().Position().Head.Seq {
		t.Errorf("events %v, want 10", seqs)
	}
	// Dropped from the configuration, a released address is forgotten; its history is in the log all the same.
	for _, config := range []string{`[]`, fixture} {
		subnets, _ := ipam.ParseConfig([]byte(config))
		b.Do(allocator.Configure{Source: "test", Subnets: subnets})
	}
	var page api.HistoryResponse
	if b.get("/v1/ip/10.0.70.9/history", &page); len(page.Entries) != 10 {
		t.Errorf("after it was forgotten: %d events, want 10", len(page.Entries))
	}
	b.Do(allocator.Reserve{Address: ip, Owner: owner})
	page = api.HistoryResponse{}
	if b.get("/v1/ip/10.0.70.9/history?limit=4", &page); len(page.Entries) != 4 || page.Older == 0 ||
		page.Entries[3].To != nil {
		t.Errorf("after it was used anew: %+v", page)
	}
	var f api.Failure
	if code := b.get("/v1/ip/10.0.70.9/history?newest=1", &f); code != 400 {
		t.Errorf("an event about something else: %d", code)
	}
}

func TestLogAndState(t *testing.T) {
	b := populated(t)
	var page api.LogPage
	if code := b.get("/v1/log?after=2&limit=2", &page); code != 200 || len(page.Events) != 2 ||
		page.Head != b.Replica.View().Position().Head.Seq {
		t.Fatalf("log: %d %+v", code, page)
	}
	for records, err := range b.Log.Read(context.Background(), "ipam", 2, 3) {
		if err != nil || string(records[0].Bytes) != string(page.Events[0]) {
			t.Errorf("event 3 is %s, want %s", page.Events[0], records[0].Bytes)
		}
	}
	var raw map[string]json.RawMessage
	if b.get("/v1/log?after=999", &raw); string(raw["events"]) != "[]" {
		t.Errorf("past the head: %s", raw["events"])
	}
	var f api.Failure
	if code := b.get("/v1/log?limit=1001", &f); code != 400 {
		t.Errorf("limit: %d", code)
	}
	var state api.StateResponse
	if code := b.get("/v1/state?digest=true", &state); code != 200 || len(state.Subnets) != 7 || state.Digest == "" ||
		!state.Leading || !state.Ready {
		t.Errorf("state: %d %+v", code, state)
	}
	if s := state.Subnets[0]; s.Total != s.Held+s.Cooling+s.Free {
		t.Errorf("usage %+v", s)
	}
}
