package eventlog_test

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"galaxy/eventlog"
	"galaxy/ipam"
)

var rewrite = flag.Bool("rewrite", false,
	"write the golden stream anew; only ever right for types that no release knows yet")

const golden = "testdata/stream-v1.jsonl"

// everyType is a stream that has every type of event, with all its fields and with as few as it may have.
func everyType() []eventlog.Data {
	owner := ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "shop", App: "cart", Pod: "cart-0", Pool: "blue"}
	addr, addr6 := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")
	subnet := ipam.Subnet{
		NodeNetworks: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24"), netip.MustParsePrefix("192.168.1.0/24")},
		Prefix:       netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1"), VLAN: 7,
		Ranges: []ipam.Range{
			{First: netip.MustParseAddr("10.0.0.2"), Last: netip.MustParseAddr("10.0.0.99")},
			{First: netip.MustParseAddr("10.0.0.200"), Last: netip.MustParseAddr("10.0.0.200")},
		},
	}
	return []eventlog.Data{
		&eventlog.SubnetsConfigured{Source: "ConfigMap kube-system/floatingip-config", Subnets: []ipam.Subnet{subnet},
			Draining: []eventlog.Drained{{Address: addr, Owner: owner}}},
		&eventlog.SubnetsConfigured{Source: "<a> & \"b\" \u2028", Subnets: []ipam.Subnet{}},
		&eventlog.AddressAllocated{Address: addr, Subnet: subnet.Prefix, Owner: owner, PodUID: "3c1f", Node: "n1",
			Policy: ipam.Immutable, After: 1},
		&eventlog.AddressAllocated{Address: addr6, Subnet: netip.MustParsePrefix("fd00::/64"),
			Owner: ipam.Owner{Pool: "blue"}},
		&eventlog.AddressBound{Address: addr, Owner: owner, PodUID: "3c1f", Node: "n1", Policy: ipam.Never, After: 3},
		&eventlog.AddressBound{Address: addr6, Owner: ipam.Owner{Namespace: "shop", Pod: "alone"}, Node: "n2"},
		&eventlog.AddressReserved{Address: addr, Owner: owner.AppLevel(), PodUID: "3c1f", Policy: ipam.Immutable,
			Reason: "the pod has ended", After: 5},
		&eventlog.AddressReserved{Address: addr6, Owner: owner},
		&eventlog.AddressReleased{Address: addr, Owner: owner, Reason: "the pod was deleted", After: 7},
		&eventlog.AddressReleased{Address: addr6, Owner: owner},
		&eventlog.PoolSized{Pool: "blue", Size: 20, PreAllocate: true},
		&eventlog.PoolSized{Pool: "日本 pool__1"},
		&eventlog.PoolDeleted{Pool: "blue"},
		&eventlog.AddressAllocated{Address: addr, Subnet: subnet.Prefix, Owner: ipam.Owner{Pool: "reserved"},
			Policy: ipam.Never, Reason: "label", Labelled: true},
		&eventlog.AddressAssigned{Address: addr, Node: "n1", After: 5},
		&eventlog.AddressUnassigned{Address: addr, Node: "n1", After: 15},
		&eventlog.AddressAssigned{Address: addr6, Node: "n2"},
		&eventlog.AddressUnassigned{Address: addr6, Node: "n2"},
		&eventlog.FormerObjectsFound{Source: "galaxy", Objects: 36},
		&eventlog.FormerObjectsResolved{Source: "galaxy", Outcome: eventlog.FormerImported, Objects: 36, Left: 2},
		&eventlog.RunningPodsAdopted{Generation: "a8367e0cd822d613e19b4bf41e3d2761", Pods: 12},
	}
}

// begun is when the golden stream begins; every event is a fraction of a second later than the one before.
var begun = time.Date(2026, 11, 23, 8, 30, 0, 123456789, time.UTC)

func writeEveryType(t testing.TB) (events []eventlog.Event, records []eventlog.Record) {
	t.Helper()
	var cursor eventlog.Cursor
	for i, data := range everyType() {
		cause := ""
		if i%2 == 0 {
			cause = "pod 3c1f"
		}
		e, r, err := cursor.Write(begun.Add(time.Duration(i)*300*time.Millisecond), "galaxy-ipam-0", cause, data)
		if err != nil {
			t.Fatal(err)
		}
		events, records = append(events, e), append(records, r)
	}
	return events, records
}

// The bytes of every event are for ever: what is stored today must be read by all that comes, and equal events must
// hash equally everywhere.
func TestGoldenStream(t *testing.T) {
	events, records := writeEveryType(t)
	var written bytes.Buffer
	for _, r := range records {
		written.Write(r.Bytes)
		written.WriteByte('\n')
	}
	if *rewrite {
		if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o755),
			os.WriteFile(golden, written.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written.Bytes(), stored) {
		t.Errorf("the stream is written as\n%s\nwant\n%s", written.Bytes(), stored)
	}
	var cursor eventlog.Cursor
	for i, line := range bytes.Split(bytes.TrimSuffix(stored, []byte{'\n'}), []byte{'\n'}) {
		e, err := cursor.Read(eventlog.Record{Seq: uint64(i) + 1, Bytes: line})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(e, events[i]) {
			t.Errorf("event %d is read as %+v, was written as %+v", e.Seq, e, events[i])
		}
	}
}

// Every type that the codec knows is in the golden stream.
func TestGoldenStreamIsComplete(t *testing.T) {
	source, err := os.ReadFile("types.go")
	if err != nil {
		t.Fatal(err)
	}
	var seen []eventlog.Type
	for _, data := range everyType() {
		seen = append(seen, data.Type())
	}
	slices.Sort(seen)
	seen = slices.Compact(seen)
	if declared := bytes.Count(source, []byte(" Type = \"")); declared != len(seen) {
		t.Errorf("types.go declares %d types, the golden stream has %d: %v", declared, len(seen), seen)
	}
}

func TestDecodeRefuses(t *testing.T) {
	const good = `{"v":1,"seq":5,"type":"PoolDeleted","time":"2026-11-23T00:00:00Z","actor":"a","cause":"c","prev":"","data":{"pool":"blue"}}`
	if _, err := eventlog.Decode(eventlog.Record{Seq: 5, Bytes: []byte(good)}); err != nil {
		t.Fatal(err)
	}
	var version *eventlog.VersionError
	var unknown *eventlog.UnknownTypeError
	is := func(err error) func(error) bool { return func(got error) bool { return errors.Is(got, err) } }
	corrupt := is(eventlog.ErrCorrupt)
	newer := func(err error) bool { return errors.As(err, &version) }
	tests := map[string]struct {
		old, new string
		judge    func(error) bool
		text     string
	}{
		"newer version": {`"v":1`, `"v":2`, newer,
			"event 5 has envelope version 2, this program understands version 1"},
		"newer version and fields": {`"v":1`, `"v":3,"signature":"x"`, newer, "version 3"},
		"unknown type": {"PoolDeleted", "PoolPainted",
			func(err error) bool {
				return errors.As(err,
					&unknown)
			}, `event 5 is of the unknown type "PoolPainted"; this program understands version 1`},
		"no type": {`"type":"PoolDeleted",`, "",
			func(err error) bool { return errors.As(err, &unknown) }, `unknown type ""`},
		"no version":             {`"v":1,`, "", func(err error) bool { return err != nil }, "0"},
		"unknown envelope field": {`"actor"`, `"extra":1,"actor"`, corrupt, "extra"},
		"unknown data field":     {`"pool"`, `"extra":1,"pool"`, corrupt, "extra"},
		"field in other letters": {`"pool"`, `"Pool"`, corrupt, "Pool"},
		"field twice":            {`"pool"`, `"pool":"red","pool"`, corrupt, "duplicate"},
		"another number":         {`"seq":5`, `"seq":6`, corrupt, "event 5 says that it is number 6"},
		"not JSON":               {`{"v"`, `{v`, corrupt, "event 5"},
		"cut short":              {`}}`, `}`, corrupt, "event 5"},
		"something after":        {`}}`, `}} {}`, corrupt, "event 5"},
		"wrong kind of value":    {`"blue"`, `7`, corrupt, "PoolDeleted"},
		"hash in capitals":       {`"prev":""`, `"prev":"` + strings.Repeat("A", 64) + `"`, corrupt, "lower-case"},
		"hash too short":         {`"prev":""`, `"prev":"abcd"`, corrupt, "64"},
		"time without zone":      {`00:00:00Z`, `00:00:00`, corrupt, "event 5"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(good, test.old, test.new, 1)
			if bad == good {
				t.Fatalf("%q is not in the event", test.old)
			}
			_, err := eventlog.Decode(eventlog.Record{Seq: 5, Bytes: []byte(bad)})
			if err == nil || !test.judge(err) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %q", err, test.text)
			}
		})
	}
}

// FuzzDecode: bytes that nobody wrote may be refused, but never panic, and what is understood is understood the same
// way when it is written again.
func FuzzDecode(f *testing.F) {
	_, records := writeEveryType(f)
	for _, r := range records {
		f.Add(r.Seq, r.Bytes)
	}
	f.Fuzz(func(t *testing.T, seq uint64, stored []byte) {
		e, err := eventlog.Decode(eventlog.Record{Seq: seq, Bytes: stored})
		if err != nil {
			return
		}
		if year := e.Time.UTC().Year(); year < 0 || year > 9999 {
			return // an offset can lift a time over the edge of what has a text form
		}
		once, err := eventlog.Encode(e)
		if err != nil {
			t.Fatalf("%s is understood as %+v, and cannot be written: %v", stored, e, err)
		}
		again, err := eventlog.Decode(once)
		if err != nil {
			t.Fatalf("%s is written as %s, and cannot be read: %v", stored, once.Bytes, err)
		}
		twice, err := eventlog.Encode(again)
		if err != nil || !bytes.Equal(once.Bytes, twice.Bytes) {
			t.Fatalf("%s is written as %s, then as %s, %v", stored, once.Bytes, twice.Bytes, err)
		}
	})
}
