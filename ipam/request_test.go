package ipam

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestPodArgs(t *testing.T) {
	args, err := ParsePodArgs(`{"request_ip_range":[["10.0.0.200~10.0.0.238"],["10.0.0.2~10.0.0.30","10.0.0.60"]],"mine":{"a":1},
		"common":{"ipinfos":[{"ip":"10.0.0.200/24","vlan":0,"gateway":"10.0.0.1","routable_subnet":"10.1.0.0/16"}],"theirs":[1,2]}}`)
	if err != nil {
		t.Fatal(err)
	}
	if len(args.Ranges) != 2 || len(args.Ranges[1]) != 2 || args.Ranges[1][1].String() != "10.0.0.60" ||
		len(args.IPInfos) != 1 {
		t.Fatalf("read as %+v", args)
	}
	args.IPInfos = []IPInfo{{IP: netip.MustParsePrefix("10.0.0.201/24"), VLAN: 7,
		Gateway: netip.MustParseAddr("10.0.0.1")}}
	text, err := args.Text()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"common":{"ipinfos":[{"ip":"10.0.0.201/24","vlan":7,"gateway":"10.0.0.1"}],"theirs":[1,2]},"mine":{"a":1},` +
		`"request_ip_range":[["10.0.0.200~10.0.0.238"],["10.0.0.2~10.0.0.30","10.0.0.60"]]}`
	if text != want {
		t.Errorf("written as\n%s, want\n%s", text, want)
	}
}

func TestEmptyPodArgs(t *testing.T) {
	for _, text := range []string{"", "{}", "null", `{"request_ip_range":null}`, `{"request_ip_range":[]}`,
		`{"common":{}}`} {
		args, err := ParsePodArgs(text)
		if err != nil || len(args.Ranges) != 0 || len(args.IPInfos) != 0 {
			t.Errorf("%q: %+v, %v", text, args, err)
		}
		if written, err := args.Text(); err != nil || written != "{}" {
			t.Errorf("%q is written %q, %v", text, written, err)
		}
	}
}

func TestBadPodArgs(t *testing.T) {
	many := strings.Repeat(`["10.0.0.1"],`, MaxRequestedIPs+1)
	wide := strings.Repeat(`"10.0.0.1",`, MaxRequestedRanges+1)
	for text, says := range map[string]string{
		"garbage":                      "args annotation",
		`[]`:                           "args annotation",
		`{"request_ip_range":"x"}`:     "request_ip_range",
		`{"request_ip_range":[[]]}`:    "no range for this address",
		`{"request_ip_range":[["x"]]}`: "[0][0]",
		`{"common":3}`:                 "common",
		`{"common":{"ipinfos":3}}`:     "common.ipinfos",
		`{"request_ip_range":[` + many[:len(many)-1] + `]}`:   "at most 64",
		`{"request_ip_range":[[` + wide[:len(wide)-1] + `]]}`: "at most 256",
	} {
		if _, err := ParsePodArgs(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: %v, want it to say %q", text, err, says)
		}
	}
}

func FuzzPodArgs(f *testing.F) {
	f.Add(`{"request_ip_range":[["10.0.0.200~10.0.0.238"]],"common":{"ipinfos":[{"ip":"10.0.0.200/24","vlan":0,"gateway":"10.0.0.1"}]}}`)
	f.Add(`{"request_ip_range":[["0.0.0.0~255.255.255.255"]],"x":{}}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		args, err := ParsePodArgs(text)
		if err != nil {
			return
		}
		written, err := args.Text()
		if err != nil {
			t.Fatalf("%q cannot be written: %v", text, err)
		}
		again, err := ParsePodArgs(written)
		if err != nil || !reflect.DeepEqual(again.Ranges, args.Ranges) && len(args.Ranges) > 0 {
			t.Fatalf("%q is written %q, which is %+v, %v", text, written, again, err)
		}
		if !json.Valid([]byte(written)) {
			t.Fatalf("%q is no JSON", written)
		}
	})
}
