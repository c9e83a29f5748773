package cni

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"galaxy/durable"
	"galaxy/nodeagent/netconf"
	"galaxy/plugins"
)

// third makes a stage whose first network is of a plugin of somebody else's, which prints a text for every ADD and
// writes down its calls.
func third(t *testing.T, out string) (s *harness, calls func() string) {
	t.Helper()
	s = newHarness(t)
	bin := t.TempDir()
	log := filepath.Join(bin, "calls")
	script := "#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND $CNI_IFNAME >>" + log +
		"\n[ \"$CNI_COMMAND\" = ADD ] && cat <<'E'\n" + out + "\nE\nexit 0\n"
	if err := os.WriteFile(filepath.Join(bin, "third"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	config, err := netconf.ParseConfig([]byte(`{"NetworkConf":[{"name":"one","type":"a"},{"name":"t","type":"third","masquerade":false},
		{"name":"u","plugins":[{"type":"third","cniVersion":"1.0.0"},{"type":"third"}]}],"DefaultNetworks":["one","t","u"]}`))
	if err != nil {
		t.Fatal(err)
	}
	s.config, s.Server.Path = config, []string{bin}
	return s, func() string {
		text, _ := os.ReadFile(log)
		_ = os.Remove(log)
		return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", ", ")
	}
}

// A result of another's plugin that cannot be used fails the ADD with the plugin's name, and all that was made is
// undone.
func TestUnsoundResultFailsADD(t *testing.T) {
	for name, out := range map[string]string{
		"null address":     `{"cniVersion":"1.0.0","ips":[null]}`,
		"null interface":   `{"cniVersion":"1.0.0","interfaces":[null],"ips":[{"address":"10.9.0.1/24"}]}`,
		"null route":       `{"cniVersion":"1.0.0","routes":[null],"ips":[{"address":"10.9.0.1/24"}]}`,
		"null of 0.4.0":    `{"cniVersion":"0.4.0","ips":[null]}`,
		"route to nowhere": `{"cniVersion":"0.2.0","ip4":{"ip":"10.9.0.1/24","routes":[{}]}}`,
		"no such version":  `{"cniVersion":"9.9.9"}`,
		"no JSON":          `hello`, "array": `[]`,
	} {
		for _, version := range []string{"0.2.0", "0.4.0", "1.1.0"} {
			t.Run(name+" "+version, func(t *testing.T) {
				s, calls := third(t, out)
				_, err := s.ask("ADD", "c1", "web", version)
				if err == nil || !strings.Contains(err.Error(), "plugin third") {
					t.Errorf("ADD: %v", err)
				}
				if got, ours := calls(), s.taken(); got != "ADD eth1, DEL eth1" || ours != "ADD a eth0, DEL a eth0" {
					t.Errorf("called were %s, and ours %s", got, ours)
				}
				if left, _ := os.ReadDir(s.Dir); len(left) > 0 {
					t.Errorf("left is %v", left)
				}
			})
		}
	}
}

// A result that has no form in the runtime's version fails the ADD, and all is undone; one that has none in the version
// of a plugin does not keep the container.
func TestResultWithoutForm(t *testing.T) {
	s, calls := third(t, `{"cniVersion":"1.0.0"}`)
	s.config.DefaultNetworks = []string{"t"}
	if _, err := s.ask("ADD", "c1", "web", "0.2.0"); err == nil || calls() != "ADD eth0, DEL eth0" {
		t.Errorf("ADD: %v", err)
	}
	if left, _ := os.ReadDir(s.Dir); len(left) > 0 {
		t.Errorf("left is %v", left)
	}
	s.config.Networks[1].Plugins[0].Conf["cniVersion"] = []byte(`"0.2.0"`)
	if _, err := s.ask("ADD", "c1", "web", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	calls()
	if _, err := s.ask("DEL", "c1", "web", "1.0.0"); err != nil || calls() != "DEL eth0" {
		t.Errorf("DEL: %v", err)
	}
}

// What is saved can be read: the configuration of a plugin in a list may have any keys.
func TestSavedCanBeRead(t *testing.T) {
	network, err := netconf.ParseNetwork([]byte(`{"name":"n","plugins":[{"type":"a","plugins":[],"masquerade":"x","namespaces":7,"kubeconfig":"/k"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	s := states{t.TempDir()}
	if err := s.save("c1", []Attachment{{Network: *network, IfName: "eth0"}}); err != nil {
		t.Fatal(err)
	}
	all, known, err := s.load("c1")
	if err != nil || !known || len(all) != 1 || len(all[0].Network.Plugins) != 1 ||
		len(all[0].Network.Plugins[0].Conf) != 5 {
		t.Errorf("%+v, %v", all, err)
	}
	if err := s.save("c2", []Attachment{{Network: netconf.Network{Name: "n", Plugins: []netconf.Plugin{{Type: "a"}}},
		IfName: "eth0"}}); err == nil {
		t.Error("a state is saved that cannot be read")
	}
	if err := s.save("c2", []Attachment{{Network: *network, IfName: "eth0",
		Args: strings.Repeat("x", maxState)}}); err == nil {
		t.Error("a state is saved that is too large to be read")
	}
}

const withResult = `[{"NetworkType":"a","IfName":"eth0","Exempt":true,"Network":{"Name":"one","Plugins":[{"type":"a"}]},"Result":%s,"Of":{"Network":"galaxy-sdn","IfName":"eth0"}}]`

// damagedStates are files that are none of ours, or no longer whole; those with a result are undone by their network.
var damagedStates = map[string]struct {
	put    func(path string) error
	undone string
}{
	"empty":          {put: written("")},
	"garbage":        {put: written("\x00\xff")},
	"null in it":     {put: written("[null]")},
	"nothing in it":  {put: written("[{}]")},
	"no plugin":      {put: written(`[{"NetworkType":"a","IfName":"eth0","Network":{"Name":"one","Plugins":[null]}}]`)},
	"null address":   {written(fmt.Sprintf(withResult, `{"cniVersion":"1.1.0","ips":[null]}`)), "DEL a eth0"},
	"null interface": {written(fmt.Sprintf(withResult, `{"cniVersion":"1.1.0","interfaces":[null]}`)), "DEL a eth0"},
	"null route":     {written(fmt.Sprintf(withResult, `{"cniVersion":"1.1.0","routes":[null]}`)), "DEL a eth0"},
	"route to nowhere": {written(fmt.Sprintf(withResult, `{"cniVersion":"1.1.0","routes":[{"dst":"<nil>"}]}`)),
		"DEL a eth0"},
	"index": {written(fmt.Sprintf(withResult,
		`{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.1/32","interface":3}]}`)), "DEL a eth0"},
	"another version": {written(fmt.Sprintf(withResult, `{"cniVersion":"0.4.0"}`)), "DEL a eth0"},
	"no result":       {written(fmt.Sprintf(withResult, `7`)), "DEL a eth0"},
	"folder":          {put: func(p string) error { return os.Mkdir(p, 0o700) }},
	"full folder": {put: func(p string) error {
		return errors.Join(os.Mkdir(p, 0o700), os.WriteFile(filepath.Join(p, "x"), nil, 0o600))
	}},
	"link":          {put: func(p string) error { return os.Symlink("/proc/version", p) }},
	"dangling link": {put: func(p string) error { return os.Symlink("/nonexistent/x", p) }},
	"loop":          {put: func(p string) error { return os.Symlink(p, p) }},
	"pipe":          {put: func(p string) error { return syscall.Mkfifo(p, 0o600) }},
	"100 GiB": {put: func(p string) error {
		return errors.Join(os.WriteFile(p, nil, 0o600),
			os.Truncate(p, 100<<30))
	}},
}

func written(text string) func(path string) error {
	return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
}

// Whatever is in place of a container's state: the agent starts and goes on, others are not kept from anything, and a
// DEL of the container ends and undoes what it can, again and again.
func TestDamagedState(t *testing.T) {
	for name, c := range damagedStates {
		t.Run(name, func(t *testing.T) {
			s := newHarness(t)
			path := filepath.Join(s.Dir, "c1")
			if err := os.MkdirAll(s.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := c.put(path); err != nil {
					t.Fatal(err)
				}
				again := NewServer(s.Config)
				if err := again.Repair(t.Context()); err != nil || len(again.Exempt()) > 0 ||
					len(again.namespaces("c1")) > 0 {
					t.Errorf("after a start: %v", err)
				}
				_ = again.sweep(t.Context(), "galaxy-sdn", nil, time.Now(), "")
				if _, err := s.ask("CHECK", "c1", "web", "1.0.0"); err == nil {
					t.Error("a CHECK of nothing succeeds")
				}
				s.taken()
				s.lost = nil
				if _, err := s.ask("DEL", "c1", "web", "1.0.0"); err != nil || s.taken() != c.undone {
					t.Errorf("DEL: %v", err)
				}
				if c.undone == "" && fmt.Sprint(s.lost) != "[c1/eth0]" {
					t.Errorf("undone by other means was %v", s.lost)
				}
				if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("it is there still: %v", err)
				}
				if aside, err := filepath.Glob(filepath.Join(s.Dir, durable.Damaged+"c1*")); err != nil ||
					len(aside) == 0 {
					t.Errorf("it is not set aside: %v", err)
				}
				if err := c.put(path); err != nil {
					t.Fatal(err)
				}
				if _, err := s.ask("ADD", "c1", "web", "1.0.0"); err != nil {
					t.Errorf("ADD: %v", err)
				}
				if _, err := s.ask("DEL", "c1", "web", "1.0.0"); err != nil {
					t.Errorf("the last DEL: %v", err)
				}
			}
		})
	}
}

// A state whose result cannot be used is known by what else it says until its DEL has succeeded, also if that takes
// several.
func TestNetworksOfDamagedResults(t *testing.T) {
	s := newHarness(t)
	if err := errors.Join(os.MkdirAll(s.Dir, 0o700),
		damagedStates["null address"].put(filepath.Join(s.Dir, "c1"))); err != nil {
		t.Fatal(err)
	}
	s.broken["DEL a"] = plugins.Errorf(plugins.ErrKernel, "it is busy")
	for range 2 {
		if _, err := s.ask("DEL", "c1", "web", "1.0.0"); err == nil || s.taken() != "DEL a eth0" {
			t.Errorf("DEL: %v", err)
		}
	}
	delete(s.broken, "DEL a")
	s.must(t, "DEL a eth0", "DEL", "c1", "eth0", "galaxy-sdn")
}

// Folders in place of the files of containers whose links are being deleted keep neither the next ADD nor a DEL.
func TestFolderForEnding(t *testing.T) {
	s := newNotedStage(t)
	s.add(t, "c1")
	if err := os.MkdirAll(filepath.Join(s.state.ending("c1"), "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	s.later.of("c1")(func() error { <-hold; return nil })
	if _, err := s.ask("DEL", "c1", "web", "1.1.0"); err != nil {
		t.Error(err)
	}
	close(hold)
	s.Wait()
	if err := os.MkdirAll(filepath.Join(s.state.ending("c1"), "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.add(t, "c1")
}
