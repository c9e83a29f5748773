package ipam

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"
)

// Announcement is what a node's agent says of itself under a key that is there as long as the agent keeps its lease.
type Announcement struct {
	Node string `json:"node"`
	// Machine is a word that no other machine has, and that this one keeps over reboots.
	Machine string `json:"machine"`
	// Addresses are where other nodes reach it, the preferred one of each family first.
	Addresses []netip.Addr `json:"addresses"`
	Backend   string       `json:"backend,omitempty"`
	// Boot is the kernel's boot id and the agent's network namespace, with a colon between: two machines that were made
	// from one image, and have one Machine, differ in it.
	Boot string `json:"boot,omitempty"`
	// TTL is how long the lease lasts, in seconds.
	TTL float64 `json:"ttl,omitempty"`
	// Position is the event of the stream nodes that the kernel's routes follow; Writes is how many changes that took
	// since the agent has started, and Differs how many are still to be made.
	Position uint64 `json:"position"`
	Writes   int    `json:"writes"`
	Differs  int    `json:"differs,omitempty"`
	// Problems are what the agent cannot repair by itself, in words.
	Problems []string `json:"problems,omitempty"`
}

// Bounds of an announcement. Whoever has a node's user in etcd can write it, and what it says goes into the log and
// into the kernels of all nodes.
const (
	DefaultLease = 30 * time.Second // how long the lease of an agent lasts that does not say so
	MinLease     = 2 * time.Second
	MaxLease     = 10 * time.Minute

	MaxNodeAddresses = 16
	MaxAnnouncement  = 64 << 10 // bytes: many times what an agent says
	maxWord          = 256      // bytes of Machine and Boot
)

// Lease is how long the agent's lease lasts.
func (a Announcement) Lease() time.Duration {
	if a.TTL <= 0 {
		return DefaultLease
	}
	return time.Duration(a.TTL * float64(time.Second))
}

// ParseAnnouncement reads what an agent has announced.
func ParseAnnouncement(text []byte) (Announcement, error) {
	var a Announcement
	if len(text) > MaxAnnouncement {
		return Announcement{}, fmt.Errorf("it has %d bytes, and an agent says at most %d: whoever writes it fills "+
			"etcd; "+
			"take the node's user away (galaxyctl etcd-auth), and see who has its password", len(text), MaxAnnouncement)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return Announcement{}, fmt.Errorf("announcement of a node: %w", err)
	}
	if a.Node == "" || a.Machine == "" {
		return Announcement{}, errors.New("announcement of a node: it names no node, or no machine")
	}
	if err := a.check(); err != nil {
		return Announcement{}, fmt.Errorf("announcement of node %q: %w", a.Node, err)
	}
	return a, nil
}

// AnnouncementOf reads what stands under the key of a node, which must be of that node.
func AnnouncementOf(node string, text []byte) (Announcement, error) {
	a, err := ParseAnnouncement(text)
	if err == nil && a.Node != node {
		return Announcement{}, fmt.Errorf("the key of node %s says that it is of node %q", node, a.Node)
	}
	return a, err
}

// nodeName is what Kubernetes lets a Node be called (RFC 1123, section 2.1).
var nodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// unusable are networks in which no host is (RFC 6890), beside those of one link alone.
var unusable = prefixes("0.0.0.0/8", "240.0.0.0/4", "::/96")

func (a Announcement) check() error {
	switch {
	case !nodeName.MatchString(a.Node) || len(a.Node) > MaxName:
		return errors.New("want the name of a Node object: lower-case letters, digits, dots and hyphens, at most 253 " +
			"bytes")
	case len(a.Addresses) == 0:
		return errors.New("it announces no address at which other nodes could reach it")
	case len(a.Machine) > maxWord || len(a.Boot) > maxWord:
		return fmt.Errorf("its machine and its boot have %d and %d bytes, at most %d", len(a.Machine), len(a.Boot),
			maxWord)
	case a.TTL != 0 && (a.TTL < MinLease.Seconds() || a.TTL > MaxLease.Seconds()):
		return fmt.Errorf("its lease lasts %g s, want %g to %g", a.TTL, MinLease.Seconds(), MaxLease.Seconds())
	case len(a.Addresses) > MaxNodeAddresses:
		return fmt.Errorf("it has %d addresses, at most %d", len(a.Addresses), MaxNodeAddresses)
	}
	for _, addr := range a.Addresses {
		if !addr.IsGlobalUnicast() || addr.Is4In6() || addr.Zone() != "" ||
			slices.ContainsFunc(unusable, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return fmt.Errorf("other nodes cannot reach it at %s: want a unicast address that is not of one link alone",
				addr)
		}
	}
	return nil
}
