package netconf

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseSelections(t *testing.T) {
	for _, c := range []struct{ text, want, fail string }{
		{text: "a", want: `[{"Name":"a"}]`},
		{text: " ns/a@eth1 , b-2", want: `[{"Name":"a","Namespace":"ns","IfName":"eth1"},{"Name":"b-2"}]`},
		{text: "@eth1", fail: `name ""`},
		{text: "a@b@c", fail: "want [namespace/]name[@interface]"},
		{text: "a/b/c", fail: "want [namespace/]name[@interface]"},
		{text: "A", fail: "lower-case"},
		{text: "a,,b", fail: "nothing between two commas"},
		{text: "a@x1,b@x1", fail: "two networks want the interface"},
		{text: "a@waytoolonginterface", fail: "at most 15"},
		{text: `[{"name":"a","interface":"eth1","mac":"02:00:00:00:00:01","ips":["10.0.0.5/24","fd00::5"]}]`,
			want: `[{"Name":"a","IfName":"eth1","MAC":"02:00:00:00:00:01","IPs":["10.0.0.5/24","fd00::5/128"]}]`},
		{text: `[{"name":"a","mac":"red"}]`, fail: "want six bytes"},
		{text: `[{"name":"a","ips":["10.0.0"]}]`, fail: "want an address"},
		{text: `[{"name":"a","mac":"02:00:00:00:00:00:00:01"}]`, fail: "want six bytes"},
		{text: `[{"name":"a","interface":"a/b"}]`, fail: "want a name of at most 15 letters"},
		{text: `[{"name":"a","interface":"a\u0000b"}]`, fail: "want a name of at most 15 letters"},
		{text: `[{"name":"a","interface":"a\u001b[2J"}]`, fail: "want a name of at most 15 letters"},
		{text: `[{"name":"a","interface":"eth%d"}]`, fail: "want a name of at most 15 letters"},
		{text: `[{"name":"a","interface":".."}]`, fail: "want a name of at most 15 letters"},
		{text: `[]`, fail: "names no network"},
		{text: `{"name":"a"}`, fail: "want an array"},
	} {
		got, err := ParseSelections(c.text)
		if c.fail != "" {
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%s: %v, want %q", c.text, err, c.fail)
			}
			continue
		}
		if text := shown(got); err != nil || text != c.want {
			t.Errorf("%s: %s, %v, want %s", c.text, text, err, c.want)
		}
	}
}

func shown(all []Selection) string {
	type entry struct {
		Name, Namespace, IfName, MAC string
		IPs                          []string
	}
	var entries []map[string]any
	for _, s := range all {
		e := map[string]any{"Name": s.Name}
		for key, value := range map[string]string{"Namespace": s.Namespace, "IfName": s.IfName, "MAC": s.MAC.String()} {
			if value != "" {
				e[key] = value
			}
		}
		for _, ip := range s.IPs {
			ips, _ := e["IPs"].([]string)
			e["IPs"] = append(ips, ip.String())
		}
		entries = append(entries, e)
	}
	text, _ := json.Marshal(entries)
	var ordered []entry // in the order of the fields
	_ = json.Unmarshal(text, &ordered)
	text, _ = json.Marshal(ordered)
	for _, empty := range []string{`,"Namespace":""`, `,"IfName":""`, `,"MAC":""`, `,"IPs":null`} {
		text = []byte(strings.ReplaceAll(string(text), empty, ""))
	}
	return string(text)
}

func FuzzSelections(f *testing.F) {
	f.Add("ns/a@eth1,b")
	f.Add(`[{"name":"a","interface":"eth1"}]`)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseSelections(text)
		if err != nil {
			return
		}
		for _, s := range all {
			if s.Name == "" || len(s.IfName) > maxIfName {
				t.Errorf("%q gives %+v", text, s)
			}
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"NetworkConf":[{"name":"a","type":"b"},{"name":"l","plugins":[{"type":"c"}]}],"DefaultNetworks":["a"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := ParseConfig(text)
		if err != nil {
			return
		}
		for _, n := range config.Networks {
			for _, p := range n.Plugins {
				if _, err := p.With(n.Name, "1.1.0", nil); err != nil || p.Type == "" {
					t.Errorf("network %+v: %v", n, err)
				}
			}
		}
	})
}

func TestParseConfig(t *testing.T) {
	config, err := ParseConfig([]byte(`{"NetworkConf":[
	  {"name":"galaxy-flannel","type":"galaxy-flannel","delegate":{"type":"galaxy-veth"},"subnetFile":"/run/flannel/subnet.env"},
	  {"type":"tke-route-eni","eni":"eth1","kubeconfig":"/root/secret"},
	  {"name":"chain","cniVersion":"1.0.0","plugins":[{"type":"bridge"},{"type":"tuning"}]}],
	  "DefaultNetworks":["galaxy-flannel"],"ENIIPNetwork":"tke-route-eni"}`))
	if err != nil {
		t.Fatal(err)
	}
	if n := config.Network("tke-route-eni"); n == nil || n.Plugins[0].Conf["kubeconfig"] != nil {
		t.Errorf("a network without a name has its type for one, and no kubeconfig: %+v", n)
	}
	if n := config.Network("chain"); n == nil || len(n.Plugins) != 2 || n.CNIVersion != "1.0.0" {
		t.Errorf("the chain is %+v", n)
	}
	_, err = ParseConfig([]byte(`{"NetworkConf":[{"name":"a"},{"name":7,"type":"x"},{"type":"x"},{"type":"x"},{"name":"l","plugins":[]},{"type":"/bin/sh"},{"name":"x2","plugins":[{"type":"t"},{"type":"galaxy-sdn"}]},{"name":"x3","plugins":[{"type":"t"},{}]}]}`))
	for _, want := range []string{`NetworkConf 1: there is no "type"`, `NetworkConf 2: "name" must be a string`,
		`NetworkConf 4: there are two`, "NetworkConf 5", "not given by its path", "NetworkConf 7",
		`network "x3": plugin 2: there is no "type"`, "which would ask itself"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestResolve(t *testing.T) {
	config, err := ParseConfig([]byte(`{"NetworkConf":[{"name":"a","type":"t"},{"name":"b","type":"t"},{"name":"f","type":"t"}],"DefaultNetworks":["a","b"],"ENIIPNetwork":"f"}`))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"10-c.conf": `{"name":"c","type":"t"}`,
		"00-galaxy.conf": `{"name":"galaxy-sdn","type":"galaxy-sdn"}`, "bad.conf": "{", "README.md": "{}",
		"sub/d.conflist": `{"name":"d","plugins":[{"type":"t"}]}`} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var skipped []string
	lookup := func(name string) (*Network, error) {
		return Lookup(dir, name, func(file string, _ error) { skipped = append(skipped, filepath.Base(file)) })
	}
	for _, c := range []struct {
		pod  Pod
		want string
	}{
		{Pod{}, "a:eth0 b:eth1"},
		{Pod{FloatIP: true}, "f:eth0"},
		{Pod{Networks: "b@net7,c,d@eth1", FloatIP: true}, "b:eth0 c:eth2 d:eth1"},
		{Pod{Networks: "b,c@eth0"}, `two networks of the pod want the interface "eth0"`},
		{Pod{Networks: "galaxy-sdn"},
			`network "galaxy-sdn": its plugin galaxy-sdn is how the runtime asks this agent, which would ask itself`},
		{Pod{Networks: "nowhere"}, `there is no network "nowhere"; the configuration file has [a b f]`},
	} {
		wanted, err := config.Resolve(c.pod, "eth0", lookup)
		var got []string
		for _, w := range wanted {
			got = append(got, w.Network.Name+":"+w.IfName)
		}
		if text := strings.Join(got, " "); err == nil && text != c.want || err != nil &&
			!strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %q, %v, want %q", c.pod, text, err, c.want)
		}
	}
	if _, err := (&Config{}).Resolve(Pod{}, "eth0", lookup); err == nil || !strings.Contains(err.Error(),
		"the configuration has no DefaultNetworks") {
		t.Errorf("a configuration without networks: %v", err)
	}
	if len(skipped) == 0 || skipped[0] != "bad.conf" {
		t.Errorf("skipped are %v", skipped)
	}
}

// A network, or the pod itself, says whether its addresses are masqueraded; plugins do not see it.
func TestExempt(t *testing.T) {
	config, err := ParseConfig([]byte(`{"NetworkConf":[{"name":"a","type":"t"},{"name":"b","type":"t","masquerade":false},
	  {"name":"l","masquerade":false,"plugins":[{"type":"t"}]},{"name":"m","masquerade":true,"type":"t"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for said, want := range map[string]string{"": "false true true false", "true": "false false false false",
		"false": "true true true true"} {
		wanted, err := config.Resolve(Pod{Networks: "a,b,l,m", Masquerade: said}, "eth0", nil)
		var got []string
		for _, w := range wanted {
			got = append(got, fmt.Sprint(w.Exempt))
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v, %v, want %s", said, got, err, want)
		}
	}
	if conf, err := config.Networks[1].Plugins[0].With("b", "1.0.0", nil); err != nil ||
		strings.Contains(string(conf), "masquerade") {
		t.Errorf("the plugin is told %s: %v", conf, err)
	}
	if _, err := config.Resolve(Pod{Networks: "a", Masquerade: "no"}, "eth0", nil); err == nil ||
		!strings.Contains(err.Error(), "want true or false") {
		t.Errorf("an annotation that says nothing: %v", err)
	}
	if _, err := ParseConfig([]byte(`{"NetworkConf":[{"type":"t","masquerade":"no"}]}`)); err == nil ||
		!strings.Contains(err.Error(), `"masquerade" must be true or false, and is "no"`) {
		t.Errorf("a network that says nothing: %v", err)
	}
}

// What one call adds to a configuration is not there in the next.
func TestConfigurationsAreCopied(t *testing.T) {
	n := DefaultConfig().Networks[0]
	first, err := n.Plugins[0].With(n.Name, "1.0.0", map[string]any{"prevResult": 1})
	if err != nil {
		t.Fatal(err)
	}
	second, err := n.Plugins[0].With(n.Name, "1.0.0", nil)
	if err != nil || !strings.Contains(string(first), "prevResult") || strings.Contains(string(second), "prevResult") {
		t.Errorf("%v:\n%s\n%s", err, first, second)
	}
}

// What a pod may ask for is bounded, and a network may say for whose pods it is.
func TestWhatPodsMayAskFor(t *testing.T) {
	config, err := ParseConfig([]byte(`{"NetworkConf":[{"name":"open","type":"a"},{"name":"ours","type":"a","namespaces":["infra","db"]}],"DefaultNetworks":["open"]}`))
	if err != nil {
		t.Fatal(err)
	}
	none := func(string) (*Network, error) { return nil, nil }
	for _, c := range []struct {
		namespace, networks, want string
	}{
		{"db", "open,ours", ""},
		{"shop", "open", ""},
		{"shop", "open,ours", `network "ours" is not for pods of namespace "shop"`},
		{"", "ours", "is not for pods"},
		{"db", strings.Repeat("open,", MaxNetworks-1) + "open", ""},
		{"db", strings.Repeat("open,", MaxNetworks) + "open", "17 networks; a pod may have 16"},
	} {
		_, err := config.Resolve(Pod{Namespace: c.namespace, Networks: c.networks}, "eth0", none)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s in %q: %v, want %q", c.networks, c.namespace, err, c.want)
		}
	}
	if _, seen := config.Network("ours").Plugins[0].Conf["namespaces"]; seen {
		t.Error("the plugin sees a key that is ours")
	}
	if _, err := ParseNetwork([]byte(`{"name":"x","type":"a","namespaces":[]}`)); err == nil {
		t.Error("a network for nobody is taken")
	}
}
