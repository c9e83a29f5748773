package ipam

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
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
	// Boot is the kernel's boot id and the agent's network namespace, with a colon between: two machines that were made from one image, and
	// have one Machine, differ in it.
	Boot string `json:"boot,omitempty"`
	// TTL is how long the lease lasts, in seconds.
	TTL float64 `json:"ttl,omitempty"`
	// Position is the event of the stream nodes that the kernel's routes follow; Writes is how many changes that took since
	// the agent has started, and Differs how many are still to be made.
	Position uint64 `json:"position"`
	Writes   int    `json:"writes"`
	Differs  int    `json:"differs,omitempty"`
	// Problems are what the agent cannot mend by itself, in words.
	Problems []string `json:"problems,omitempty"`
}

// DefaultLease is how long the lease of an agent lasts that does not say so.
const DefaultLease = 30 * time.Second

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
	if err := json.Unmarshal(text, &a); err != nil {
		return Announcement{}, fmt.Errorf("announcement of a node: %w", err)
	}
	if a.Node == "" || a.Machine == "" {
		return Announcement{}, errors.New("announcement of a node: it names no node, or no machine")
	}
	return a, nil
}
