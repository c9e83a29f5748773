package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"galaxy/durable"
	"galaxy/nodeagent/netconf"
)

// Attachment is one interface of a container: what was asked for, and what came of it.
type Attachment struct {
	// Of is the call of the runtime that made it.
	Of      Call
	Network netconf.Network
	IfName  string
	// Args are added to CNI_ARGS, as k=v;k=v.
	Args string
	// Exempt is an interface whose addresses are not masqueraded.
	Exempt bool
	// Ending is an interface whose DEL has begun, and has failed so far.
	Ending bool
	// Result is that of the last plugin; nil before ADD has succeeded.
	Result *types100.Result
}

// states keeps a file for each container, so that it can be undone by an agent that was started after it: a JSON array, mode
// 0600, in a directory of mode 0700 (contract section 1.3).
type states struct{ dir string }

// saved is the form of an attachment in a file. The first four fields are those of the contract, so that containers of the
// reference's agent can be undone, too.
type saved struct {
	NetworkType string
	Args        json.RawMessage `json:",omitempty"` // of the reference: an object, or null; of ours: a string
	Conf        json.RawMessage `json:",omitempty"` // of the reference: the configuration of the one plugin
	IfName      string
	Network     *savedNetwork    `json:",omitempty"` // of ours
	Exempt      bool             `json:",omitempty"`
	Ending      bool             `json:",omitempty"`
	Result      *types100.Result `json:",omitempty"`
	Of          *Call            `json:",omitempty"`
}

type savedNetwork struct {
	Name       string
	CNIVersion string
	Plugins    []json.RawMessage
}

func (s states) path(containerID string) string { return filepath.Join(s.dir, containerID) }

// save writes the file of a container in one step, and to the disk; with nothing to keep it removes it.
func (s states) save(containerID string, all []Attachment) error {
	if len(all) == 0 {
		return s.remove(containerID)
	}
	text, err := encodeState(all)
	if err == nil {
		err = os.MkdirAll(s.dir, 0o700)
	}
	if err == nil {
		err = durable.WriteFile(s.path(containerID), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("state of container %s: %w", containerID, err)
	}
	return nil
}

// damagedPrefix begins the names of files that could not be read, and were set aside.
const damagedPrefix = ".damaged-"

// tidy removes what an agent was writing when it was killed. Nothing was made of it yet.
func (s states) tidy() error {
	left, err := filepath.Glob(filepath.Join(s.dir, ".*"))
	for _, file := range left {
		if name := filepath.Base(file); !strings.HasPrefix(name, damagedPrefix) && !strings.HasPrefix(name, endingPrefix) {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}

// DamagedError is a file that is no list of networks, as one that was cut by a crash of the machine.
type DamagedError struct {
	File string
	Why  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is no list of networks: %v", e.File, e.Why)
}

func (e *DamagedError) Unwrap() error { return e.Why }

// setAside keeps a damaged file under another name, for people, so that it is in nobody's way.
func (s states) setAside(containerID string) (string, error) {
	aside := filepath.Join(s.dir, damagedPrefix+containerID)
	return aside, os.Rename(s.path(containerID), aside)
}

// load reads the file of a container; known is false if there is none.
func (s states) load(containerID string) (all []Attachment, known bool, err error) {
	text, err := os.ReadFile(s.path(containerID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, true, fmt.Errorf("state of container %s: %w", containerID, err)
	}
	if all, err = decodeState(text); err != nil {
		return nil, true, &DamagedError{File: s.path(containerID), Why: err}
	}
	return all, true, nil
}

// remove removes the file of a container; one that is not there is no matter.
func (s states) remove(containerID string) error {
	if err := os.Remove(s.path(containerID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state of container %s: %w", containerID, err)
	}
	return nil
}

// containers are those that have a file which was last written before a moment; the zero moment is for all.
func (s states) containers(before time.Time) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("states of containers: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name()[0] == '.' {
			continue
		}
		if info, err := e.Info(); err == nil && (before.IsZero() || info.ModTime().Before(before)) { // one that has just gone is no matter
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func encodeState(all []Attachment) ([]byte, error) {
	out := make([]saved, len(all))
	for i, a := range all {
		network := &savedNetwork{Name: a.Network.Name, CNIVersion: a.Network.CNIVersion}
		for _, p := range a.Network.Plugins {
			conf, err := json.Marshal(p.Conf)
			if err != nil {
				return nil, err
			}
			network.Plugins = append(network.Plugins, conf)
		}
		args, err := json.Marshal(a.Args)
		if err != nil {
			return nil, err
		}
		out[i] = saved{NetworkType: a.Network.Plugins[0].Type, Args: args, IfName: a.IfName, Network: network, Exempt: a.Exempt, Ending: a.Ending, Result: a.Result, Of: &a.Of}
	}
	return json.Marshal(out)
}

func decodeState(text []byte) ([]Attachment, error) {
	var in []saved
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	all := make([]Attachment, len(in))
	for i, s := range in {
		network, err := s.network()
		if err != nil {
			return nil, fmt.Errorf("network %d: %w", i+1, err)
		}
		all[i] = Attachment{Network: *network, IfName: s.IfName, Exempt: s.Exempt, Ending: s.Ending, Result: s.Result}
		if s.Of != nil {
			all[i].Of = *s.Of
		} else {
			all[i].Of.IfName = in[0].IfName // the first network's interface has the name that the runtime gave
		}
		// The reference keeps an object of arguments that its DEL does not need.
		_ = json.Unmarshal(s.Args, &all[i].Args)
	}
	return all, nil
}

func (s saved) network() (*netconf.Network, error) {
	if s.Network == nil {
		return netconf.ParseNetwork(s.Conf)
	}
	n := &netconf.Network{Name: s.Network.Name, CNIVersion: s.Network.CNIVersion}
	for _, conf := range s.Network.Plugins {
		single, err := netconf.ParseNetwork(conf)
		if err != nil {
			return nil, err
		}
		n.Plugins = append(n.Plugins, single.Plugins...)
	}
	if len(n.Plugins) == 0 {
		return nil, errors.New("it has no plugins")
	}
	return n, nil
}
