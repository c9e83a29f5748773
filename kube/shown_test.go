package kube_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"galaxy/kube"
)

// What a pod shows is bounded by what it may ask for, whatever its annotation says.
func TestShows(t *testing.T) {
	info := func(n int) string {
		infos := make([]string, n)
		for i := range infos {
			infos[i] = fmt.Sprintf(`{"ip":"10.1.%d.%d/16","vlan":0,"gateway":"10.1.0.1"}`, i/200, i%200+2)
		}
		return `"common":{"ipinfos":[` + strings.Join(infos, ",") + `]}`
	}
	pod := func(edit func(*kube.Pod)) *kube.Pod {
		p := &kube.Pod{Namespace: "ns", Name: "p", Node: "n", Phase: "Running", Wants: true, Args: "{" + info(1) + "}"}
		edit(p)
		return p.Bounded()
	}
	first, second := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.3")
	ranges := `"request_ip_range":[["10.1.0.2~10.1.0.2"],["10.1.0.3~10.1.0.9"]],`
	for name, c := range map[string]struct {
		edit func(*kube.Pod)
		want []kube.Shown
	}{
		"its annotation": {func(*kube.Pod) {}, []kube.Shown{{Addr: first}}},
		"its status": {func(p *kube.Pod) { p.Args = ""; p.AddIP("10.1.0.3") },
			[]kube.Shown{{Addr: second, ByKubelet: true}}},
		"both, of one address": {func(p *kube.Pod) { p.AddIP("10.1.0.2") },
			[]kube.Shown{{Addr: first, ByKubelet: true}}},
		"more than it may ask for": {func(p *kube.Pod) { p.Args = "{" + info(100) + "}" },
			[]kube.Shown{{Addr: first}}},
		"two, as it asks for two": {func(p *kube.Pod) { p.Args = "{" + ranges + info(5) + "}" },
			[]kube.Shown{{Addr: first}, {Addr: second}}},
		"outside of what it asks for": {func(p *kube.Pod) {
			p.Args = `{"request_ip_range":[["10.9.0.1"]],` +
				info(1) + "}"
		}, nil},
		"an annotation of 254 kB": {func(p *kube.Pod) { p.Args = "{" + info(4300) + "}" },
			[]kube.Shown{{Addr: first}}},
		"one that no API server takes":      {func(p *kube.Pod) { p.Args = "{" + info(5000) + "}" }, nil},
		"an annotation that makes no sense": {func(p *kube.Pod) { p.Args = "{" }, nil},
		"it does not ask":                   {func(p *kube.Pod) { p.Wants = false }, nil},
		"it has ended": {func(p *kube.Pod) { p.Phase = kube.PhaseFailed; p.AddIP("10.1.0.2") },
			nil},
		"it is on no node": {func(p *kube.Pod) { p.Node = "" }, nil},
		"its addresses are its node's": {func(p *kube.Pod) { p.HostNetwork, p.Args = true, ""; p.AddIP("10.1.0.2") },
			nil},
	} {
		if got := pod(c.edit).Shows(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
