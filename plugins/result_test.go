package plugins_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"

	"galaxy/plugins"
)

// unsound are results that no plugin of somebody else's may bring in, by what is wrong with them.
var unsound = map[string]string{
	"null address":            `{"cniVersion":"1.0.0","ips":[null]}`,
	"null address, 1.1.0":     `{"cniVersion":"1.1.0","ips":[{"address":"10.9.0.1/24"},null]}`,
	"null interface":          `{"cniVersion":"1.0.0","interfaces":[null],"ips":[{"address":"10.9.0.1/24"}]}`,
	"null route":              `{"cniVersion":"1.0.0","routes":[null],"ips":[{"address":"10.9.0.1/24"}]}`,
	"null address, 0.4.0":     `{"cniVersion":"0.4.0","ips":[null]}`,
	"null interface, 0.3.1":   `{"cniVersion":"0.3.1","interfaces":[null],"ips":[{"version":"4","address":"10.9.0.1/24"}]}`,
	"null route, 0.4.0":       `{"cniVersion":"0.4.0","routes":[null],"ips":[{"version":"4","address":"10.9.0.1/24"}]}`,
	"no address":              `{"cniVersion":"1.0.0","ips":[{}]}`,
	"no address, 0.2.0":       `{"cniVersion":"0.2.0","ip4":{}}`,
	"another family's mask":   `{"cniVersion":"1.0.0","ips":[{"address":"::ffff:10.0.0.1/64"}]}`,
	"route to nowhere":        `{"cniVersion":"1.0.0","routes":[{}],"ips":[{"address":"10.9.0.1/24"}]}`,
	"route to nowhere, 0.2.0": `{"cniVersion":"0.2.0","ip4":{"ip":"10.9.0.1/24","routes":[{}]}}`,
	"null route, 0.2.0":       `{"cniVersion":"0.2.0","ip4":{"ip":"10.9.0.1/24","routes":[null]}}`,
	"interface out of range":  `{"cniVersion":"1.0.0","interfaces":[],"ips":[{"address":"10.9.0.1/24","interface":7}]}`,
	"interface below range":   `{"cniVersion":"1.0.0","interfaces":[{"name":"a"}],"ips":[{"address":"10.9.0.1/24","interface":-1}]}`,
}

func TestUnsoundResults(t *testing.T) {
	bin := t.TempDir()
	for name, text := range unsound {
		t.Run(name, func(t *testing.T) {
			if result, err := decode([]byte(text)); err == nil {
				t.Errorf("it is taken: %+v", result)
			}
			script := "#!/bin/sh\ncat >/dev/null\ncat <<'E'\n" + text + "\nE\n"
			if err := os.WriteFile(filepath.Join(bin, "third"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			conf := []byte(`{"cniVersion":"1.0.0","name":"n","type":"third","prevResult":` + text + `}`)
			args := &skel.CmdArgs{ContainerID: "c", IfName: "eth0", Path: bin, StdinData: conf}
			_, err := plugins.ExecAdd(t.Context(), plugins.Host{}, "third", args)
			var known *types.Error
			if !errors.As(err, &known) || known.Code != plugins.ErrResult ||
				!strings.Contains(err.Error(), "plugin third") {
				t.Errorf("ADD: %v", err)
			}
			of, _ := create.DecodeVersion([]byte(text))
			var prev types.PluginConf
			if err := json.Unmarshal([]byte(`{"cniVersion":"`+of+`","name":"n","prevResult":`+text+`}`),
				&prev); err != nil {
				t.Fatal(err)
			}
			if result, err := plugins.PrevResult(&prev); err == nil {
				t.Errorf("it is taken as prevResult: %+v", result)
			}
		})
	}
}

// Results that a program has made, not read, are refused for the same reasons.
func TestCheckResult(t *testing.T) {
	whole := net.IPNet{IP: net.IPv4(10, 0, 0, 1), Mask: net.CIDRMask(24, 32)}
	for name, r := range map[string]*types100.Result{
		"none": nil, "another version": {CNIVersion: "0.4.0"},
		"no mask": {IPs: []*types100.IPConfig{{Address: net.IPNet{IP: whole.IP}}}},
		"mask in holes": {IPs: []*types100.IPConfig{{Address: net.IPNet{IP: whole.IP,
			Mask: net.IPv4Mask(255, 0, 255, 0)}}}},
		"mask of IPv4": {IPs: []*types100.IPConfig{{Address: net.IPNet{IP: net.IPv6loopback, Mask: whole.Mask}}}},
	} {
		if err := plugins.CheckResult(r); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	sound := &types100.Result{
		Interfaces: []*types100.Interface{{}}, Routes: []*types.Route{{Dst: whole}},
		IPs: []*types100.IPConfig{{Address: whole, Interface: types100.Int(0)}},
	}
	if err := plugins.CheckResult(sound); err != nil {
		t.Error(err)
	}
}

func decode(text []byte) (*types100.Result, error) {
	read, err := create.CreateFromBytes(text)
	if err != nil {
		return nil, err
	}
	return plugins.NewestResult(read)
}

// A result that is taken has a form in every version, or an error, and is the same when it was written and read.
func FuzzResult(f *testing.F) {
	for _, text := range unsound {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.9.0.1/24","interface":0}],` +
		`"routes":[{"dst":"::/0","table":3}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		result, err := decode(text)
		if err != nil {
			return
		}
		for _, v := range version.All.SupportedVersions() {
			converted, err := result.GetAsVersion(v)
			if err != nil {
				continue // the oldest have no form without an address
			}
			if _, err := json.Marshal(converted); err != nil {
				t.Errorf("version %s: %v", v, err)
			}
		}
		written, err := json.Marshal(result)
		if err != nil {
			t.Fatal(err)
		}
		var again types100.Result
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if err := plugins.CheckResult(&again); err != nil {
			t.Errorf("%s: %v", written, err)
		}
		if twice, err := json.Marshal(&again); err != nil || string(twice) != string(written) {
			t.Errorf("%s has become %s: %v", written, twice, err)
		}
	})
}
