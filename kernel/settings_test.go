//go:build linux

package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
)

func TestSettingsAreKept(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := func(path, value string) string {
		full := filepath.Join(root, path)
		check(t, os.MkdirAll(filepath.Dir(full), 0o755))
		check(t, os.WriteFile(full, []byte(value), 0o644))
		return full
	}
	forward := file("net/ipv4/ip_forward", "0\n")
	right := file("net/ipv4/conf/all/rp_filter", "0\n")
	check(t, os.Chmod(right, 0o444))
	before, err := os.Stat(right)
	check(t, err)
	want := NodeSettings{Forward: true, BridgeNF: true, AnyPath: []string{"all", "galaxy.ipip"}}.Settings()
	keeper := KeepSettings(netns.None(), root, want)
	report, err := keeper.Keep()
	check(t, err)
	if !slices.Equal(report.Changed, []SettingChange{{"net/ipv4/ip_forward", "0", "1"}}) {
		t.Errorf("changed %v", report.Changed)
	}
	if !slices.Equal(report.Missing, []string{"net/bridge/bridge-nf-call-iptables", "net/ipv4/conf/default/forwarding",
		"net/ipv4/conf/galaxy.ipip/rp_filter"}) {
		t.Errorf("missing %v", report.Missing)
	}
	if got, _ := os.ReadFile(forward); strings.TrimSpace(string(got)) != "1" {
		t.Errorf("the file holds %q", got)
	}
	if after, _ := os.Stat(right); !after.ModTime().Equal(before.ModTime()) {
		t.Error("a setting that was right has been written")
	}
	if report, err = keeper.Keep(); err != nil || len(report.Changed) != 0 {
		t.Errorf("the second time: %+v, %v", report, err)
	}
	if _, err := os.Stat(filepath.Join(root, "net/bridge")); err == nil {
		t.Error("a missing setting was created")
	}
}

func TestSettingsThatCannotBe(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	check(t, os.WriteFile(filepath.Join(root, "one"), []byte("0"), 0o644))
	check(t, os.Mkdir(filepath.Join(root, "folder"), 0o755))
	report, err := KeepSettings(netns.None(), root, []Setting{{"../one", "1"}, {"folder", "1"}, {"one", "1"}}).Keep()
	if err == nil || !strings.Contains(err.Error(), `"../one" is outside of`) ||
		!strings.Contains(err.Error(), "read setting folder") {
		t.Errorf("the error is %v", err)
	}
	if len(report.Changed) != 1 {
		t.Errorf("the setting after those that failed: %+v", report)
	}
}

// The settings of another namespace are written there, and not here.
func TestSettingsOfANamespace(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.sysctl("net/ipv4/ip_forward", "0")
	h.sysctl("net/ipv4/conf/all/rp_filter", "1")
	here := func() string {
		raw, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/rp_filter")
		check(t, err)
		return string(raw)
	}
	before := here()
	report, err := KeepSettings(h.ns, "", NodeSettings{Forward: true, IPv6: true,
		AnyPath: []string{"all"}}.Settings()).Keep()
	check(t, err)
	changed := map[string]SettingChange{}
	for _, c := range report.Changed {
		changed[c.Path] = c
	}
	for _, path := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding",
		"net/ipv4/conf/all/rp_filter"} {
		if _, ok := changed[path]; !ok || h.setting(path) != changed[path].To {
			t.Errorf("%s: changed %v, is %s", path, changed[path], h.setting(path))
		}
	}
	if now := here(); now != before {
		t.Errorf("the setting of this machine went from %s to %s", before, now)
	}
}
