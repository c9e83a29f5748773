package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"galaxy/allocator"
	"galaxy/extender/api"
	"galaxy/extender/extendertest"
	"galaxy/ipam"
)

func (b *harness) get(path string, into any) int {
	b.T.Helper()
	return ask(b.T, http.MethodGet, b.rest.URL+path, "", into)
}

// populated holds web-0, web-1, web-10 of web, db-0 of db, one of a deployment in a pool, one ownerless.
func populated(t *testing.T) *harness {
	b := newHarness(t, fixture)
	for _, n := range []int{0, 1, 10} {
		b.Harness.Bind(sts("web", n), ipam.Immutable, "node4")
	}
	b.Harness.Bind(sts("web-1", 0), ipam.Never, "node4")
	b.Harness.Bind(ipam.Owner{Kind: "deployment", Namespace: "ns2", App: "dp", Pod: "dp-1-a", Pool: "pl1"}, ipam.Never,
		"node3")
	b.Harness.Bind(ipam.Owner{Namespace: "ns3", Pod: "lone"}, ipam.ReleaseOnDelete, "node5")
	return b
}

func TestListFilters(t *testing.T) {
	b := populated(t)
	for query, want := range map[string]string{
		"keyword=web-10":                          "web-10",
		"keyword=pool__":                          "dp-1-a",
		"keyword=nothing":                         "",
		"keyword=lone&appName=web":                "lone",
		"appName=web":                             "web-0 web-1 web-10",
		"appName=web-1":                           "web-1-0",
		"appName=web&namespace=ns1&podName=web-1": "web-1",
		"namespace=ns1":                           "web-0 web-1 web-10 web-1-0",
		"podName=web-1":                           "web-1",
		"poolName=pl1":                            "dp-1-a",
		"appName=dp&appType=Deployments":          "dp-1-a",
		"appName=dp&appType=replicaset":           "dp-1-a",
		"appName=dp":                              "",
		"appType=deployment":                      "dp-1-a",
		"appType=NULL":                            "lone",
		"namespace=ns":                            "",
		"namespace=ns1&sort=podname+DESC":         "web-10 web-1-0 web-1 web-0",
		"namespace=ns1&sort=ip+desc":              "web-1-0 web-10 web-1 web-0",
		"namespace=ns1&sort=policy+desc":          "web-1-0 web-0 web-1 web-10",
		"namespace=ns1&sort=nonsense":             "web-0 web-1 web-10 web-1-0",
		"namespace=ns1&size=2&page=1":             "web-10 web-1-0",
	} {
		var page api.AddressPage
		if code := b.get("/v1/ip?"+query, &page); code != http.StatusOK {
			t.Errorf("%s: status %d", query, code)
		}
		var pods []string
		for _, row := range page.Content {
			pods = append(pods, row.PodName)
		}
		if got := strings.Join(pods, " "); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// What is kept for a workload that is gone is found, and nothing else: not what pods use, and not what an app that is
// there keeps.
func TestListOrphaned(t *testing.T) {
	b := newHarness(t, fixture)
	for _, q := range []struct{ ip, body string }{
		{"10.173.13.2", `{"appType":"statefulset","appName":"old","namespace":"ns1","podName":"old-0"}`},
		{"10.173.13.10", `{"appType":"statefulset","appName":"web","namespace":"ns1","podName":"web-7"}`},
		{"10.173.13.11", `{"poolName":"p"}`},
	} {
		if code := ask(t, http.MethodPut, b.rest.URL+"/v1/ip/"+q.ip, q.body, nil); code != http.StatusOK {
			t.Fatal(q, code)
		}
	}
	b.Objects(`
kind: StatefulSet
apiVersion: apps/v1
metadata: {name: web, namespace: ns1}
spec: {replicas: 1}
`, `
kind: Pod
metadata: {name: any, namespace: ns1, uid: u}
`)
	var page api.AddressPage
	b.get("/v1/ip?state=orphaned", &page)
	if len(page.Content) != 1 || page.Content[0].IP != "10.173.13.2" {
		t.Errorf("%+v", page.Content)
	}
}

func TestListPages(t *testing.T) {
	b := populated(t)
	for query, want := range map[string]string{
		"":                    `{"last":false,"totalElements":39,"totalPages":4,"first":true,"numberOfElements":10,"size":10,"number":0}`,
		"page=3":              `{"last":true,"totalElements":39,"totalPages":4,"first":false,"numberOfElements":9,"size":10,"number":3}`,
		"page=99999&size=100": `{"last":true,"totalElements":39,"totalPages":1,"first":false,"numberOfElements":0,"size":100,"number":0}`,
		"page=-1&size=-5":     `{"last":false,"totalElements":39,"totalPages":4,"first":true,"numberOfElements":10,"size":10,"number":0}`,
		"page=x&size=0":       `{"last":false,"totalElements":39,"totalPages":4,"first":true,"numberOfElements":10,"size":10,"number":0}`,
		"namespace=none":      `{"last":true,"totalElements":0,"totalPages":0,"first":true,"numberOfElements":0,"size":10,"number":0}`,
	} {
		var page map[string]json.RawMessage
		b.get("/v1/ip?"+query, &page)
		delete(page, "content")
		var wanted map[string]json.RawMessage
		_ = json.Unmarshal([]byte(want), &wanted)
		if asJSON(t, page) != asJSON(t, wanted) {
			t.Errorf("%q: %s, want %s", query, asJSON(t, page), want)
		}
	}
	var empty map[string]any
	if b.get("/v1/ip?namespace=none", &empty); empty["content"] != nil {
		t.Errorf("content of an empty page: %v, want none", empty["content"])
	}
	for _, query := range []string{"page=100000", "size=10000", "page=99999999999999999999999", "size=1000000"} {
		var f api.Failure
		if code := b.get("/v1/ip?"+query, &f); code != http.StatusBadRequest || f.Code != code ||
			!strings.HasPrefix(f.Message, "bad request: ") {
			t.Errorf("%s: %d %+v", query, code, f)
		}
	}
}

// TestListOrder walks all addresses: numeric order, each once, both ways; free ones and those that drain among them.
func TestListOrder(t *testing.T) {
	b := populated(t)
	smaller := extendertest.SubnetsOf(t, strings.Replace(fixture, `"10.173.13.2","10.173.13.10`, `"10.173.13.11`, 1))
	b.Do(allocator.Configure{Source: "test", Subnets: smaller, Force: true})
	var up, down []string
	for page := range 8 {
		var p api.AddressPage
		b.get(fmt.Sprintf("/v1/ip?size=5&page=%d", page), &p)
		for _, row := range p.Content {
			up = append(up, row.IP)
			if row.State == "draining" && (row.Subnet != "" || row.PodName == "") {
				t.Errorf("draining row %+v", row)
			}
		}
		b.get(fmt.Sprintf("/v1/ip?size=5&page=%d&sort=ip%%20desc", page), &p)
		for _, row := range p.Content {
			down = append(down, row.IP)
		}
	}
	if len(up) != 39 || len(down) != 39 { // .2 and .10 are held and drain
		t.Fatalf("%d and %d rows, want 39", len(up), len(down))
	}
	for i, ip := range up {
		if ip != down[len(down)-1-i] {
			t.Errorf("row %d: %s upwards, %s downwards", i, ip, down[len(down)-1-i])
		}
		if i > 0 && !addr(up[i-1]).Less(addr(ip)) {
			t.Errorf("%s comes before %s", up[i-1], ip)
		}
	}
	var byPod api.AddressPage
	b.get("/v1/ip?sort=podname+desc&size=3", &byPod)
	if byPod.Content[0].PodName != "web-10" || byPod.TotalElements != 39 {
		t.Errorf("by pod name: %+v", byPod.Content[0])
	}
}

func TestListHugeSpaces(t *testing.T) {
	b := newHarness(t, `[{"nodeSubnets":["192.168.0.0/16"],"ips":["10.0.0.2~10.255.255.254"],"subnet":"10.0.0.0/8","gateway":"10.0.0.1"},
		{"nodeSubnets":["192.168.0.0/16"],"ips":["fd00::2~fd00::ffff:ffff:ffff:ffff"],"subnet":"fd00::/64","gateway":"fd00::1"},
		{"nodeSubnets":["192.168.0.0/16"],"ips":["fd01::2~fd01::ffff:ffff:ffff:ffff"],"subnet":"fd01::/64","gateway":"fd01::1"}]`)
	started := time.Now()
	var page api.AddressPage
	b.get("/v1/ip?page=1677&size=9999", &page)
	if first := page.Content[0].IP; first != ipam.Plus(addr("10.0.0.2"), 1677*9999).String() ||
		page.TotalElements != 1<<63-1 {
		t.Errorf("first %s, %d in all", first, page.TotalElements)
	}
	b.get("/v1/ip?sort=ip+desc&size=2&page=1", &page)
	if first := page.Content[0].IP; first != "fd01::ffff:ffff:ffff:fffd" {
		t.Errorf("third from the end: %s", first)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("two pages took %s", took)
	}
	var f api.Failure
	if code := b.get("/v1/ip?sort=namespace+asc", &f); code != http.StatusBadRequest {
		t.Errorf("sorting them by namespace: %d", code)
	}
}

func TestStatus(t *testing.T) {
	b := populated(t)
	b.Do(allocator.Reserve{Address: addr("10.0.70.2"), Owner: ipam.Owner{Pool: "kept"}})
	b.Do(allocator.Reserve{Address: addr("10.0.70.3"),
		Owner: ipam.Owner{Kind: "deployment", Namespace: "ns1", App: "kept"}})
	status := func(ip string) string {
		var row api.AddressRow
		if code := b.get("/v1/ip/"+ip, &row); code != http.StatusOK {
			t.Fatalf("%s: status %d", ip, code)
		}
		return fmt.Sprintf("%s %s %t", row.State, row.Status, row.Releasable)
	}
	expect := func(ip, want string) {
		t.Helper()
		if got := status(ip); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
	expect("10.173.13.2", "bound Unknown false") // no cluster
	running := strings.Replace(podText("ns1", "web-0", "StatefulSet/web", nil), "Pending", "Running", 1)
	b.Objects(running)
	expect("10.173.13.2", "bound Running false")
	expect("10.173.13.10", "bound Deleted true")
	expect("10.0.70.2", "reserved Deleted true")
	expect("10.0.70.3", "reserved Deleted true")
	expect("10.0.70.4", "free  false")
	b.Do(allocator.Release{Address: addr("10.0.70.3"),
		Owner: ipam.Owner{Kind: "deployment", Namespace: "ns1", App: "kept"}})
	expect("10.0.70.3", "cooling  false")
	b.Pass(time.Minute)
	expect("10.0.70.3", "free  false")
	var f api.Failure
	if code := b.get("/v1/ip/10.9.9.9", &f); code != http.StatusNotFound ||
		!strings.HasPrefix(f.Message, "not found: ") {
		t.Errorf("an address of no subnet: %d %+v", code, f)
	}
	if code := b.get("/v1/ip/nonsense", &f); code != http.StatusBadRequest {
		t.Errorf("no address: %d", code)
	}
}

func TestRelease(t *testing.T) {
	b := populated(t)
	release := func(body string) (int, api.ReleaseResponse) {
		t.Helper()
		var response api.ReleaseResponse
		code := ask(t, http.MethodPost, b.rest.URL+"/v1/ip", body, &response)
		return code, response
	}
	item := func(ip, app, pod string) string {
		return fmt.Sprintf(`{"ip":%q,"appName":%q,"podName":%q,"namespace":"ns1","policy":1,"status":"x"}`, ip, app,
			pod)
	}
	code, response := release(`{"ips":[` + item("10.173.13.2", "web", "web-0") + `]}`)
	if code != http.StatusAccepted || !strings.Contains(response.Reasons[0], "force") {
		t.Errorf("without a cluster: %d %+v", code, response)
	}
	b.Objects(strings.Replace(podText("ns1", "web-0", "StatefulSet/web", nil), "Pending", "Running", 1))
	code, response = release(`{"ips":[` + item("10.173.13.2", "web", "web-0") + `,` +
		item("10.173.13.10", "web", "web-1") + `,` +
		item("10.173.13.11", "web", "other") + `,` + item("10.173.13.15", "", "") + `],"force":true}`)
	if code != http.StatusAccepted || len(response.Unreleased) != 2 || response.Unreleased[0] != "10.173.13.2" ||
		response.Code != 202 {
		t.Fatalf("%d %+v", code, response)
	}
	if !strings.Contains(response.Reasons[0], "Running") ||
		!strings.Contains(response.Reasons[1], "sts_ns1_web_web-10") {
		t.Errorf("reasons %q", response.Reasons)
	}
	if b.Replica.View().Address(addr("10.173.13.10")) != nil {
		t.Error("10.173.13.10 is still held")
	}
	code, response = release(`{"ips":[{"ip":"10.0.80.2","podName":"lone","namespace":"ns3"},{"ip":"10.0.81.2","podName":"lone","namespace":"ns3"},` +
		`{"ip":"10.49.27.205","appName":"dp","appType":"deployment","podName":"dp-1-a","namespace":"ns2","poolName":"pl1"}]}`)
	if code != http.StatusOK || response.Message != "" || response.Unreleased != nil {
		t.Errorf("an ownerless pod and one of a pool: %d %+v", code, response)
	}
	for body, want := range map[string]string{
		`{"ips":[{"ip":"10.0.0.300"}]}`: "ips[0].ip",
		`{"ips":[{"ip":5}]}`:            "the body: ips.ip: want a string, have a number",
		`{"ips":{}}`:                    "the body: ips: want an array, have an object",
		`{"ips":[],"force":"yes"}`:      "the body: force: want true or false, have a string",
		`[]`:                            "the body: the top level: want an object, have an array",
		`{`:                             "the body: it is no JSON at byte 1: unexpected end",
		`{"ips":x}`:                     "the body: it is no JSON at byte 8: invalid character 'x'",
		`{"ips":[]} {}`:                 "no JSON at byte 12: invalid character '{' after the end of the value",
		``:                              "request body is required",
		` `:                             "the body is empty; send JSON",
		`{"ips":[` + strings.Repeat(`{"ip":"10.0.0.1"},`, 10_000) + `{"ip":"10.0.0.1"}]}`: "at most 10000",
	} {
		var f api.Failure
		if code := ask(t, http.MethodPost, b.rest.URL+"/v1/ip", body, &f); code != http.StatusBadRequest ||
			!strings.Contains(f.Message, want) {
			t.Errorf("%.40s: %d %+v, want %q", body, code, f, want)
		}
	}
	var f api.Failure
	if code := ask(t, http.MethodPost, b.rest.URL+"/v1/ip", strings.Repeat(" ", 2<<20),
		&f); code != http.StatusRequestEntityTooLarge {
		t.Errorf("2 MiB: %d %+v", code, f)
	}
}

func TestPools(t *testing.T) {
	b := newHarness(t, fixture)
	post := func(body string) (int, string) {
		var raw json.RawMessage
		code := ask(t, http.MethodPost, b.rest.URL+"/v1/pool", body, &raw)
		return code, string(raw)
	}
	if code, text := post(`{"name":"p1","size":4}`); code != 200 || text != `{"code":200,"message":""}` {
		t.Errorf("create: %d %s", code, text)
	}
	if code, text := post(`{"name":"p1","size":4,"preAllocateIP":true}`); code != 200 ||
		text != `{"code":200,"message":"","realPoolSize":4}` {
		t.Errorf("pre-allocate: %d %s", code, text)
	}
	if code, text := post(`{"name":"p2","size":100,"preAllocateIP":true}`); code != 202 ||
		!strings.Contains(text, `"realPoolSize":35`) {
		t.Errorf("more than there is: %d %s", code, text)
	}
	if code, text := post(`{"name":"p1","size":4,"preAllocateIP":true}`); code != 200 ||
		!strings.Contains(text, `"realPoolSize":4`) {
		t.Errorf("a full pool, and no address is free: %d %s", code, text)
	}
	var raw json.RawMessage
	if code := b.get("/v1/pool/p1", &raw); code != 200 ||
		string(raw) != `{"code":200,"message":"","pool":{"name":"p1","size":4,"preAllocateIP":true},"held":4}` {
		t.Errorf("get: %d %s", code, raw)
	}
	var all api.PoolsResponse
	if code := b.get("/v1/pool", &all); code != 200 || len(all.Pools) != 2 {
		t.Errorf("list: %d %+v", code, all)
	}
	for body, want := range map[string]string{
		`{"size":4}`: "name is missing", `{"name":"p","size":-1}`: "out of range",
		`{"name":"p","size":1000001}`:                 "out of range",
		`{"name":"p","size":1e99}`:                    "size: want a whole number that fits, have the number 1e99",
		`{"name":"p","size":"4"}`:                     "size: want a whole number that fits, have a string",
		`{"name":"a\u0000b"}`:                         "not printable",
		`{"name":"` + strings.Repeat("x", 300) + `"}`: "300 bytes",
	} {
		if code, text := post(body); code != 400 || !strings.Contains(text, want) ||
			!strings.Contains(text, `"message":"bad request: `) {
			t.Errorf("%.60s: %d %s", body, code, text)
		}
	}
	var f api.Failure
	if code := ask(t, http.MethodDelete, b.rest.URL+"/v1/pool/p1", "", &f); code != 200 || f.Code != 200 {
		t.Errorf("delete: %d %+v", code, f)
	}
	if code := ask(t, http.MethodDelete, b.rest.URL+"/v1/pool/p1", "", &f); code != 404 ||
		!strings.HasPrefix(f.Message, "not found: ") {
		t.Errorf("delete again: %d %+v", code, f)
	}
	if code := b.get("/v1/pool/p1", &f); code != 404 {
		t.Errorf("get after: %d", code)
	}
}

// What is acknowledged was agreed by the log, also where nothing is to be done by what a replica knows: another has led
// meanwhile. Its responses are about what the log says, not about its old view.
func TestResponsesOfAnOldLeader(t *testing.T) {
	b := populated(t)
	other, err := allocator.NewReplica(t.Context(), allocator.Config{Log: b.Log, Actor: "other", Now: time.Now}, nil)
	if err != nil {
		t.Fatal(err)
	}
	extendertest.Lead(t, other)
	free := addr("10.173.13.15")
	for _, command := range []allocator.Command{
		allocator.Reserve{Address: free, Owner: ipam.Owner{Pool: "theirs"}},
		allocator.SizePool{Pool: "theirs", Size: 3},
	} {
		if _, err := other.Do(t.Context(), "test", command); err != nil {
			t.Fatal(err)
		}
	}
	if b.Replica.View().Address(free) != nil {
		t.Fatal("the replica has heard of it already")
	}
	var response api.ReleaseResponse
	code := ask(t, http.MethodPost, b.rest.URL+"/v1/ip", `{"ips":[{"ip":"10.173.13.15","poolName":"theirs"}]}`,
		&response)
	if code == http.StatusOK && b.Replica.View().Released(free) == nil {
		t.Errorf("acknowledged without an event: %+v", response)
	}
	if code := ask(t, http.MethodDelete, b.rest.URL+"/v1/pool/theirs", "", nil); code != http.StatusOK {
		t.Errorf("a pool that is there is deleted with %d", code)
	}
}
