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
	"galaxy/plugins"
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

// states keeps a file for each container, so that it can be undone by an agent that was started after it: a JSON array,
// mode 0600, in a directory of mode 0700 (contract section 1.3).
type states struct{ dir string }

// saved is the form of an attachment in a file. The first four fields are those of the contract, so that containers of
// the reference's agent can be undone, too.
type saved struct {
	NetworkType string
	Args        json.RawMessage `json:",omitempty"` // of the reference: an object, or null; of ours: a string
	Conf        json.RawMessage `json:",omitempty"` // of the reference: the configuration of the one plugin
	IfName      string
	Network     *savedNetwork   `json:",omitempty"` // of ours
	Exempt      bool            `json:",omitempty"`
	Ending      bool            `json:",omitempty"`
	Result      json.RawMessage `json:",omitempty"`
	Of          *Call           `json:",omitempty"`
}

type savedNetwork struct {
	Name       string
	CNIVersion string
	Plugins    []json.RawMessage
}

func (s states) path(containerID string) string { return filepath.Join(s.dir, containerID) }

// maxState bounds a file. What a network has in it takes some kilobytes.
const maxState = 16 << 20

// save writes the file of a container in one step, and to the disk; with nothing to keep it removes it. What load could
// not read is refused.
func (s states) save(containerID string, all []Attachment) error {
	if len(all) == 0 {
		return s.remove(containerID)
	}
	text, err := encodeState(all)
	if err == nil {
		err = readable(text)
	}
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

// readable says why load could not read a text.
func readable(text []byte) error {
	if len(text) > maxState {
		return fmt.Errorf("it has %d bytes, more than %d", len(text), maxState)
	}
	if _, err := decodeState(text); err != nil {
		return fmt.Errorf("it could not be read again: %w", err)
	}
	return nil
}

// tidy removes what an agent was writing when it was killed. Nothing was made of it yet.
func (s states) tidy() error {
	left, err := filepath.Glob(filepath.Join(s.dir, ".*"))
	for _, file := range left {
		if name := filepath.Base(file); !strings.HasPrefix(name, durable.Damaged) &&
			!strings.HasPrefix(name, endingPrefix) {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}

// DamagedError is a file that is no list of networks, as one that was cut by a crash of the machine, or one with a
// result that cannot be used.
type DamagedError struct {
	File string
	Why  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged: %v", e.File, e.Why)
}

func (e *DamagedError) Unwrap() error { return e.Why }

// load reads the file of a container; known is false if there is none. With a DamagedError come the networks that can
// be read all the same; those whose results cannot be used have none.
func (s states) load(containerID string) (all []Attachment, known bool, err error) {
	text, err := durable.ReadFile(s.path(containerID), maxState)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case errors.Is(err, durable.ErrForeign):
	case err != nil:
		return nil, true, fmt.Errorf("state of container %s: %w", containerID, err)
	default:
		all, err = decodeState(text)
	}
	if err != nil {
		return all, true, &DamagedError{File: s.path(containerID), Why: err}
	}
	return all, true, nil
}

// remove removes the file of a container; one that is not there is no matter.
func (s states) remove(containerID string) error {
	if err := removeAny(s.path(containerID)); err != nil {
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
		// one that has just gone is no matter
		if info, err := e.Info(); err == nil && (before.IsZero() || info.ModTime().Before(before)) {
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
		var result json.RawMessage
		if a.Result != nil {
			if result, err = json.Marshal(a.Result); err != nil {
				return nil, err
			}
		}
		out[i] = saved{
			NetworkType: a.Network.Plugins[0].Type, Args: args, IfName: a.IfName, Network: network, Exempt: a.Exempt,
			Ending: a.Ending,
			Result: result, Of: &a.Of,
		}
	}
	return json.Marshal(out)
}

// decodeState reads what encodeState has written. Where only results are damaged it gives the networks without them,
// and an error.
func decodeState(text []byte) ([]Attachment, error) {
	var in []saved
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	all := make([]Attachment, len(in))
	var damaged []error
	for i, s := range in {
		network, err := s.network()
		if err != nil {
			return nil, fmt.Errorf("network %d: %w", i+1, err)
		}
		all[i] = Attachment{Network: *network, IfName: s.IfName, Exempt: s.Exempt, Ending: s.Ending}
		if all[i].Result, err = s.result(); err != nil {
			damaged = append(damaged, fmt.Errorf("the result of network %d: %w", i+1, err))
		}
		if s.Of != nil {
			all[i].Of = *s.Of
		} else {
			all[i].Of.IfName = in[0].IfName // the first network's interface has the name that the runtime gave
		}
		// The reference keeps an object of arguments that its DEL does not need.
		_ = json.Unmarshal(s.Args, &all[i].Args)
	}
	return all, errors.Join(damaged...)
}

// result is nil where there is none.
func (s saved) result() (*types100.Result, error) {
	var result *types100.Result
	if len(s.Result) == 0 || string(s.Result) == "null" {
		return nil, nil
	}
	if err := json.Unmarshal(s.Result, &result); err != nil {
		return nil, err
	}
	if err := plugins.CheckResult(result); err != nil {
		return nil, err
	}
	return result, nil
}

func (s saved) network() (*netconf.Network, error) {
	if s.Network == nil {
		return netconf.ParseNetwork(s.Conf)
	}
	n := &netconf.Network{Name: s.Network.Name, CNIVersion: s.Network.CNIVersion}
	for _, conf := range s.Network.Plugins {
		p, err := netconf.ParsePlugin(conf)
		if err != nil {
			return nil, err
		}
		n.Plugins = append(n.Plugins, p)
	}
	if len(n.Plugins) == 0 {
		return nil, errors.New("it has no plugins")
	}
	return n, nil
}

// removeAny removes a file; one that is not there is no matter, and a folder in its place, which is none of ours, is
// set aside.
func removeAny(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrExist) { // it is not empty
		_, err = durable.SetAside(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
