package api

import "time"

// StateResponse is where a replica stands, and what it knows of the others.
type StateResponse struct {
	Generation string        `json:"generation" doc:"Of the log; new after every restore"`
	Seq        uint64        `json:"seq" doc:"The newest event that this replica has folded"`
	Hash       string        `json:"hash" doc:"Of that event"`
	Time       time.Time     `json:"time" doc:"Of that event"`
	Identity   string        `json:"identity" doc:"This replica"`
	Version    string        `json:"version"`
	Leading    bool          `json:"leading"`
	Leader     LeaderAt      `json:"leader" doc:"Where the replica that leads is reached; empty if nobody leads, or there is no election"`
	NoLeader   string        `json:"noLeader,omitempty" doc:"Why it is not known who leads"`
	Replicas   []ReplicaAt   `json:"replicas" doc:"Those that live, and how far each has followed the log, as of half a minute ago at most"`
	Ready      bool          `json:"ready"`
	Waits      string        `json:"waits,omitempty" doc:"Why whoever asks this replica is not served"`
	Digest     string        `json:"digest,omitempty" doc:"Of the whole state; equal on all replicas at one seq"`
	Source     string        `json:"source" doc:"Where the configuration of subnets came from"`
	Subnets    []SubnetUsage `json:"subnets"`
	Draining   int           `json:"draining" doc:"Held addresses that are no longer configured"`
	FullPools  []string      `json:"fullPools" doc:"Pools that hold as many addresses as they may"`
	Todo       []string      `json:"todo" doc:"What a person has to do before all goes on"`
}

// SubnetUsage counts the addresses of a subnet: total = held + cooling + free.
type SubnetUsage struct {
	Subnet       string   `json:"subnet"`
	NodeNetworks []string `json:"nodeNetworks"`
	Gateway      string   `json:"gateway"`
	VLAN         uint16   `json:"vlan"`
	Total        uint64   `json:"total"`
	Held         uint64   `json:"held"`
	Cooling      uint64   `json:"cooling"`
	Free         uint64   `json:"free"`
}

// ReplicaAt is how far a replica has followed the log.
type ReplicaAt struct {
	Identity string `json:"identity"`
	Seq      uint64 `json:"seq"`
}

// LeaderAt is where the replica that leads is reached.
type LeaderAt struct {
	Scheduler string `json:"scheduler"`
	REST      string `json:"rest"`
}
