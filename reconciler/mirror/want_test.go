package mirror_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"galaxy/ipam"
	api "galaxy/kube/galaxyv1alpha1"
	"galaxy/projections"
	"galaxy/reconciler/mirror"
)

func TestNames(t *testing.T) {
	for _, text := range []string{"10.0.0.1", "255.255.255.255", "fd00::1", "::", "fd00:1:2:3:4:5:6:7"} {
		addr := netip.MustParseAddr(text)
		if got, ok := api.AddressOf(api.NameOf(addr)); !ok || got != addr {
			t.Errorf("%s is named %s, which is %s, %v", addr, api.NameOf(addr), got, ok)
		}
	}
	for _, name := range []string{"", "web-0", "10.0.0", "10.0.0.1.", "a-b-c-d-e-f-g-h", "1-2-3"} {
		if addr, ok := api.AddressOf(name); ok {
			t.Errorf("%q is taken for %s", name, addr)
		}
	}
}

// The fields of the contract, as its clients read them.
func TestWant(t *testing.T) {
	a := &projections.Address{
		Addr:   netip.MustParseAddr("10.49.28.3"),
		Owner:  ipam.Owner{Kind: "statefulset", Namespace: "ns1", App: "sts", Pod: "sts-1"},
		PodUID: "u-1", Node: "node3", Policy: ipam.Never, Seq: 7,
		Changed: time.Date(2026, 11, 23, 8, 0, 0, 5, time.UTC).UnixNano(),
	}
	text, err := json.Marshal(mirror.Want(a))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"kind":"FloatingIP","apiVersion":"galaxy.k8s.io/v1alpha1","metadata":{"name":"10.49.28.3"},"spec":{"key":"sts_ns1_sts_sts-1",` +
		`"attribute":"{\"NodeName\":\"node3\",\"Uid\":\"u-1\"}","policy":2,"updateTime":"2026-11-23T08:00:00Z","state":"bound","node":"node3","seq":7}}`
	if string(text) != want {
		t.Errorf("\n%s, want\n%s", text, want)
	}
	have := mirror.Want(a)
	if !mirror.Shows(have, a) {
		t.Error("what is wanted does not show it")
	}
	for name, edit := range map[string]func(){
		"key": func() { have.Spec.Key = "x" }, "policy": func() { have.Spec.Policy = 0 },
		"label": func() { have.Labels = map[string]string{"reserved": ""} },
		"time":  func() { have.Spec.UpdateTime = nil }, "attribute": func() { have.Spec.Attribute = "" },
	} {
		have = mirror.Want(a)
		if edit(); mirror.Shows(have, a) {
			t.Errorf("an edit of its %s is not seen", name)
		}
	}
}
