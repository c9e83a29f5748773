package nodeagent

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"galaxy/ipam"
)

// NodeStatus is what the agent knows of its node, for people.
type NodeStatus struct {
	Announced ipam.Announcement `json:"announced"`
	Subnets   []netip.Prefix    `json:"subnets"`
	Held      int               `json:"held"`    // addresses that containers have
	Waiting   int               `json:"waiting"` // events that etcd does not have yet
	Reached   time.Time         `json:"reached"` // when etcd answered last
	Ready     string            `json:"ready"`   // why the node takes no pod; empty if it does
	Routes    Status            `json:"routes"`
	// event of the stream nodes that the subnet file and what is masqueraded follow
	Settled uint64   `json:"settled"`
	Wanted  []string `json:"wanted"` // routes and tunnels, a line each
	Differs []string `json:"differs"`
}

// Status says how the node is, and compares its kernel with the log once more.
func (a *Agent) Status(ctx context.Context) (NodeStatus, error) {
	text, err := a.announcement()
	if err != nil {
		return NodeStatus{}, err
	}
	s := NodeStatus{
		Subnets: a.Addresses.Subnets(), Waiting: a.Local.Waiting(), Reached: a.Local.Reached(),
		Routes: a.Routes.Status(),
	}
	if err = json.Unmarshal(text, &s.Announced); err != nil {
		return NodeStatus{}, err
	}
	if replica := a.Addresses.replica(); replica != nil {
		for range replica.View().Containers() {
			s.Held++
		}
	}
	if err := a.Ready(); err != nil {
		s.Ready = err.Error()
	}
	a.mu.Lock()
	known, pods := a.nodes != nil, a.trouble[podsPart]
	s.Settled = a.settled
	a.mu.Unlock()
	if known {
		s.Wanted, s.Differs, err = a.Routes.Compare(ctx)
	}
	if pods != "" {
		s.Differs = append(s.Differs, pods)
	}
	return s, err
}
