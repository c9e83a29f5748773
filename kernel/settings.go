//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netns"
)

// SettingsRoot is where the kernel shows its settings.
const SettingsRoot = "/proc/sys"

// Setting is a setting of the kernel by its path under SettingsRoot, as net/ipv4/ip_forward.
type Setting struct {
	Path, Value string
}

// SettingChange is a setting that was another than it should be.
type SettingChange struct {
	Path, From, To string
}

func (c SettingChange) String() string { return fmt.Sprintf("%s: %s -> %s", c.Path, c.From, c.To) }

// NodeSettings says what the settings of a node depend on.
type NodeSettings struct {
	Forward  bool // packets of pods are forwarded; false forbids it
	BridgeNF bool // packets between ports of a bridge pass the rules for IP; false spares them that
	IPv6     bool // the same for IPv6
	// links whose routes come from router advertisements, which are heard as before; see AdvertisedLinks
	Advertised []string
	AnyPath    []string // links on which packets may come by another way than responses leave, "all" being all of them
}

// Settings are the settings of a node.
func (n NodeSettings) Settings() []Setting {
	value := map[bool]string{true: "1", false: "0"}
	settings := []Setting{
		{"net/bridge/bridge-nf-call-iptables", value[n.BridgeNF]},
		{"net/ipv4/ip_forward", value[n.Forward]},
		{"net/ipv4/conf/default/forwarding", value[n.Forward]}, // of links that are made later, as those of pods
	}
	if n.IPv6 {
		settings = append(settings, Setting{"net/bridge/bridge-nf-call-ip6tables", value[n.BridgeNF]})
		if n.Forward {
			for _, link := range n.Advertised { // before the host forwards, which would drop what it has learned
				settings = append(settings, Setting{"net/ipv6/conf/" + link + "/accept_ra", "2"})
			}
		}
		settings = append(settings,
			Setting{"net/ipv6/conf/all/forwarding", value[n.Forward]},
			Setting{"net/ipv6/conf/default/forwarding", value[n.Forward]})
	}
	for _, link := range n.AnyPath {
		settings = append(settings, Setting{"net/ipv4/conf/" + link + "/rp_filter", "0"})
	}
	return settings
}

// Settings keeps settings of the kernel at their values.
type Settings struct {
	ns   netns.NsHandle
	root string
	want []Setting
}

// KeepSettings is a keeper of settings in a namespace; netns.None() is the one of the caller. An empty root is
// SettingsRoot.
func KeepSettings(ns netns.NsHandle, root string, want []Setting) *Settings {
	if root == "" {
		root = SettingsRoot
	}
	return &Settings{ns: ns, root: root, want: want}
}

// SettingsReport is what a Keep found.
type SettingsReport struct {
	Changed []SettingChange
	Missing []string // paths that this kernel does not have, as its module is not loaded
}

// Keep reads all settings and writes those that differ. A setting that is missing is reported and is no error; one that
// cannot be written does not keep the others from it.
func (s *Settings) Keep() (SettingsReport, error) {
	var report SettingsReport
	var failed []error
	// The kernel shows the settings of the namespace of the thread that opens the file.
	err := inside(s.ns, func() error {
		for _, want := range s.want {
			if err := s.keep(want, &report); err != nil {
				failed = append(failed, err)
			}
		}
		return errors.Join(failed...)
	})
	return report, err
}

func (s *Settings) keep(want Setting, report *SettingsReport) error {
	if !filepath.IsLocal(want.Path) {
		return fmt.Errorf("setting %q is outside of %s; correct its path", want.Path, s.root)
	}
	path := filepath.Join(s.root, want.Path)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		report.Missing = append(report.Missing, want.Path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read setting %s: %w", want.Path, err)
	}
	have := strings.TrimSpace(string(raw))
	if have == want.Value {
		return nil
	}
	// Without O_CREATE and O_TRUNC: a file of the kernel is there or is not.
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open setting %s to change %s to %s (is the file system mounted read-only?): %w", want.Path,
			have, want.Value, err)
	}
	_, err = f.WriteString(want.Value + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("change setting %s from %s to %s: %w", want.Path, have, want.Value, err)
	}
	report.Changed = append(report.Changed, SettingChange{Path: want.Path, From: have, To: want.Value})
	return nil
}
